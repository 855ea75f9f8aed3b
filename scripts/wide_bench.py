"""Replays the learnt search, with priors of its own, on pairs whose every cell is on a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.search.full_grids import UNKNOWN, FullGrid
from kdopt.search.replay import build_portfolio, fit_surrogate, replay_warm_search
from scripts.few_trials import read_shipped_grids
from scripts.goals import GOALS, rate_goal
from scripts.line_grids import LineGrid
from scripts.search_judge import Judge, format_rows, format_share
from scripts.wide_grids import WidePair

COUNTS = (0, 2, 4, 8)
"""Trials per pair, vanilla included."""

PARTITION, KIND, DATA = "partition", "kind", "data set"
FIND_GROUP: Mapping[str, Callable[[FullGrid], tuple[object, ...]]] = {
    PARTITION: lambda grid: grid.place,
    KIND: UNKNOWN["partition"],
    DATA: UNKNOWN["data set"],
    "student": UNKNOWN["student"],
    "pair": UNKNOWN["pair"],
}

GOAL_OF = {PARTITION: "partition", KIND: "partition", DATA: "data set"}
"""Which goal is for what; others are for the same word."""

Gains = Mapping[int, NDArray[np.float64]]
"""Test gain of each pair, pp, by number of trials."""

Features = Callable[[FullGrid], Sequence[float]]


def make_bench(wide: Sequence[WidePair], unseen: Sequence[LineGrid]) -> Bench:
    """The pairs of many partitions and the unseen ones, with the priors that come with kdopt."""
    pairs = [LineGrid(pair.line, pair.plain) for pair in wide]
    return Bench([*pairs, *unseen], list_priors([pair.line for pair in wide]))


def list_priors(wide: Sequence[FullGrid]) -> dict[str, Sequence[FullGrid]]:
    """The studies, the grids of many partitions, and both."""
    studies = read_shipped_grids()
    return {"the studies": studies, "the wide grids": wide, "both": [*studies, *wide]}


class Bench:
    """The pairs on which searches are replayed, and the priors that they may have.

    Attributes:
        line: The pairs, each student the best of its line.
        judge: Of these pairs.
        plain: The same without the line.
        priors: Pairs to learn from, by name; those that are not known are left out of them.
    """

    def __init__(self, pairs: Sequence[LineGrid], priors: Mapping[str, Sequence[FullGrid]]) -> None:
        self.line = [pair.line for pair in pairs]
        self.judge = Judge(self.line)
        self.plain = Judge([pair.plain for pair in pairs])
        self.priors = priors

    def replay(self, prior: str, unknown: str, describe: Features | None = None) -> Gains:
        """Test gains of the learnt search; ``describe`` gives more features of each pair."""
        made: dict[int, FullGrid] = {}

        def dress(grid: FullGrid) -> FullGrid:
            if describe is None:
                return grid
            if id(grid) not in made:
                features = (*grid.known.features, *describe(grid))
                made[id(grid)] = grid._replace(known=replace(grid.known, features=features))
            return made[id(grid)]

        places = {id(grid): index for index, grid in enumerate(self.line)}
        found = {count: np.zeros(len(self.line)) for count in COUNTS}
        for group, known in self.leave_out(prior, unknown):
            surrogate = fit_surrogate([dress(grid) for grid in known])
            some = [dress(grid) for grid in group]
            gains = replay_warm_search(surrogate, some, COUNTS, in_rounds=True, vanilla_first=True)
            for count in COUNTS:
                found[count][[places[id(grid)] for grid in group]] = gains[count]
        return found

    def replay_list(self, unknown: str) -> Gains:
        """The same of the best fixed list of those pairs of the studies that are known."""
        found: dict[int, dict[int, float]] = {count: {} for count in COUNTS if count}
        for group, known in self.leave_out("the studies", unknown):
            listed = build_portfolio(known, max(COUNTS))
            for count, gains in found.items():
                gains |= {id(grid): grid.compute_kept_gain(listed[:count]) for grid in group}
        return {c: np.array([gains[id(g)] for g in self.line]) for c, gains in found.items()}

    def leave_out(
        self, prior: str, unknown: str
    ) -> Iterator[tuple[list[FullGrid], list[FullGrid]]]:
        """The pairs in groups that are not known at once, and those of a prior that are."""
        find_group = FIND_GROUP[unknown]
        groups: dict[tuple[object, ...], list[FullGrid]] = {}
        for grid in self.line:
            groups.setdefault(find_group(grid), []).append(grid)
        for key, group in groups.items():
            yield group, [g for g in self.priors[prior] if find_group(g) != key]


def format_goal_rows(bench: Bench, name: str = "warm, with the line") -> str:
    """What was wanted and what is reached, in percent of the grid without the line."""
    rows = [
        ["not known", "trials", "goal", name, ""],
        ["---", *["--:"] * 3, "---"],
    ]
    for unknown in FIND_GROUP:
        gains = bench.replay("both", unknown)
        goals = GOALS[GOAL_OF.get(unknown, unknown)]
        for count, goal in zip(COUNTS[1:], goals, strict=True):
            share = bench.plain.measure_share(gains[count])
            low, high = (round(end) for end in share[1:])
            shown = (round(share[0]), low, high)
            rows.append(
                [unknown, str(count), str(goal), format_share(share), rate_goal(goal, [shown])]
            )
    return format_rows(rows)


def format_ends(bench: Bench) -> str:
    """What lies at both ends, in the same percent."""
    ends = {"nothing tried": bench.judge.nothing, "the grid": bench.judge.whole}
    shown = (f"{name} {format_share(bench.plain.measure_share(g))}" for name, g in ends.items())
    return " and ".join(shown) + "."
