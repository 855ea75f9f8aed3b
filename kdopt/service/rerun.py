"""Run finished trials again from their seeds: one for its student, some to compare the numbers.

Nothing is written, neither to the store nor to the artifacts: what is recorded stays as it is.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import nn

from kdopt.analysis.reruns import CheckedTrial, compare_machines, compare_outcomes
from kdopt.analysis.students import get_outcome, name_trial
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_planned_dataset
from kdopt.errors import KdoptError, StoreError
from kdopt.outcome import Outcome, TrialRow, find_pretrained
from kdopt.plugins.code import use_recorded_code
from kdopt.store.artifacts import Artifacts
from kdopt.store.attributes import OTHER_WEIGHTS_KEY
from kdopt.store.database import Store
from kdopt.store.queries import read_record, read_trials
from kdopt.store.raw_rows import read_raw_trials
from kdopt.train.engine import Precision, make_engine
from kdopt.train.fit import DivergedError
from kdopt.trials.context import Context
from kdopt.trials.interfaces import NoJournal
from kdopt.trials.runners import RUNNERS


class Rerun(NamedTuple):
    """A trial as it came out now.

    ``model`` is filled again by the next trial. The stages of pairs and the control have one.
    """

    outcome: Outcome
    model: nn.Module | None


class _OnlyRead:
    """Artifacts to which nothing is added: weights that come out differently are of no trial."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.read = artifacts.read

    def put(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()


class Rerunner:
    """What running recorded trials of one campaign again takes.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        device: Where to compute; ``None``: where each trial ran, if there is such a device here.

    Attributes:
        record: The campaign as it was planned.
        rows: Its trials, in any state.
        dataset: Its images.

    Raises:
        KdoptError: There is no such campaign, its images are not here, or the device is not.
    """

    def __init__(
        self, store: Store, artifacts: Artifacts, campaign: str, device: str | None = None
    ) -> None:
        self._artifacts, self._device = _OnlyRead(artifacts), device
        self.record = read_record(store, campaign)
        use_recorded_code(self.record)
        self.rows = read_trials(store, campaign)
        self.dataset = load_planned_dataset(self.record)
        self._plans = {plan.name: plan for plan in plan_studies(self.record.campaign)}
        self._pretrained: dict[str, dict[int, Outcome]] = defaultdict(dict)
        for (partition, participant), outcome in find_pretrained(self.rows).items():
            self._pretrained[partition][participant] = outcome
        self._contexts: dict[tuple[str, str], Context] = {}
        self._foreign = {
            (trial.study, trial.number)
            for trial in read_raw_trials(store, campaign)
            if OTHER_WEIGHTS_KEY in trial.attributes
        }

    def can_run(self, row: TrialRow) -> bool:
        """Whether a trial is complete and rests on what this store has.

        Trials that were merged with ``--other-weights`` rest on weights of another store.
        """
        finished = row.state == "COMPLETE" and row.outcome is not None
        return finished and (row.study, row.number) not in self._foreign

    def run(self, row: TrialRow) -> Rerun:
        """Run a complete trial again.

        Raises:
            KdoptError: It rests on other weights, its training diverges now, or an artifact that
                it needs is missing.
        """
        if not self.can_run(row):
            raise KdoptError(
                f"{name_trial(row)}: it was merged from another store and rests on that store's "
                "pre-trained weights; run it again there"
            )
        context = self.get_context(get_outcome(row))
        plan, inputs = self._plans[row.study], self._pretrained.get(row.partition, {})
        runner = RUNNERS[row.stage]
        outcome = runner.compute(context, plan, row.params, inputs, NoJournal())
        return Rerun(outcome, context.trained.find(outcome))

    def get_context(self, recorded: Outcome) -> Context:
        """Images and models on a device and in a precision like those of a record."""
        device = self._device or _find_device(recorded.device)
        key = device, recorded.precision
        if key not in self._contexts:
            engine = make_engine(
                cast("Precision", recorded.precision),
                device,
                deterministic=self.record.campaign.deterministic,
            )
            self._contexts[key] = Context(self.record, self.dataset, self._artifacts, engine)
        return self._contexts[key]


def _find_device(recorded: str) -> str:
    return "cuda" if recorded == "cuda" and torch.cuda.is_available() else "cpu"


def verify_trials(
    store: Store,
    artifacts: Artifacts,
    campaign: str,
    trials: int = 20,
    seed: int = 0,
    device: str | None = None,
    on_trial: Callable[[CheckedTrial], None] | None = None,
) -> list[CheckedTrial]:
    """Run some finished trials again; nothing is written.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        trials: How many; all if there are fewer.
        seed: Chooses which.
        device: Where to compute; ``None``: where each trial ran, if there is such a device here.
        on_trial: Called with each as it is done.

    Returns:
        What came of each, in the order of the campaign.

    Raises:
        StoreError: No trial is finished.
        KdoptError: The images or an artifact that a trial needs is missing.
    """
    rerunner = Rerunner(store, artifacts, campaign, device)
    finished = [row for row in rerunner.rows if rerunner.can_run(row)]
    if not finished:
        raise StoreError(
            f"campaign '{campaign}': no trial is finished that could be run again; run it first"
        )
    checked = []
    for row in draw_trials(finished, trials, seed):
        checked.append(_check_trial(rerunner, row))
        if on_trial is not None:
            on_trial(checked[-1])
    return checked


def draw_trials(rows: Sequence[TrialRow], trials: int, seed: int) -> list[TrialRow]:
    """Random trials: one of each stage as far as they go, the rest from all; in their old order."""
    order = sorted(rows, key=name_trial)
    random.Random(seed).shuffle(order)  # noqa: S311  # a choice that can be repeated
    firsts = {row.stage: row for row in reversed(order)}
    # By sorting, which keeps the drawn order within each half.
    order.sort(key=lambda row: firsts[row.stage] is not row)
    chosen = {name_trial(row) for row in order[:trials]}
    return [row for row in rows if name_trial(row) in chosen]


def _check_trial(rerunner: Rerunner, row: TrialRow) -> CheckedTrial:
    recorded = get_outcome(row)
    try:
        found = rerunner.run(row).outcome
    except DivergedError as error:
        return CheckedTrial(row, (), "", str(error))
    return CheckedTrial(row, compare_outcomes(recorded, found), compare_machines(recorded, found))
