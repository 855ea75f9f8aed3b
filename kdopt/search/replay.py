"""How far a few trials go: searches replayed on stored full grids.

Every pair of a finished grid campaign answers at once what a search would have seen, so any search
can be replayed without training. After ``k`` trials a search is left with the tried point of
greatest gain on the selection set, or with the untouched student when none gains more than 0 (the
negative-transfer guard, for vanilla and for the grid as well). What counts is its gain on test:

    fraction = mean over pairs of (search - vanilla) / mean over pairs of (grid - vanilla)

With no trial at all, a search that was taught is left with the point it expects most of, or with
the untouched student when it expects nothing.

Two things may be unknown beforehand: ``pair``, only the pair itself (every other pair of the
campaign is known in full), and ``partition``, every pair of its partition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.best_settings import find_best_point, rank_points
from kdopt.analysis.results import GainName, Pair, PointMean, average_points, group_by_pair
from kdopt.analysis.stats import RESAMPLES
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import round_of_pair
from kdopt.outcome import TrialRow
from kdopt.search.pairs import grid_points, known_pairs
from kdopt.search.posterior import Belief
from kdopt.search.prior import KnownPair, Point, Prior, Result
from kdopt.search.surrogate import MIN_PAIRS, Surfaces

Floats = npt.NDArray[np.float64]

COUNTS = (0, 1, 2, 3, 4, 6, 8)
COLUMNS = ("unknown", "search", "trials", "fraction", "low", "high", "gain", "pairs")
PAIR, PARTITION, NOTHING = "pair", "partition", "nothing taught"


class FullGrid(NamedTuple):
    """A pair whose whole grid was measured.

    Attributes:
        pair: Who.
        known: Its features, and what came of every point.
        cells: The gains of every point.
    """

    pair: Pair
    known: KnownPair
    cells: Mapping[Point, PointMean]

    def left_with(self, tried: Iterable[Point], campaign: Campaign) -> float:
        """Test gain of the best of these points, chosen as the report does, under the guard."""
        gain = _selected_on(campaign)
        best = find_best_point([self.cells[point] for point in tried], gain, campaign.tune)
        return best.test_gain if best is not None and getattr(best, gain) > 0 else 0.0


Search = Callable[[FullGrid, int], Sequence[Sequence[Point]]]
"""The points that a search tries on one pair when it may try so many; several runs are averaged."""


def full_grids(rows: Sequence[TrialRow], campaign: Campaign) -> list[FullGrid]:
    """The pairs whose every point is complete and whose participants are known, in fixed order."""
    points = grid_points(campaign)
    groups = group_by_pair(rows)
    found = []
    for key, known in known_pairs(rows).items():
        pair = Pair(*key)
        cells = {(c.temperature, c.alpha): c for c in average_points(groups[pair])}
        if all(point in cells and point in known.results for point in points):
            found.append(FullGrid(pair, known, {point: cells[point] for point in points}))
    return found


def few_trials(
    rows: Sequence[TrialRow],
    campaign: Campaign,
    searches: Mapping[str, Search] | None = None,
    counts: Sequence[int] = COUNTS,
) -> pd.DataFrame:
    """One line per search, what it did not know, and number of trials.

    ``fraction`` is percent of the grid's improvement over vanilla, with the 95 % bootstrap interval
    over pairs; ``gain`` is the mean test gain in pp. Empty when the store has too few full grids,
    or when vanilla is not one of their points.

    Args:
        rows: The campaign's trials.
        campaign: The campaign.
        searches: Searches that nothing teaches, by name, beside random points.
        counts: Numbers of trials.
    """
    grids = full_grids(rows, campaign)
    vanilla = campaign.tune.vanilla_point
    if len(grids) <= MIN_PAIRS or vanilla not in grid_points(campaign):
        return pd.DataFrame(columns=list(COLUMNS))
    baseline = np.array([grid.left_with([vanilla], campaign) for grid in grids])
    ceiling = np.array([grid.left_with(grid.cells, campaign) for grid in grids])

    def line(unknown: str, search: str, trials: int, gains: Floats) -> tuple[object, ...]:
        seed = seed_for(campaign.seed, "few trials", unknown, search, trials)
        bounds = _interval(gains - baseline, ceiling - baseline, np.random.default_rng(seed))
        fraction = _fraction(gains - baseline, ceiling - baseline)
        return (unknown, search, trials, fraction, *bounds, float(gains.mean()), len(grids))

    lines = [
        line(NOTHING, "vanilla", 1, baseline),
        line(NOTHING, "full grid", len(grid_points(campaign)), ceiling),
    ]
    for count in (c for c in counts if c):
        lines.append(line(NOTHING, "random", count, _random(grids, count, campaign)))
        for name, search in (searches or {}).items():
            runs = [[g.left_with(run, campaign) for run in search(g, count)] for g in grids]
            lines.append(line(NOTHING, name, count, np.array([np.mean(run) for run in runs])))
    for unknown, groups in ((PAIR, [[g] for g in grids]), (PARTITION, _by_partition(grids))):
        for (name, count), gains in _taught(grids, groups, campaign, counts).items():
            lines.append(line(unknown, name, count, gains))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _taught(
    grids: Sequence[FullGrid],
    groups: Sequence[Sequence[FullGrid]],
    campaign: Campaign,
    counts: Sequence[int],
) -> dict[tuple[str, int], Floats]:
    """Test gains of the searches that learn, by name and number of trials.

    Args:
        grids: All pairs.
        groups: The same, in groups; a group is unknown to what is learnt for it.
        campaign: The campaign.
        counts: Numbers of trials.
    """
    answers: dict[tuple[str, int], dict[Pair, float]] = {}
    in_rounds = any(len(group) > 1 for group in groups)
    for group in groups:
        unknown = {g.pair for g in group}
        taught_by = [g for g in grids if g.pair not in unknown]
        if len(taught_by) < MIN_PAIRS:
            return {}
        surfaces = _surfaces(taught_by, campaign)
        portfolio = greedy_portfolio(taught_by, max(counts))
        rounds = {p: round_of_pair(campaign, p.teacher, p.student) for p in unknown}
        for count in counts:
            ways = {"warm": warm(surfaces, group, count, campaign)}
            if in_rounds:
                ways["warm in rounds"] = warm(surfaces, group, count, campaign, rounds)
            if count:
                some = portfolio[:count]
                ways["fixed portfolio"] = {g.pair: g.left_with(some, campaign) for g in group}
            for name, found in ways.items():
                answers.setdefault((name, count), {}).update(found)
    return {key: np.array([found[g.pair] for g in grids]) for key, found in answers.items()}


def warm(
    surfaces: Surfaces,
    grids: Sequence[FullGrid],
    count: int,
    campaign: Campaign,
    rounds: Mapping[Pair, int] | None = None,
) -> dict[Pair, float]:
    """Test gain that each pair is left with after so many warm trials.

    Args:
        surfaces: What was learnt from pairs that are not among ``grids``.
        grids: The pairs.
        count: Trials for each.
        campaign: The campaign.
        rounds: When each is tried: it also learns from the trials of earlier rounds. Without it
            every pair learns from ``surfaces`` alone.
    """
    answers: dict[Pair, float] = {}
    done: list[KnownPair] = []
    for number in sorted(set(rounds.values())) if rounds else [None]:
        finished = []
        for grid in (g for g in grids if rounds is None or rounds[g.pair] == number):
            belief = surfaces.belief(grid.known, done)
            if not count:
                best, expected = belief.best_point()
                answers[grid.pair] = grid.cells[best].test_gain if expected > 0 else 0.0
            seen = warm_points(belief, grid, count)
            answers.setdefault(grid.pair, grid.left_with(seen, campaign))
            finished.append(replace(grid.known, results=seen))
        done += finished
    return answers


def warm_points(belief: Belief, grid: FullGrid, count: int) -> dict[Point, Result]:
    """The points tried one by one, each with what came of it."""
    seen: dict[Point, Result] = {}
    while len(seen) < count:
        best = max((result.gain for result in seen.values()), default=0.0)
        point = belief.given(seen).next_point(seen, best)
        if point is None:
            break
        seen[point] = grid.known.results[point]
    return seen


def greedy_portfolio(grids: Sequence[FullGrid], count: int) -> list[Point]:
    """Points in the order in which each adds most to the mean over pairs of the best gain."""
    points = list(grids[0].cells)
    gains = np.array([[g.known.results[p].gain for p in points] for g in grids])
    best = np.zeros(len(grids))
    chosen: list[int] = []
    for _ in range(min(count, len(points))):
        means = np.maximum(best[:, None], gains).mean(axis=0)
        index = int(np.argmax(np.where(np.isin(np.arange(len(points)), chosen), -np.inf, means)))
        chosen.append(index)
        best = np.maximum(best, gains[:, index])
    return [points[i] for i in chosen]


def _random(grids: Sequence[FullGrid], count: int, campaign: Campaign) -> Floats:
    """Expected test gain of random points without repetition, over all subsets of that size.

    The point of rank ``j`` by selection, from 0 on, is the best of a subset when all others of it
    are among the ``n - 1 - j`` below: ``C(n - 1 - j, k - 1) / C(n, k)``.
    """
    out = []
    for grid in grids:
        ranked = rank_points(grid.cells.values(), _selected_on(campaign), campaign.tune)
        n = len(ranked)
        k = min(count, n)
        chances = [math.comb(n - 1 - j, k - 1) / math.comb(n, k) for j in range(n)]
        gains = [grid.left_with([(c.temperature, c.alpha)], campaign) for c in ranked]
        out.append(math.fsum(c * gain for c, gain in zip(chances, gains, strict=True)))
    return np.array(out)


def _selected_on(campaign: Campaign) -> GainName:
    return "test_gain" if campaign.select_on == "test" else "validation_gain"


def _surfaces(grids: Sequence[FullGrid], campaign: Campaign) -> Surfaces:
    points = grid_points(campaign)
    known = tuple(grid.known for grid in grids)
    return Surfaces(Prior(campaign.name, campaign.tune.t2_scale, points, known))


def _by_partition(grids: Sequence[FullGrid]) -> list[list[FullGrid]]:
    names = dict.fromkeys(grid.pair.partition for grid in grids)
    return [[g for g in grids if g.pair.partition == name] for name in names]


def _fraction(better: Floats, possible: Floats) -> float:
    return 100 * float(better.mean() / possible.mean()) if possible.mean() > 0 else math.nan


def _interval(
    better: Floats, possible: Floats, generator: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the fraction; both means are of the same pairs."""
    drawn = generator.integers(0, len(better), size=(RESAMPLES, len(better)))
    above, below = better[drawn].mean(axis=1), possible[drawn].mean(axis=1)
    ratios = 100 * above[below > 0] / below[below > 0]
    if not len(ratios):
        return math.nan, math.nan
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)
