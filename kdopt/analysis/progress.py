"""How much of a campaign is done: planned, complete, failed and missing, by stage and by pair."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from kdopt.analysis.cells import Pair, cell_of, rows_by_pair
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import PLANNERS, plan_points
from kdopt.outcome import TrialRow

PLANNED_AS_THEY_ARE: tuple[StageName, ...] = ("compare", "combine", "federate")
"""Stages whose cells are all known beforehand."""


class PairProgress(NamedTuple):
    """How far one pair's search is. A cell is one (temperature, alpha), with all its replicates.

    Attributes:
        planned: Cells planned.
        done: Cells of which every replicate is complete.
        failed: Cells of which a replicate failed.
        trials_planned: Trials planned, in the store or not yet.
        trials_done: Complete trials.
    """

    planned: int
    done: int
    failed: int
    trials_planned: int
    trials_done: int

    @property
    def complete(self) -> bool:
        """Whether every planned trial is complete."""
        return self.trials_done >= self.trials_planned


class Progress(NamedTuple):
    """Trials of one stage over the whole campaign; the first is the sum of the other four."""

    stage: str
    planned: int
    complete: int
    failed: int
    running: int
    waiting: int

    @property
    def missing(self) -> int:
        """Trials without a result and without a failure."""
        return self.running + self.waiting


class Failure(NamedTuple):
    """One failed trial and why."""

    study: str
    number: int
    cell: str
    reason: str


def pair_progress(rows: Sequence[TrialRow], campaign: Campaign) -> PairProgress:
    """Progress of the rows of one pair, whatever part of its plan is in the store yet."""
    points, n_open = plan_points(campaign)
    replicates = campaign.replicates
    seen = {cell for row in rows if (cell := cell_of(row))}
    # Known points may be missing from the store, and the store may hold points of an earlier,
    # larger grid. Neither may hide the other.
    absent = set(points) - seen
    trials = max((len(points) + n_open) * replicates, len(rows) + len(absent) * replicates)
    not_chosen = trials - len(absent) * replicates - sum(cell_of(row) is not None for row in rows)
    if campaign.tune.sampler == "grid":
        not_chosen = 0
    done = Counter(cell_of(row) for row in rows if row.state == "COMPLETE")
    return PairProgress(
        planned=len(seen | absent) + math.ceil(not_chosen / replicates),
        done=sum(done[cell] >= replicates for cell in seen),
        failed=len({cell_of(row) for row in rows if row.state == "FAIL"}),
        trials_planned=trials,
        trials_done=done.total(),
    )


def progress(rows: Sequence[TrialRow], campaign: Campaign) -> list[Progress]:
    """Progress of the campaign's stages, and of others that the store has trials of.

    Trials that are not in the store yet count as waiting.
    """
    pretrain_planned = len(campaign.partitions) * campaign.participants
    stages = [_stage(rows, "pretrain", pretrain_planned)]
    if "tune" in campaign.stages or has_stage(rows, "tune"):
        stages.append(_stage(rows, "tune", _tune_planned(rows, campaign)))
    for stage in PLANNED_AS_THEY_ARE:
        if stage in campaign.stages or has_stage(rows, stage):
            planned = sum(plan.n_trials for plan in PLANNERS[stage](campaign))
            stages.append(_stage(rows, stage, planned))
    return stages


def has_stage(rows: Sequence[TrialRow], stage: StageName) -> bool:
    """Whether the store has any trial of a stage, in any state."""
    return any(row.stage == stage for row in rows)


def _tune_planned(rows: Sequence[TrialRow], campaign: Campaign) -> int:
    groups = rows_by_pair(rows)
    pairs = {Pair(p.name, t, s) for p in campaign.partitions for t, s in campaign.pairs}
    return sum(
        pair_progress(groups.get(pair, []), campaign).trials_planned
        for pair in pairs | groups.keys()
    )


def failures(rows: Sequence[TrialRow]) -> list[Failure]:
    """All failed trials in the order of study and number."""
    return sorted(
        Failure(
            row.study,
            row.number,
            ", ".join(f"{key}={value}" for key, value in sorted(row.params.items())),
            row.error or "no reason was recorded",
        )
        for row in rows
        if row.state == "FAIL"
    )


def _stage(rows: Sequence[TrialRow], stage: str, planned: int) -> Progress:
    states = Counter(row.state for row in rows if row.stage == stage)
    planned = max(planned, states.total())
    waiting = planned - states["COMPLETE"] - states["FAIL"] - states["RUNNING"]
    return Progress(stage, planned, states["COMPLETE"], states["FAIL"], states["RUNNING"], waiting)
