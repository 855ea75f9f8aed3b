"""Full grids whose every cell is on a student line: kept both with the line and without it.

Every trial records what its trained student gains beside the best of its line, so one campaign
gives two grids. ``scripts/unseen.py`` and ``scripts/wide_grids.py`` keep such grids as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.results import GainPair, PointMean
from kdopt.campaign.settings import Campaign
from kdopt.outcome import Pair, TrialRow
from kdopt.search.full_grids import FullGrid, collect_full_grids
from kdopt.search.prior import PP_DECIMALS, PairResults, PointResult, list_grid_points


class LineGrid(NamedTuple):
    """A pair's full grid and its control.

    Attributes:
        line: Each student is the best of its line on validation.
        plain: The same without the line: its gains. Learning, forgetting and loss are recorded of
            the kept student only, so they are those of ``line``.
    """

    line: FullGrid
    plain: FullGrid


def collect_line_grids(rows: Sequence[TrialRow], campaign: Campaign) -> list[LineGrid]:
    """The pairs whose every point is complete, in fixed order."""
    on_line = collect_full_grids(rows, campaign)
    plain = collect_full_grids([leave_line(row) for row in rows], campaign)
    return [LineGrid(*both) for both in zip(on_line, plain, strict=True)]


def leave_line(row: TrialRow) -> TrialRow:
    """A trial as if it had no student line: its gains are those of the trained student."""
    outcome = row.outcome
    if outcome is None or outcome.validation_before is None or outcome.test_before is None:
        return row
    before = outcome.validation_before.known_accuracy, outcome.test_before.known_accuracy
    after = outcome.last_validation_accuracy, outcome.last_test_accuracy
    validation, test = (100 * (b - a) for a, b in zip(before, after, strict=True))
    plain = replace(outcome, value=validation, validation_gain=validation, test_gain=test)
    return replace(row, outcome=plain)


def pack_line_grid(found: LineGrid) -> dict[str, Any]:
    """Plain values for JSON; :func:`unpack_line_grid` reads them back."""
    points = list_grid_points(found.line.campaign)
    known = found.line.known
    return {
        "pair": found.line.pair,
        "models": [known.teacher[:12], known.student[:12]],
        "features": known.features,
        "control": [round_gains(found.line.control), round_gains(found.plain.control)],
        "results": [known.results[point] for point in points],
        "test": round_gains(found.line.cells[point].test_gain for point in points),
        "plain": [
            round_gains((cell.validation_gain, cell.test_gain))
            for cell in (found.plain.cells[point] for point in points)
        ],
    }


def unpack_line_grid(record: Mapping[str, Any], campaign: Campaign) -> LineGrid:
    """A pair of a campaign as :func:`pack_line_grid` wrote it."""
    points = list_grid_points(campaign)
    results = [PointResult(*r) for r in record["results"]]
    line = [(r.gain, test) for r, test in zip(results, record["test"], strict=True)]
    grids = []
    for gains, control in zip((line, record["plain"]), record["control"], strict=True):
        own = [r._replace(gain=g[0]) for r, g in zip(results, gains, strict=True)]
        known = dict(zip(points, own, strict=True))
        pair = PairResults(*record["models"], tuple(record["features"]), known)
        cells = {p: PointMean(*p, *g, 1) for p, g in zip(points, gains, strict=True)}
        grids.append(FullGrid(campaign, Pair(*record["pair"]), pair, cells, GainPair(*control)))
    return LineGrid(*grids)


def replace_results(
    grid: FullGrid,
    results: Iterable[Sequence[float]],
    test: Iterable[float],
    control: Iterable[float],
) -> FullGrid:
    """The same pair with other results of its points, in their order, and of its control."""
    known = dict(zip(grid.cells, (PointResult(*r) for r in results), strict=True))
    cells = {
        point: PointMean(*point, result.gain, gain, 1)
        for (point, result), gain in zip(known.items(), test, strict=True)
    }
    pair = replace(grid.known, results=known)
    return grid._replace(known=pair, cells=cells, control=GainPair(*control))


def round_gains(gains: Iterable[float]) -> list[float]:
    """Gains as they are packed."""
    return [round(gain, PP_DECIMALS) for gain in gains]
