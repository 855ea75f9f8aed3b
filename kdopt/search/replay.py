"""How far a few trials go: searches replayed on stored full grids.

Every point of a pair with a finished grid was measured, so any search can be replayed on it
without training. After ``k`` trials a search keeps the best on the selection set: the untouched
student, the control (trained on without the teacher: one trial per student, which all searches
have), or a tried point. Whoever tries nothing has the better of the first two. What counts is the
gain of that choice on test:

    fraction = mean over pairs of (search - nothing tried) / mean of (grid - nothing tried)

With no trial at all, a search with a prior takes the point of greatest expected gain, where that is
above the gain of the untouched student and of the control.

Three things may be unknown beforehand: every pair of its ``partition``, every pair of the same
``student``, or only the ``pair`` itself. The prior is made of all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.analysis.best_settings import find_best_point, rank_points
from kdopt.analysis.results import CampaignResults, GainName, GainPair, PointMean
from kdopt.analysis.stats import average, estimate
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import round_of_pair
from kdopt.outcome import Pair, TrialRow
from kdopt.search.posterior import Posterior
from kdopt.search.prior import (
    MIN_PRIOR_PAIRS,
    PairResults,
    Point,
    PointResult,
    Prior,
    collect_pair_results,
    list_grid_points,
)
from kdopt.search.surrogate import Surrogate

TRIAL_COUNTS = (0, 1, 2, 3, 4, 6, 8)
REPLAY_COLUMNS = ("unknown", "search", "trials", "fraction", "low", "high", "gain", "pairs")
NOTHING_TAUGHT = "nothing taught"
"""In column ``unknown``: the search uses no prior. Else it is one of :data:`UNKNOWN`."""

UNKNOWN: Mapping[str, Callable[[Pair], tuple[object, ...]]] = {
    "partition": lambda pair: (pair.partition,),
    "student": lambda pair: (pair.partition, pair.student),
    "pair": lambda pair: pair,
}
"""What a search may not know, the hardest first, and which pairs are unknown together."""


class FullGrid(NamedTuple):
    """A pair whose whole grid was measured.

    Attributes:
        pair: Which.
        known: Its features, and the result of every point.
        cells: The gains of every point.
        control: What the student gains without the teacher; NaN where that was not run.
    """

    pair: Pair
    known: PairResults
    cells: Mapping[Point, PointMean]
    control: GainPair

    def compute_kept_gain(self, tried: Iterable[Point], campaign: Campaign) -> float:
        """Test gain of the best of these points, the control and the untouched student."""
        kept, bound = self.find_fallback(campaign)
        gain = _get_selection_gain(campaign)
        best = find_best_point([self.cells[point] for point in tried], gain, campaign.tune)
        return best.test_gain if best is not None and getattr(best, gain) > bound else kept

    def find_fallback(self, campaign: Campaign) -> tuple[float, float]:
        """Gains on test and on the selection set of the student if no point is used."""
        control = self.control
        chosen = control.test if campaign.select_on == "test" else control.validation
        # A control that was not run has no gain, and is never chosen.
        return (control.test, chosen) if chosen > 0 else (0.0, 0.0)


PointSearch = Callable[[FullGrid, int], Sequence[Sequence[Point]]]
"""The points that a search tries on one pair with so many trials; several runs are averaged."""


def replay_searches(
    grids: Sequence[FullGrid],
    campaign: Campaign,
    searches: Mapping[str, PointSearch] | None = None,
    counts: Sequence[int] = TRIAL_COUNTS,
) -> pd.DataFrame:
    """One row per search, what it did not know, and number of trials.

    ``fraction`` is percent of the grid's improvement over trying nothing, with its 95 % interval;
    ``gain`` is the mean test gain in pp. Empty when there are too few full grids, or when vanilla
    is not one of their points.

    Args:
        grids: As :func:`collect_full_grids` gives them.
        campaign: The campaign.
        searches: Searches without a prior, by name, beside random points.
        counts: Numbers of trials.
    """
    vanilla = campaign.tune.vanilla_point
    # One pair more than a prior takes: each pair is left out once.
    if len(grids) <= MIN_PRIOR_PAIRS or vanilla not in list_grid_points(campaign):
        return pd.DataFrame(columns=list(REPLAY_COLUMNS))
    pairs = pd.DataFrame([grid.pair for grid in grids])
    baseline, untuned, ceiling = (
        np.array([grid.compute_kept_gain(choose(grid), campaign) for grid in grids])
        for choose in (lambda _: (), lambda _: (vanilla,), lambda grid: grid.cells)
    )

    def make_row(
        unknown: str, search: str, trials: int, gains: NDArray[np.float64]
    ) -> tuple[object, ...]:
        found = _estimate_fraction(pairs, gains - baseline, ceiling - baseline)
        return (unknown, search, trials, *found, float(gains.mean()), len(grids))

    lines = [
        make_row(NOTHING_TAUGHT, "none", 0, baseline),
        make_row(NOTHING_TAUGHT, "vanilla", 1, untuned),
        make_row(NOTHING_TAUGHT, "full grid", len(list_grid_points(campaign)), ceiling),
    ]
    for count in (c for c in counts if c):
        random = _compute_random_gains(grids, count, campaign)
        lines.append(make_row(NOTHING_TAUGHT, "random", count, random))
        for name, search in (searches or {}).items():
            runs = [[g.compute_kept_gain(run, campaign) for run in search(g, count)] for g in grids]
            gains = np.array([np.mean(run) for run in runs])
            lines.append(make_row(NOTHING_TAUGHT, name, count, gains))
    for unknown in UNKNOWN:
        groups = group_unknown(grids, unknown)
        for (name, count), gains in _replay_with_priors(grids, groups, campaign, counts).items():
            lines.append(make_row(unknown, name, count, gains))
    return pd.DataFrame(lines, columns=list(REPLAY_COLUMNS))


def collect_full_grids(rows: Sequence[TrialRow], campaign: Campaign) -> list[FullGrid]:
    """The pairs whose every point is complete and whose participants are known, in fixed order."""
    points = list_grid_points(campaign)
    results = CampaignResults(rows, campaign)
    found = []
    for pair, known in collect_pair_results(rows).items():
        cells = {(c.temperature, c.alpha): c for c in results.points.get(pair, ())}
        if all(point in cells and point in known.results for point in points):
            own = {point: cells[point] for point in points}
            found.append(FullGrid(pair, known, own, results.measure_control(pair)))
    return found


def group_unknown(grids: Sequence[FullGrid], unknown: str) -> list[list[FullGrid]]:
    """Pairs that are unknown together, in fixed order; ``unknown`` is a key of :data:`UNKNOWN`."""
    groups: dict[tuple[object, ...], list[FullGrid]] = {}
    for grid in grids:
        groups.setdefault(UNKNOWN[unknown](grid.pair), []).append(grid)
    return list(groups.values())


def replay_warm_search(
    surrogate: Surrogate,
    grids: Sequence[FullGrid],
    count: int,
    campaign: Campaign,
    rounds: Mapping[Pair, int] | None = None,
) -> dict[Pair, float]:
    """Test gain that each pair has after so many warm trials.

    Args:
        surrogate: Fitted to pairs that are not among ``grids``.
        grids: The pairs.
        count: Trials for each.
        campaign: The campaign.
        rounds: The round of each pair: it also learns from the trials of earlier rounds. Without
            it every pair learns from ``surrogate`` alone.
    """
    gains: dict[Pair, float] = {}
    done: list[PairResults] = []
    for number in sorted(set(rounds.values())) if rounds else [None]:
        finished = []
        for grid in (g for g in grids if rounds is None or rounds[g.pair] == number):
            posterior = surrogate.compute_posterior(grid.known, done)
            if not count:
                best, expected = posterior.find_best_point()
                kept, bound = grid.find_fallback(campaign)
                gains[grid.pair] = grid.cells[best].test_gain if expected > bound else kept
            tried = replay_posterior(posterior, grid, count)
            gains.setdefault(grid.pair, grid.compute_kept_gain(tried, campaign))
            finished.append(replace(grid.known, results=tried))
        # Only after the round: its pairs run at the same time and do not see each other.
        done += finished
    return gains


def replay_posterior(posterior: Posterior, grid: FullGrid, count: int) -> dict[Point, PointResult]:
    """The points that a posterior tries one by one, each with its result."""
    tried: dict[Point, PointResult] = {}
    while len(tried) < count:
        best = max((result.gain for result in tried.values()), default=0.0)
        point = posterior.condition_on(tried).choose_next_point(tried, best)
        if point is None:
            break
        tried[point] = grid.known.results[point]
    return tried


def build_portfolio(grids: Sequence[FullGrid], count: int) -> list[Point]:
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


def _replay_with_priors(
    grids: Sequence[FullGrid],
    groups: Sequence[Sequence[FullGrid]],
    campaign: Campaign,
    counts: Sequence[int],
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Test gains of the searches with a prior, by name and number of trials, each (pairs,).

    Args:
        grids: All pairs.
        groups: The same, in groups; the prior for a group is made of all other groups.
        campaign: The campaign.
        counts: Numbers of trials.
    """
    gains: dict[tuple[str, int], dict[Pair, float]] = {}
    in_rounds = any(len(group) > 1 for group in groups)
    for group in groups:
        unknown = {g.pair for g in group}
        known = [g for g in grids if g.pair not in unknown]
        if len(known) < MIN_PRIOR_PAIRS:
            return {}
        surrogate = _fit_surrogate(known, campaign)
        portfolio = build_portfolio(known, max(counts))
        rounds = {p: round_of_pair(campaign, p.teacher, p.student) for p in unknown}
        for count in counts:
            found = {"warm": replay_warm_search(surrogate, group, count, campaign)}
            if in_rounds:
                found["warm in rounds"] = replay_warm_search(
                    surrogate, group, count, campaign, rounds
                )
            if count:
                found["fixed portfolio"] = {
                    g.pair: g.compute_kept_gain(portfolio[:count], campaign) for g in group
                }
            for name, of_pairs in found.items():
                gains.setdefault((name, count), {}).update(of_pairs)
    return {key: np.array([found[g.pair] for g in grids]) for key, found in gains.items()}


