"""Replays searches on stored full grids and prints what they reach, for ``scripts/levers.py``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.stats import (
    Estimate,
    average,
    estimate,
    estimate_independent,
    estimate_mean,
)
from kdopt.search.full_grids import FullGrid, leave_out
from kdopt.search.prior import Point
from kdopt.search.replay import fit_surrogate, replay_posterior
from kdopt.search.surrogate import Surrogate

COUNTS = (0, 2, 4, 6, 8)
STOP_BELOW_PP = (0.1, 0.3)
STOP_AFTER = (0, 3)
"""Trials that are made before a search may stop."""

Gains = Mapping[int, Sequence[float]]
"""Test gain of every pair of a group, by number of trials."""

Search = Callable[[Sequence[FullGrid], Sequence[FullGrid]], Gains]
"""Learns from the first pairs and searches on the second."""


class Judge:
    """Replays searches on full grids and prints what they reach.

    Args:
        grids: The pairs.
    """

    def __init__(self, grids: Sequence[FullGrid]) -> None:
        self.grids = grids
        self._data = np.array([grid.campaign.data.name for grid in grids])
        self._pairs = pd.DataFrame([g.pair._replace(partition="/".join(g.place)) for g in grids])
        self.nothing = np.array([grid.compute_kept_gain(()) for grid in grids])
        self.whole = np.array([grid.compute_kept_gain(grid.cells) for grid in grids])

    def replay(self, search: Search, unknown: str) -> dict[int, NDArray[np.float64]]:
        """Test gain of each pair by number of trials, everything ``unknown`` left out."""
        places = {id(grid): index for index, grid in enumerate(self.grids)}
        found = {count: np.zeros(len(self.grids)) for count in COUNTS}
        for group, known in leave_out(self.grids, unknown):
            for count, gains in search(known, group).items():
                found[count][[places[id(grid)] for grid in group]] = gains
        return found

    def print_share(
        self, name: str, unknown: str, gains: Mapping[int, NDArray[np.float64]]
    ) -> None:
        """Percent of what the grid improves."""
        for data, some in self.split():
            shown = [self.estimate_share(gains[count], some) for count in COUNTS]
            print_line([name, unknown, data, *shown])

    def print_difference(
        self,
        name: str,
        unknown: str,
        gains: Mapping[int, NDArray[np.float64]],
        before: Mapping[int, NDArray[np.float64]],
    ) -> None:
        """Difference of mean test gains in pp."""
        for data, some in self.split():
            shown = []
            for count in COUNTS:
                more = gains[count] - before[count]
                shown.append(format_estimate(self.measure_difference(more, some)))
            print_line([name, unknown, data, *shown])

    def print_stopping(self, unknown: str) -> None:
        """Stopping where the greatest expected improvement is small, beside fixed budgets."""
        found: dict[int, tuple[list[Point], list[float]]] = {}
        for group, known in leave_out(self.grids, unknown):
            surrogate = fit_surrogate(known)
            for grid in group:
                found[id(grid)] = follow_search(surrogate, grid, max(COUNTS))
        rules: dict[str, Callable[[Sequence[float]], int]] = {
            f"{count} trials for all": partial(find_stop, bound=math.inf, first=count)
            for count in range(2, max(COUNTS) + 1)
        }
        for bound, first in product(STOP_BELOW_PP, STOP_AFTER):
            rules[f"stop below {bound} pp, after {first} trials"] = partial(
                find_stop, bound=bound, first=first
            )
        for name, rule in rules.items():
            spent = [rule(found[id(grid)][1]) for grid in self.grids]
            gains = np.array(
                [
                    grid.compute_kept_gain(found[id(grid)][0][:count])
                    for grid, count in zip(self.grids, spent, strict=True)
                ]
            )
            for data, some in self.split():
                mean = f"{np.array(spent)[some].mean():.1f}"
                print_line([name, unknown, data, mean, self.estimate_share(gains, some)])

    def print_bounds(self) -> None:
        """What the best possible choice of cells gives on test."""
        for name, gains in list_bounds(self.grids).items():
            for data, some in self.split():
                shown = self.estimate_share(gains, some)
                print_line([name, data, f"{gains[some].mean():.2f}", shown])

    def estimate_share(self, gains: NDArray[np.float64], some: NDArray[np.bool_]) -> str:
        """Percent of what the grid improves over trying nothing, with its 95 % interval."""
        return format_share(self.measure_share(gains, some))

    def measure_share(
        self, gains: NDArray[np.float64], some: NDArray[np.bool_] | None = None
    ) -> tuple[float, float, float]:
        """The same of ``some`` pairs or all: the percent and both ends of its interval."""
        some = np.full(len(self.grids), True) if some is None else some
        better, possible = ((g - self.nothing)[some] for g in (gains, self.whole))
        return estimate(
            lambda w: 100 * (average(w, better) / average(w, possible)), self._select(some)
        )[:3]

    def measure_difference(
        self, gains: NDArray[np.float64], some: NDArray[np.bool_] | None = None
    ) -> Estimate:
        """The mean of a number of each pair, of ``some`` or all, with its 95 % interval."""
        some = np.full(len(self.grids), True) if some is None else some
        return estimate_mean(self._select(some), pd.Series(gains[some]))

    def split(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Each data set and which pairs are of it."""
        return [(name, self._data == name) for name in sorted(set(self._data.tolist()))]

    def _select(self, some: NDArray[np.bool_]) -> pd.DataFrame:
        return self._pairs[some].reset_index(drop=True)


