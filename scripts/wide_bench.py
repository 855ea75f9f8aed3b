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
from scripts.line_grids import LineGrid
from scripts.search_judge import Judge
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

Gains = Mapping[int, NDArray[np.float64]]
"""Test gain of each pair, pp, by number of trials."""

Features = Callable[[FullGrid], Sequence[float]]


class Bench:
    """The pairs on which searches are replayed, and the priors that they may have.

    Attributes:
        line: The pairs, each student the best of its line.
        judge: Of these pairs.
        plain: The same without the line.
        priors: Pairs to learn from, by name; those that are not known are left out of them.
    """

    def __init__(self, wide: Sequence[WidePair], unseen: Sequence[LineGrid]) -> None:
        both = [*(LineGrid(pair.line, pair.plain) for pair in wide), *unseen]
        self.line = [pair.line for pair in both]
        self.judge = Judge(self.line)
        self.plain = Judge([pair.plain for pair in both])
        studies = read_shipped_grids()
        grids = [pair.line for pair in wide]
        self.priors = {
            "the studies": studies,
            "the wide grids": grids,
            "both": [*studies, *grids],
        }

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
        for group, known in self._leave_out(prior, unknown):
            surrogate = fit_surrogate([dress(grid) for grid in known])
            some = [dress(grid) for grid in group]
            gains = replay_warm_search(surrogate, some, COUNTS, in_rounds=True, vanilla_first=True)
            for count in COUNTS:
                found[count][[places[id(grid)] for grid in group]] = gains[count]
        return found

    def replay_list(self, unknown: str) -> Gains:
        """The same of the best fixed list of those pairs of the studies that are known."""
        found: dict[int, dict[int, float]] = {count: {} for count in COUNTS if count}
        for group, known in self._leave_out("the studies", unknown):
            listed = build_portfolio(known, max(COUNTS))
            for count, gains in found.items():
                gains |= {id(grid): grid.compute_kept_gain(listed[:count]) for grid in group}
        return {c: np.array([gains[id(g)] for g in self.line]) for c, gains in found.items()}

    def _leave_out(
        self, prior: str, unknown: str
    ) -> Iterator[tuple[list[FullGrid], list[FullGrid]]]:
        find_group = FIND_GROUP[unknown]
        groups: dict[tuple[object, ...], list[FullGrid]] = {}
        for grid in self.line:
            groups.setdefault(find_group(grid), []).append(grid)
        for key, group in groups.items():
            yield group, [g for g in self.priors[prior] if find_group(g) != key]
