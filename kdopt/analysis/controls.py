"""Students that train on without a teacher: what gains are compared with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from kdopt.analysis.stats import TIE_DECIMALS, compute_mean
from kdopt.campaign.studies import SettingKey, get_setting
from kdopt.outcome import TrialRow


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