def average_runs(
    grids: Sequence[FullGrid], search: Callable[[FullGrid], Sequence[Sequence[Point]]]
) -> NDArray[np.float64]:
    """Test gain of each pair, the mean over a search's runs."""
    return np.array(
        [np.mean([grid.compute_kept_gain(run) for run in search(grid)]) for grid in grids]
    )


def format_share(share: tuple[float, float, float]) -> str:
    """A percent and its interval in whole numbers."""
    middle, low, high = map(round, share)
    return f"{middle} ({low} to {high})"


def format_over_partitions(grids: Sequence[FullGrid], more: NDArray[np.float64]) -> str:
    """The mean over partitions of the mean difference of their pairs."""
    places: dict[tuple[str, str], list[float]] = {}
    for grid, difference in zip(grids, more, strict=True):
        places.setdefault(grid.place, []).append(float(difference))
    return format_estimate(estimate_independent(float(np.mean(of)) for of in places.values()))


def format_estimate(found: Estimate) -> str:
    if np.isnan(found.low):
        return f"{found.mean:+.2f}"
    text = f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


def format_rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def name_pair(grid: FullGrid) -> str:
    """Campaign, partition, teacher and student."""
    return "/".join([*grid.place, f"t{grid.pair.teacher:02d}-s{grid.pair.student:02d}"])


def print_line(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def print_head(texts: Sequence[str], numbers: Sequence[str]) -> None:
    print_line([*texts, *numbers])
    print_line(["---"] * len(texts) + ["--:"] * len(numbers))


def follow_search(
    surrogate: Surrogate, grid: FullGrid, count: int
) -> tuple[list[Point], list[float]]:
    """The points that the search tries, and the improvement that it expected of each, in pp."""
    posterior = surrogate.compute_posterior(grid.known)
    tried = replay_posterior(posterior, grid, count)
    points, ahead = list(tried), []
    for number, point in enumerate(points):
        before = {p: tried[p] for p in points[:number]}
        best = max([grid.find_fallback()[1], *(result.gain for result in before.values())])
        expected = posterior.condition_on(before).compute_expected_improvement(best)
        ahead.append(float(expected[posterior.points.index(point)]))
    return points, ahead


def find_stop(ahead: Sequence[float], bound: float, first: int) -> int:
    """After how many trials a search stops whose expected improvements were ``ahead``, in pp."""
    return next((i for i, e in enumerate(ahead) if i >= first and e <= bound), len(ahead))


def list_bounds(grids: Sequence[FullGrid]) -> dict[str, NDArray[np.float64]]:
    """Test gains of choices that no search can make, each (pairs,)."""
    points = list(grids[0].cells)
    validation = np.array([[g.cells[p].validation_gain for p in points] for g in grids])
    test = np.array([[g.cells[p].test_gain for p in points] for g in grids])
    kept, bound = np.array([grid.find_fallback() for grid in grids]).T
    controls = np.nan_to_num([grid.control.test for grid in grids])
    # Only a point that beats the fallback on validation is kept.
    usable = np.where(validation > bound[:, None], test, kept[:, None])
    found = {"the best cell on validation": np.array([g.compute_kept_gain(points) for g in grids])}
    listed: list[int] = []

    def keep_best(some: list[int]) -> NDArray[np.float64]:
        rows, best = np.arange(len(grids)), np.array(some)[validation[:, some].argmax(axis=1)]
        return usable[rows, best]

    while len(listed) < max(COUNTS):
        rest = [i for i in range(len(points)) if i not in listed]
        listed.append(max(rest, key=lambda i: keep_best([*listed, i]).mean()))
        if len(listed) in COUNTS:
            found[f"the best {len(listed)} cells for all, chosen on test"] = keep_best(listed)
    found["the best cell on test, if validation prefers it to none"] = usable.max(axis=1)
    found["the best on test"] = np.maximum(test.max(axis=1), np.maximum(0.0, controls))
    return found
