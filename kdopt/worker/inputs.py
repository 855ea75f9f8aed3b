"""What a trial is given: the record and the pre-training that it rests on.

It is what kdopt writes, or the worker stops: the trial is not at fault. Pre-training may be another
campaign's: it is a pure function of images, split, model, budget and seed, on one kind of processor
with one set of versions. So a campaign that differs in what comes later, such as the budget of
distillation, takes the models that are there.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kdopt.campaign.compatibility import describe_pretraining
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.data.datasets import Dataset
from kdopt.errors import StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.plugins.code import use_recorded_code
from kdopt.shown import format_count
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.leases import Lease
from kdopt.store.queries import StudyCounts, read_record
from kdopt.store.reading import refuse_trial
from kdopt.train.engine import Engine
from kdopt.trials.context import Context

logger = logging.getLogger(__name__)


def do_nothing() -> None:
    """What is called after a trial, where nobody wants to know."""


@dataclass(frozen=True)
class Materials:
    """Images and models of a process.

    Attributes:
        dataset: The images; ``None``: those that the campaign's settings name.
        make_context: Makes what trials run in.
        after_trials: Called when trials have ended and nothing is in hand.
    """

    dataset: Dataset | None = None
    make_context: Callable[[CampaignRecord, Dataset, Artifacts, Engine], Context] = Context
    after_trials: Callable[[], None] = do_nothing


NUMBERS_OF_PARTICIPANTS = ("participant", "student")
"""Parameters that name a participant."""


def read_runnable_record(store: Store, campaign: str) -> CampaignRecord:
    """A campaign's record, once this machine is known to have the code that it names.

    Raises:
        KdoptError: See :func:`kdopt.plugins.code.use_recorded_code`.
    """
    record = read_record(store, campaign)
    use_recorded_code(record)
    return record


def take_pretrained(row: TrialRow, campaign: Campaign, n_classes: int) -> tuple[int, Outcome]:
    """The participant of a complete pre-training and its outcome, for trials that start from it.

    Args:
        row: The trial.
        campaign: How many participants there are.
        n_classes: Classes of the images.

    Raises:
        StoreError: It lacks what a pre-training has.
    """
    participant, outcome = row.params.get("participant"), row.outcome
    if not isinstance(participant, int) or not 0 <= participant < campaign.participants:
        raise refuse_trial(row.study, row.number, "participant", f"{participant!r} is none")
    if outcome is None or outcome.checkpoint is None:
        raise refuse_trial(row.study, row.number, "checkpoint", "it is complete without weights")
    for name, scores in (("validation", outcome.validation), ("test", outcome.test)):
        if len(scores.per_class) != n_classes:
            reason = f"{format_count(len(scores.per_class), 'class')}, the images have {n_classes}"
            raise refuse_trial(row.study, row.number, f"{name}.per_class", reason)
    return participant, outcome


def check_claimed_params(plan: StudyPlan, lease: Lease, campaign: Campaign) -> None:
    """Refuse parameters that trials of a study do not have.

    Bounds are not asked for: those of a campaign that was planned again may be others.

    Raises:
        StoreError: One is missing, unknown or impossible.
    """
    for name in sorted(plan.space.keys() ^ lease.params.keys()):
        reason = "missing" if name in plan.space else "this study has no such parameter"
        raise _refuse_param(plan, lease, name, reason)
    for name, value in lease.params.items():
        kind = plan.space[name].kind
        if kind == "category":
            fine = isinstance(value, str)
        else:
            # A weight such as alpha may be below 0; a temperature and what counts may not.
            fine = not isinstance(value, str) and math.isfinite(value)
            if name == "temperature":
                fine = fine and float(value) > 0
            elif name in NUMBERS_OF_PARTICIPANTS:
                fine = fine and value in range(campaign.participants)
            elif kind == "int":
                fine = fine and float(value) >= 0
        if not fine:
            raise _refuse_param(plan, lease, name, f"{value!r} is impossible")


def _refuse_param(plan: StudyPlan, lease: Lease, name: str, reason: str) -> StoreError:
    return refuse_trial(plan.name, lease.number, f"parameter {name}", reason)


class KnownPretraining:
    """Pre-training outcomes by partition and participant; they never change.

    Args:
        read_trials: Reads the trials of a study by its id.
        n_classes: Classes of the images.

    Attributes:
        outcomes: What is known.
    """

    def __init__(self, read_trials: Callable[[int], Iterable[TrialRow]], n_classes: int) -> None:
        self._read_trials, self._n_classes = read_trials, n_classes
        self._read: dict[int, int] = {}
        self.outcomes: dict[str, dict[int, Outcome]] = {}

    def read_news(self, states: Sequence[StudyCounts], campaign: Campaign) -> None:
        """Read the studies of which trials ended since the last time.

        Raises:
            StoreError: A trial lacks what a pre-training has.
        """
        for state in states:
            known = self.outcomes.setdefault(state.name.partition, {})
            ended = state.complete + state.failed
            if state.name.stage == "pretrain" and ended != self._read.get(state.study_id, 0):
                for row in self._read_trials(state.study_id):
                    if row.state == "COMPLETE":
                        participant, outcome = take_pretrained(row, campaign, self._n_classes)
                        known[participant] = outcome
                self._read[state.study_id] = ended


class PretrainedElsewhere:
    """Finds finished pre-training of other campaigns.

    Args:
        store: The store.
        artifacts: Its artifacts.
        engine: Where this worker computes.
    """

    def __init__(self, store: Store, artifacts: Artifacts, engine: Engine) -> None:
        self._store, self._artifacts = store, artifacts
        self._device, self._precision = engine.device.type, engine.precision
        self._versions = engine.list_versions()

    def find(self, record: CampaignRecord, plan: StudyPlan, params: Params) -> Outcome | None:
        """The outcome that a trial would have, if it is known; ``None`` where it must be trained.

        Args:
            record: The campaign of the trial.
            plan: Its study.
            params: Its parameters.
        """
        if plan.stage != "pretrain":
            return None
        began = time.perf_counter()
        for name in queries.list_campaigns(self._store):
            if name == record.campaign.name:
                continue
            try:
                found = self._find_in(name, record, plan.partition, int(params["participant"]))
            except StoreError as error:
                # What is wrong with another campaign is no matter of this one.
                logger.debug("%s: not looked at: %s", name, error)
                continue
            if found is not None:
                return replace(found, seconds=time.perf_counter() - began)
        return None

    def _find_in(
        self, campaign: str, record: CampaignRecord, partition: str, participant: int
    ) -> Outcome | None:
        other = queries.read_record(self._store, campaign)
        if partition not in other.splits or (
            describe_pretraining(other, partition) != describe_pretraining(record, partition)
        ):
            return None
        for state in queries.read_study_counts(self._store, campaign):
            if state.name.stage != "pretrain" or state.name.partition != partition:
                continue
            for row in queries.read_trials(self._store, campaign, state.study_id):
                if row.params.get("participant") == participant and self._is_same(row.outcome):
                    assert row.outcome is not None
                    origin = row.outcome.taken_from or f"{row.study} #{row.number}"
                    return replace(row.outcome, taken_from=origin)
        return None

    def _is_same(self, outcome: Outcome | None) -> bool:
        """Whether this worker would compute the very same, and the weights are there."""
        return (
            outcome is not None
            and outcome.checkpoint is not None
            and (outcome.device, outcome.precision) == (self._device, self._precision)
            and dict(outcome.versions) == self._versions
            and self._artifacts.has(outcome.checkpoint)
        )