def _compute_random_gains(
    grids: Sequence[FullGrid], count: int, campaign: Campaign
) -> NDArray[np.float64]:
    """Expected test gain of random points without repetition, over all subsets of that size.

    The point of rank ``j`` by selection, from 0 on, is the best of a subset when all others of it
    are among the ``n - 1 - j`` below: ``C(n - 1 - j, k - 1) / C(n, k)``.
    """
    expected = []
    for grid in grids:
        ranked = rank_points(grid.cells.values(), _get_selection_gain(campaign), campaign.tune)
        n = len(ranked)
        k = min(count, n)
        chances = [math.comb(n - 1 - j, k - 1) / math.comb(n, k) for j in range(n)]
        gains = [grid.compute_kept_gain([(c.temperature, c.alpha)], campaign) for c in ranked]
        expected.append(math.fsum(c * gain for c, gain in zip(chances, gains, strict=True)))
    return np.array(expected)


def _get_selection_gain(campaign: Campaign) -> GainName:
    return "test_gain" if campaign.select_on == "test" else "validation_gain"


def _fit_surrogate(grids: Sequence[FullGrid], campaign: Campaign) -> Surrogate:
    points = list_grid_points(campaign)
    pairs = tuple(grid.known for grid in grids)
    return Surrogate(Prior(campaign.name, campaign.tune.t2_scale, points, pairs))


def _estimate_fraction(
    pairs: pd.DataFrame, better: NDArray[np.float64], possible: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Percent of the possible that is reached, with its interval."""
    if possible.mean() <= 0:
        return math.nan, math.nan, math.nan
    return estimate(lambda w: 100 * (average(w, better) / average(w, possible)), pairs)[:3]
