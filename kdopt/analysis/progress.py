"""How a campaign runs: what is done, failed and missing, what it cost, and how noisy it is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.results import CampaignResults, read_number, read_point
from kdopt.analysis.stats import sum_squared_deviations
from kdopt.campaign.method_studies import plan_method_studies
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import PLANNERS, plan_points
from kdopt.outcome import TrialRow
from kdopt.shown import format_params

FULLY_PLANNED: tuple[StageName, ...] = ("control", "compare", "combine", "federate")
"""Stages whose trials' params are all known beforehand."""

COST_COLUMNS = ("stage", "trials", "hours", "median_seconds", "p95_seconds")
NOISE_COLUMNS = ("stage", "partition", "sd", "cells", "trials")


class PairProgress(NamedTuple):
    """How far one pair's search over points (temperature, alpha) is.

    Attributes:
        planned: Points planned.
        done: Points of which every replicate is complete.
        failed: Points of which a replicate failed.
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


class StageProgress(NamedTuple):
    """Trials of one stage over the whole campaign; the first is the sum of the other four."""

    stage: StageName
    planned: int
    complete: int
    failed: int
    running: int
    waiting: int

    @property
    def missing(self) -> int:
        """Trials without a result and without a failure."""
        return self.running + self.waiting


class FailedTrial(NamedTuple):
    """One failed trial and why."""

    study: str
    number: int
    params: str
    reason: str


def measure_pair_progress(rows: Sequence[TrialRow], campaign: Campaign) -> PairProgress:
    """Progress of the rows of one pair, whatever part of its plan is in the store yet."""
    points, n_open = plan_points(campaign)
    replicates = campaign.replicates
    seen = {point for row in rows if (point := read_point(row))}
    # Known points may be missing from the store, and the store may hold points of an earlier,
    # larger grid. Neither may hide the other.
    absent = set(points) - seen
    trials = max((len(points) + n_open) * replicates, len(rows) + len(absent) * replicates)
    not_chosen = (
        trials - len(absent) * replicates - sum(read_point(row) is not None for row in rows)
    )
    if campaign.tune.sampler == "grid":
        not_chosen = 0
    done = Counter(read_point(row) for row in rows if row.state == "COMPLETE")
    return PairProgress(
        planned=len(seen | absent) + math.ceil(not_chosen / replicates),
        done=sum(done[point] >= replicates for point in seen),
        failed=len({read_point(row) for row in rows if row.state == "FAIL"}),
        trials_planned=trials,
        trials_done=done.total(),
    )


def measure_progress(results: CampaignResults) -> list[StageProgress]:
    """Progress of the campaign's stages, and of others that the store has trials of.

    Trials that are not in the store yet count as waiting.
    """
    campaign = results.campaign
    pretrain_planned = len(campaign.partitions) * campaign.participants
    stages = [_count_states(results, "pretrain", pretrain_planned)]
    if "tune" in campaign.stages or results.has_stage("tune"):
        stages.append(_count_states(results, "tune", _count_planned_tuning(results)))
    for stage in FULLY_PLANNED:
        if stage in campaign.all_stages or results.has_stage(stage):
            planned = sum(plan.n_trials for plan in PLANNERS[stage](campaign))
            stages.append(_count_states(results, stage, planned))
    order = list(PLANNERS)
    return sorted(stages, key=lambda progress: order.index(progress.stage))


def list_failures(rows: Iterable[TrialRow]) -> list[FailedTrial]:
    """All failed trials in the order of study and number."""
    return sorted(
        FailedTrial(
            row.study,
            row.number,
            format_params(row.params),
            row.error or "no reason was recorded",
        )
        for row in rows
        if row.state == "FAIL"
    )


def tabulate_costs(rows: Iterable[TrialRow]) -> pd.DataFrame:
    """What the complete trials of each stage cost: training hours, and seconds of one trial."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.state == "COMPLETE" and row.outcome is not None:
            seconds[row.stage].append(row.outcome.seconds)
    lines = [
        (stage, len(s), math.fsum(s) / 3600, *map(float, np.quantile(s, [0.5, 0.95])))
        for stage, s in ((name, seconds[name]) for name in PLANNERS if name in seconds)
    ]
    return pd.DataFrame(lines, columns=list(COST_COLUMNS))


def measure_noise(rows: Iterable[TrialRow]) -> pd.DataFrame:
    """Standard deviation of the test gain (pp) over replicates, pooled over cells.

    One line per stage and partition that has a cell with two replicates or more: the root of the
    summed squared deviations over the summed degrees of freedom. Empty without replicates.

    Replicates differ in the order of the batches only, so this is the noise of training, not that
    of pre-training or of drawing the test set. Differences well below it mean nothing for one
    pair. Stages and cells that start from random weights are left out: their replicates differ in
    more.
    """
    gains: dict[tuple[str, str, str, tuple[tuple[str, object], ...]], list[float]]
    gains = defaultdict(list)
    for row in rows:
        if row.stage in ("pretrain", "federate"):
            continue
        if row.state != "COMPLETE" or row.outcome is None:
            continue
        gain = read_number(row.outcome.test_gain)
        if math.isfinite(gain):
            cell = tuple(sorted((k, v) for k, v in row.params.items() if k != "replicate"))
            gains[row.stage, row.partition, row.study, cell].append(gain)
    groups: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for (stage, partition, _, _), repeated in gains.items():
        if len(repeated) > 1:
            groups[stage, partition].append(repeated)
    lines = []
    for (stage, partition), cells in sorted(groups.items()):
        squares = math.fsum(map(sum_squared_deviations, cells))
        trials = sum(map(len, cells))
        sd = math.sqrt(squares / (trials - len(cells)))
        lines.append((stage, partition, sd, len(cells), trials))
    return pd.DataFrame(lines, columns=list(NOISE_COLUMNS))


def _count_planned_tuning(results: CampaignResults) -> int:
    points = sum(
        measure_pair_progress(results.tuned.get(pair, []), results.campaign).trials_planned
        for pair in results.pairs
    )
    planned = {plan.name: plan.n_trials for plan in plan_method_studies(results.campaign)}
    there = Counter(row.study for row in results.by_stage.get("tune", []) if row.method)
    studies = planned.keys() | there.keys()
    return points + sum(max(planned.get(name, 0), there[name]) for name in studies)


def _count_states(results: CampaignResults, stage: StageName, planned: int) -> StageProgress:
    states = Counter(row.state for row in results.by_stage.get(stage, []))
    planned = max(planned, states.total())
    waiting = planned - states["COMPLETE"] - states["FAIL"] - states["RUNNING"]
    return StageProgress(
        stage, planned, states["COMPLETE"], states["FAIL"], states["RUNNING"], waiting
    )
