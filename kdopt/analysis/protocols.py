"""The full grid against the sequential search: trials used and test gain reached, side by side.

The paper tunes alpha "followed by" the temperature, and also calls it a grid search over Table I.
A complete grid holds every trial that the sequential search would have run, so what that search
would have chosen is known exactly, without running it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.cells import CellMean, GainName, best_cell, mean_cells, rows_by_pair
from kdopt.analysis.maps import best_settings
from kdopt.analysis.paper.contrast import Floats
from kdopt.analysis.summary import OVERALL, RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import SEQUENTIAL_TEMPERATURE
from kdopt.outcome import TrialRow

PROTOCOL_COLUMNS = ("partition", "protocol", "trials", "test_gain", "low", "high", "same_cell", "n")
GRID, SEQUENTIAL, DIFFERENCE = "grid", "sequential (derived)", "grid - sequential"


class Search(NamedTuple):
    """What a search spent on a pair and what it chose."""

    points: int
    chosen: CellMean


def sequential_search(
    cells: Sequence[CellMean], gain: GainName, tune: TuneSettings
) -> Search | None:
    """What the sequential search would have chosen from a grid; ``None`` if a cell is missing.

    Every alpha at temperature 1, then every temperature at the best of them. Ties are broken as
    in the sampler itself: the alpha nearest the vanilla one, then the smaller. The vanilla cell
    is always among the trials.
    """
    known = {(cell.temperature, cell.alpha): cell for cell in cells}
    first = [known.get((SEQUENTIAL_TEMPERATURE, alpha)) for alpha in tune.alphas]

    def rank(cell: CellMean) -> tuple[float, float, float]:
        value = cell.validation_gain if gain == "validation_gain" else cell.test_gain
        return (-value, abs(cell.alpha - tune.vanilla_alpha), cell.alpha)

    vanilla = tune.vanilla_point
    at_one = [cell for cell in (*first, known.get(vanilla)) if cell is not None]
    at_one = [cell for cell in at_one if cell.temperature == SEQUENTIAL_TEMPERATURE]
    if not at_one or None in first:
        return None
    alpha = min(at_one, key=rank).alpha
    points = dict.fromkeys(
        [*((SEQUENTIAL_TEMPERATURE, a) for a in tune.alphas), vanilla]
        + [(t, alpha) for t in tune.temperatures]
    )
    tried = [known[point] for point in points if point in known]
    best = best_cell(tried, gain, tune)
    return None if best is None or len(tried) < len(points) else Search(len(points), best)


def protocols(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """Mean trials per pair, replicates included, and mean test gain (pp) of each protocol.

    From a grid: the grid, the sequential search derived from it, and their paired difference,
    over the pairs whose whole grid is measured. From any other sampler: what it used, and nothing
    about searches it did not run. ``same_cell`` is the percentage of pairs in which both chose
    the same cell. Scopes are all partitions together and each alone.
    """
    pairs = _grid_pairs(rows, campaign) if campaign.tune.sampler == "grid" else None
    used = _used_pairs(rows, campaign) if pairs is None else pairs
    scopes = [OVERALL, *dict.fromkeys(used["partition"])] if len(used) else []
    lines: list[tuple[object, ...]] = []
    for scope in scopes:
        table = used if scope == OVERALL else used[used["partition"] == scope]
        if pairs is None:
            used_gain = table["gain"]
            name = campaign.tune.sampler
            lines.append(_line(scope, name, table["trials"], used_gain, math.nan, campaign))
            continue
        same = 100 * float(table["same"].mean())
        gain, other = table["gain"], table["sequential_gain"]
        trials, fewer = table["trials"], table["sequential_trials"]
        lines.append(_line(scope, GRID, trials, gain, math.nan, campaign))
        lines.append(_line(scope, SEQUENTIAL, fewer, other, same, campaign))
        lines.append(_line(scope, DIFFERENCE, trials - fewer, gain - other, math.nan, campaign))
    return pd.DataFrame(lines, columns=list(PROTOCOL_COLUMNS))


def _line(
    scope: str,
    protocol: str,
    trials: pd.Series[float],
    gains: pd.Series[float],
    same: float,
    campaign: Campaign,
) -> tuple[object, ...]:
    values: Floats = np.asarray(gains, dtype=np.float64)
    generator = np.random.default_rng(seed_for(campaign.seed, "protocols", scope, protocol))
    low, high = bootstrap_interval(values, generator, RESAMPLES)
    mean = math.fsum(values) / len(values)
    return (scope, protocol, float(trials.mean()), mean, low, high, same, len(values))


def _grid_pairs(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    tune = campaign.tune
    gain: GainName = "validation_gain" if campaign.select_on == "validation" else "test_gain"
    grid = {(t, a) for t in tune.temperatures for a in tune.alphas}
    grid.add(tune.vanilla_point)
    lines = []
    for pair, mine in sorted(rows_by_pair(rows).items()):
        cells = [
            c
            for c in mean_cells(mine)
            if (c.temperature, c.alpha) in grid and c.replicates >= campaign.replicates
        ]
        best = best_cell(cells, gain, tune)
        search = sequential_search(cells, gain, tune)
        if best is None or search is None or len(cells) < len(grid):
            continue
        lines.append(
            {
                "partition": pair.partition,
                "trials": len(grid) * campaign.replicates,
                "gain": best.test_gain,
                "sequential_trials": search.points * campaign.replicates,
                "sequential_gain": search.chosen.test_gain,
                "same": best == search.chosen,
            }
        )
    columns = ["partition", "trials", "gain", "sequential_trials", "sequential_gain", "same"]
    return _in_order(pd.DataFrame(lines, columns=columns), campaign)


def _used_pairs(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    best = best_settings(rows, campaign)
    done = best[best["complete"] & best["test_gain"].notna()]
    return pd.DataFrame(
        {"partition": done["partition"], "trials": done["trials_done"], "gain": done["test_gain"]}
    )


def _in_order(table: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    order = {p.name: i for i, p in enumerate(campaign.partitions)}
    ranks = table["partition"].map(lambda name: order.get(name, len(order)))
    return table.loc[ranks.sort_values(kind="stable").index]
