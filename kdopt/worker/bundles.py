"""How many trials of a study a worker claims at once."""

from __future__ import annotations

from typing import NamedTuple

from kdopt.campaign.studies import StudyPlan
from kdopt.trials.runners import RUNNERS

BUNDLE_S = 1.0
"""Seconds of work that a worker claims at most, where it runs trials one after the other."""

MOST = 16
"""Trials in a bundle at most."""


class LastTrial(NamedTuple):
    """How long the last trial took.

    Attributes:
        study: Its study.
        seconds: From its claimed parameters to its outcome.
    """

    study: str
    seconds: float


def choose_bundle(plan: StudyPlan, together: int, last: LastTrial | None) -> int:
    """How many trials to claim.

    Args:
        plan: Their study.
        together: How many this worker's device runs at once, where the stage can.
        last: How long the last trial took; trials of the same study take about as long.
    """
    runner = RUNNERS[plan.stage]
    if runner.run_together is not None and together > 1:
        return together
    # Others wait for pre-training, and a long trial is claimed alone.
    if plan.stage == "pretrain" or runner.long_run is not None:
        return 1
    if last is None or last.study != plan.name:
        return 1
    return max(1, min(MOST, int(BUNDLE_S / max(last.seconds, 1e-3))))
