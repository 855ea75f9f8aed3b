"""The best setting of every pair, and the whole temperature x alpha surface of one.

Paper, section IV-C and Fig. 3 (optimal-setting maps). Selection is on ``campaign.select_on``;
the test-selected best is given beside it as the *oracle*: it is optimistic by construction (the
greatest of many noisy draws on the very set that is reported), never an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from kdopt.analysis.cells import (
    TIE_DECIMALS,
    CellMean,
    GainName,
    Pair,
    best_cell,
    mean_cells,
    rows_by_pair,
    vanilla_cell,
    with_compared_vanilla,
)
from kdopt.analysis.frame import participants_frame
from kdopt.analysis.progress import PairProgress, pair_progress
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import compares_vanilla
from kdopt.outcome import TrialRow

Advice = Literal["distil", "do not distil", "undecided"]

BEST_COLUMNS = (
    "partition",
    "teacher",
    "student",
    "teacher_accuracy",
    "student_accuracy",
    "accuracy_gap",
    "cells_done",
    "cells_failed",
    "cells_planned",
    "trials_done",
    "complete",
    "temperature",
    "alpha",
    "validation_gain",
    "test_gain",
    "test_gain_sd",
    "replicates",
    "vanilla_validation_gain",
    "vanilla_gain",
    "guarded_vanilla_gain",
    "advice",
    "guarded_gain",
    "oracle_temperature",
    "oracle_alpha",
    "oracle_gain",
)


class Surface(NamedTuple):
    """All measured cells of one pair.

    Attributes:
        points: The cells as they are, sorted by temperature and alpha.
        temperatures: The T values of the grid, ascending; empty for samplers without one.
        alphas: The A values of the grid, ascending; empty for samplers without one.
        validation_gain: T x A gains in pp, ``None`` where nothing was measured.
        test_gain: The same on test.
    """

    points: list[CellMean]
    temperatures: list[float]
    alphas: list[float]
    validation_gain: list[list[float | None]]
    test_gain: list[list[float | None]]


def best_settings(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """One line per pair, ordered as the campaign lists partitions, then by teacher and student.

    Accuracies are test accuracies in percent, the gap (teacher minus student) and gains are pp.
    ``advice`` is the negative-transfer guard: ``do not distil`` when no cell gains more than 0 on
    the selection set (the untouched student is the answer and ``guarded_gain`` is 0), and
    ``undecided`` when no cell is complete. Vanilla is a cell like the others: the tuned study's,
    or where that has not run it, the one of stage ``compare``. Numbers that are not known are NaN.
    Nothing in the table depends on wall time, on workers or on the order of ``rows``.
    """
    groups = rows_by_pair(rows)
    accuracies = _test_accuracies(rows)
    candidates = rows_by_pair(with_compared_vanilla(rows, campaign.tune))
    lines = [
        _pair_line(pair, groups.get(pair, []), candidates.get(pair, []), accuracies, campaign)
        for pair in all_pairs(groups, campaign)
    ]
    return pd.DataFrame(lines, columns=list(BEST_COLUMNS))


def all_pairs(groups: dict[Pair, list[TrialRow]], campaign: Campaign) -> list[Pair]:
    """Every pair of the campaign, then those that only the store knows, in fixed order."""
    planned = [Pair(p.name, t, s) for p in campaign.partitions for t, s in campaign.pairs]
    return list(dict.fromkeys([*planned, *sorted(groups)]))


def surfaces(rows: Sequence[TrialRow], campaign: Campaign) -> dict[Pair, Surface]:
    """The surface of every pair, also of those without a complete cell."""
    groups = rows_by_pair(with_compared_vanilla(rows, campaign.tune))
    return {
        pair: _surface(mean_cells(groups.get(pair, [])), campaign)
        for pair in all_pairs(groups, campaign)
    }


def surface(rows: Sequence[TrialRow], campaign: Campaign, pair: Pair) -> Surface:
    """The surface of one pair."""
    groups = rows_by_pair(with_compared_vanilla(rows, campaign.tune))
    return _surface(mean_cells(groups.get(pair, [])), campaign)


def _surface(cells: list[CellMean], campaign: Campaign) -> Surface:
    if campaign.tune.sampler not in ("grid", "sequential"):
        return Surface(cells, [], [], [], [])
    # A store may hold cells of an earlier, larger grid: they are shown too.
    temperatures = sorted(
        {*map(float, campaign.tune.temperatures), *(c.temperature for c in cells)}
    )
    alphas = sorted({*map(float, campaign.tune.alphas), *(c.alpha for c in cells)})
    known = {(cell.temperature, cell.alpha): cell for cell in cells}

    def matrix(gain: GainName) -> list[list[float | None]]:
        return [
            [getattr(known[t, a], gain) if (t, a) in known else None for a in alphas]
            for t in temperatures
        ]

    return Surface(cells, temperatures, alphas, matrix("validation_gain"), matrix("test_gain"))


def _pair_line(
    pair: Pair,
    rows: list[TrialRow],
    candidates: list[TrialRow],
    accuracies: dict[tuple[str, int], float],
    campaign: Campaign,
) -> dict[str, Any]:
    cells = mean_cells(candidates)
    done: PairProgress = pair_progress(rows, campaign)
    gain: GainName = "validation_gain" if campaign.select_on == "validation" else "test_gain"
    best = best_cell(cells, gain, campaign.tune)
    oracle = best_cell(cells, "test_gain", campaign.tune)
    vanilla = vanilla_cell(cells, campaign.tune)
    teacher = accuracies.get((pair.partition, pair.teacher), math.nan)
    student = accuracies.get((pair.partition, pair.student), math.nan)
    return {
        **pair._asdict(),
        "teacher_accuracy": 100 * teacher,
        "student_accuracy": 100 * student,
        "accuracy_gap": 100 * (teacher - student),
        "cells_done": done.done,
        "cells_failed": done.failed,
        "cells_planned": done.planned,
        "trials_done": sum(cell.replicates for cell in mean_cells(rows)),
        "complete": done.complete and not _awaits_vanilla(vanilla, campaign),
        "temperature": best.temperature if best else math.nan,
        "alpha": best.alpha if best else math.nan,
        "validation_gain": best.validation_gain if best else math.nan,
        "test_gain": best.test_gain if best else math.nan,
        "test_gain_sd": best.test_gain_sd if best else math.nan,
        "replicates": best.replicates if best else 0,
        "vanilla_validation_gain": vanilla.validation_gain if vanilla else math.nan,
        "vanilla_gain": vanilla.test_gain if vanilla else math.nan,
        "guarded_vanilla_gain": _guarded(vanilla, gain),
        "advice": _advice(best, gain),
        "guarded_gain": _guarded(best, gain),
        "oracle_temperature": oracle.temperature if oracle else math.nan,
        "oracle_alpha": oracle.alpha if oracle else math.nan,
        "oracle_gain": oracle.test_gain if oracle else math.nan,
    }


def _awaits_vanilla(vanilla: CellMean | None, campaign: Campaign) -> bool:
    """Whether stage ``compare`` still owes a search a candidate that it does not run itself."""
    if campaign.tune.sampler != "warm" or not compares_vanilla(campaign):
        return False
    return vanilla is None or vanilla.replicates < campaign.replicates


def _advice(cell: CellMean | None, gain: GainName) -> Advice:
    if cell is None:
        return "undecided"
    value: float = getattr(cell, gain)
    return "distil" if round(value, TIE_DECIMALS) > 0 else "do not distil"


def _guarded(cell: CellMean | None, gain: GainName) -> float:
    """Test gain of the cell, or 0 where the guard keeps the untouched student."""
    if cell is None:
        return math.nan
    return cell.test_gain if _advice(cell, gain) == "distil" else 0.0


def _test_accuracies(rows: Sequence[TrialRow]) -> dict[tuple[str, int], float]:
    frame = participants_frame(rows)
    keys = zip(frame["partition"], frame["participant"], strict=True)
    return {
        (str(p), int(i)): float(a) for (p, i), a in zip(keys, frame["test_accuracy"], strict=True)
    }
