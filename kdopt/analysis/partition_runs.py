"""Trials of the stages that have studies per partition, not per pair: control, combine, federate.

Students that train on without a teacher (stage ``control``) are what gains are compared with.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from kdopt.analysis.stats import TIE_DECIMALS, compute_mean
from kdopt.campaign.studies import Params, SettingKey, get_setting
from kdopt.outcome import Outcome, TrialRow


class PartitionRun(NamedTuple):
    """One complete trial of a stage with one study per partition.

    Attributes:
        partition: Its partition.
        params: Its parameters, the replicate included.
        outcome: Its result.
        algorithm: Of stage ``federate``: what it ran.
    """

    partition: str
    params: Params
    outcome: Outcome
    algorithm: str | None = None

    @property
    def replicate(self) -> int:
        """Its replicate, counted from 0."""
        return int(self.params.get("replicate", 0))


def list_partition_runs(rows: Iterable[TrialRow]) -> list[PartitionRun]:
    """The complete trials of a stage by partition and number; of repeated params, the first.

    Args:
        rows: Trials of stage ``combine`` or ``federate``, in any state and order.
    """
    found: dict[tuple[object, ...], PartitionRun] = {}
    for row in sorted(rows, key=lambda row: (row.partition, row.number)):
        if row.state == "COMPLETE" and row.outcome is not None:
            key = (row.partition, row.algorithm, *sorted(row.params.items()))
            # A trial that was planned twice counts once, or its cell would weigh double.
            found.setdefault(
                key, PartitionRun(row.partition, row.params, row.outcome, row.algorithm)
            )
    return list(found.values())


class ControlCase(NamedTuple):
    """A student that trains on without a teacher, and the images it trains on."""

    partition: str
    student: int
    transfer_set: str


def group_controls(rows: Iterable[TrialRow]) -> dict[ControlCase, list[list[TrialRow]]]:
    """The complete trials of stage ``control``, by budget and by replicate.

    Where the budget is searched (``[tune.search]``), that of the control is too: its best one on
    validation comes first, among equals the one planned first, which is that of ``[distill]``.
    Only budgets with the most replicates compete for it.
    """
    found: dict[ControlCase, dict[SettingKey, list[TrialRow]]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: int(row.params.get("replicate", 0))):
        if math.isfinite(_get_validation_gain(row)):
            student, transfer_set = int(row.params["student"]), str(row.params["transfer_set"])
            case = ControlCase(row.partition, student, transfer_set)
            found[case].setdefault(get_setting(row.params), []).append(row)
    return {case: sorted(budgets.values(), key=_rank_budget) for case, budgets in found.items()}


def _rank_budget(rows: list[TrialRow]) -> tuple[float, ...]:
    gain = compute_mean(map(_get_validation_gain, rows))
    return (-len(rows), -round(gain, TIE_DECIMALS), min(row.number for row in rows))


def _get_validation_gain(row: TrialRow) -> float:
    """NaN for a trial that is not complete, or lacks a gain."""
    outcome = row.outcome
    if row.state != "COMPLETE" or outcome is None:
        return math.nan
    if outcome.validation_gain is None or outcome.test_gain is None:
        return math.nan
    return outcome.validation_gain if math.isfinite(outcome.test_gain) else math.nan
