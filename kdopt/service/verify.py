"""Run random finished trials of a campaign again and compare every recorded number."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from kdopt.analysis.reruns import CheckedTrial, compare_machines, compare_outcomes
from kdopt.analysis.students import get_outcome, name_trial
from kdopt.errors import StoreError
from kdopt.outcome import TrialRow
from kdopt.service.rerun import Rerunner
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.train.fit import DivergedError


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
