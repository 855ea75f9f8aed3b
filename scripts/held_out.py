"""What a campaign that searched reached of its full grid, and what both cost.

    kdopt run studies/quickstart.toml
    kdopt run studies/quickstart-warm.toml
    python scripts/held_out.py --searched quickstart-warm --grid quickstart

Both campaigns are in one store and differ in ``[tune]`` only, so that they have the same models and
the same trial gives the same result in both. Minutes are those of the grid's run for the same
trials: the two may have run on other machines, or not alone on them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.stats import average, estimate
from kdopt.campaign.settings import Campaign
from kdopt.outcome import Pair, TrialRow
from kdopt.search.full_grids import FullGrid, collect_full_grids
from kdopt.search.prior import Point, get_point
from kdopt.store.database import open_store
from kdopt.store.queries import read_record, read_trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="storage/kdopt.db")
    parser.add_argument("--searched", required=True, help="the campaign with the learnt search")
    parser.add_argument("--grid", required=True, help="the campaign with the full grid")
    args = parser.parse_args()
    store = open_store(args.store)
    (campaign, searched), (_, whole) = (
        (read_record(store, name).campaign, read_trials(store, name))
        for name in (args.searched, args.grid)
    )
    grids = collect_full_grids(whole, read_record(store, args.grid).campaign)
    store.close()
    print(format_reached(grids, collect_tried(searched, grids, campaign)))
    print(format_costs({args.searched: searched, args.grid: whole}, whole))


def collect_tried(
    rows: Sequence[TrialRow], grids: Sequence[FullGrid], campaign: Campaign
) -> dict[Pair, list[Point]]:
    """The points that each pair tried, vanilla first.

    Raises:
        SystemExit: A trial is not on the grid, or gave another result there.
    """
    cells = {grid.pair: grid.cells for grid in grids}
    tried: dict[Pair, list[Point]] = {pair: [campaign.tune.vanilla_point] for pair in cells}
    for row in sorted(rows, key=lambda row: row.number):
        if row.stage != "tune" or row.pair not in cells or row.outcome is None:
            continue
        point = get_point(row.params)
        cell = cells[row.pair].get(point)
        if cell is None or abs(cell.validation_gain - row.outcome.value) > 1e-6:
            raise SystemExit(
                f"{row.study} #{row.number}, at {point}: the grid has no such trial, or another "
                "result of it; both campaigns must differ in [tune] only and run on one machine"
            )
        if point not in tried[row.pair]:
            tried[row.pair].append(point)
    return tried


def format_reached(grids: Sequence[FullGrid], tried: dict[Pair, list[Point]]) -> str:
    """Percent of what the grid improves, after so many learnt trials and vanilla."""
    pairs = pd.DataFrame([grid.pair for grid in grids])
    nothing = np.array([grid.compute_kept_gain(()) for grid in grids])
    possible = np.array([grid.compute_kept_gain(grid.cells) for grid in grids]) - nothing
    lines = ["| tried | gain, pp | percent of the grid |", "| --- | --: | --: |"]
    names = ["vanilla", *(f"and {n} learnt" for n in range(1, max(map(len, tried.values()))))]
    choices = {name: [tried[g.pair][: n + 1] for g in grids] for n, name in enumerate(names)}
    choices["the learnt ones alone"] = [tried[g.pair][1:] for g in grids]
    choices["the grid"] = [list(g.cells) for g in grids]
    for name, points in choices.items():
        gains = np.array([g.compute_kept_gain(p) for g, p in zip(grids, points, strict=True)])
        better = gains - nothing
        share, low, high = estimate(
            lambda w, better=better: 100 * (average(w, better) / average(w, possible)), pairs
        )[:3]
        # Fewer than five participants have no interval.
        interval = "" if math.isnan(low) else f" ({low:.0f} to {high:.0f})"
        lines.append(f"| {name} | {gains.mean():.2f} | {share:.0f}{interval} |")
    return f"{len(grids)} pairs; nothing tried: {nothing.mean():.2f} pp\n" + "\n".join(lines)


def format_costs(campaigns: dict[str, Sequence[TrialRow]], timed: Sequence[TrialRow]) -> str:
    """Trials, epochs and minutes of tuning and the control, as long as they took in ``timed``."""
    took = {_name_trial(row): row.outcome.seconds for row in timed if row.outcome}
    lines = ["| campaign | trials | epochs | minutes |", "| --- | --: | --: | --: |"]
    for name, rows in campaigns.items():
        done = [row for row in rows if row.stage in ("tune", "control") and row.outcome]
        epochs = sum(row.outcome.epochs for row in done if row.outcome)
        minutes = sum(took.get(_name_trial(row), 0.0) for row in done) / 60
        lines.append(f"| {name} | {len(done):,} | {epochs:,} | {minutes:.1f} |")
    return "\n".join(lines)


def _name_trial(row: TrialRow) -> tuple[object, ...]:
    return row.partition, row.stage, row.pair, *sorted(row.params.items())


if __name__ == "__main__":
    main()
