"""How far a few trials go: searches replayed on stored full grids.

Every point of a pair with a finished grid was measured, so any search can be replayed on it
without training. After ``k`` trials a search keeps the best on the selection set: the untouched
student, the control (trained on without the teacher: one trial per student, which all searches
have), or a tried point. Whoever tries nothing has the better of the first two. What counts is the
gain of that choice on test:

    fraction = mean over pairs of (search - nothing tried) / mean of (grid - nothing tried)

With no trial at all, a search with a prior takes the point of greatest expected gain, where that is
above the gain of the untouched student and of the control.

Beforehand may be unknown (:data:`kdopt.search.full_grids.UNKNOWN`):
everything of its ``data set``, of its kind of
``partition``, or of the ``participant`` that learns; every pair of the same ``student``; or only
the ``pair`` itself. The prior is made of all others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.analysis.best_settings import rank_points
from kdopt.analysis.stats import average, estimate
from kdopt.errors import KdoptError
from kdopt.search.full_grids import UNKNOWN, FullGrid, get_selection_gain, leave_out
from kdopt.search.posterior import Posterior
from kdopt.search.prior import (
    MIN_PRIOR_PAIRS,
    PairResults,
    Point,
    PointResult,
    Prior,
    list_grid_points,
)
from kdopt.search.surrogate import Surrogate

TRIAL_COUNTS = (0, 1, 2, 3, 4, 6, 8)
REPLAY_COLUMNS = (
    "data", "unknown", "search", "trials", "epochs", "fraction", "low", "high", "gain", "pairs",
)  # fmt: skip
ALL_DATA = "all"
"""In column ``data``: pairs of all data sets count. Else the name of the one whose pairs count."""

NOTHING_TAUGHT = "nothing taught"
"""In column ``unknown``: the search uses no prior. Else it is one of :data:`UNKNOWN`."""


PointSearch = Callable[[FullGrid, int], Sequence[Sequence[Point]]]
"""The points that a search tries on one pair with so many trials; several runs are averaged."""


def replay_searches(
    grids: Sequence[FullGrid],
    searches: Mapping[str, PointSearch] | None = None,
    counts: Sequence[int] = TRIAL_COUNTS,
    unknown: Iterable[str] = tuple(UNKNOWN),
) -> pd.DataFrame:
    """One row per search, what it did not know, number of trials, and data set.

    ``fraction`` is percent of the grid's improvement over trying nothing, with its 95 % interval;
    ``gain`` is the mean test gain in pp; ``epochs`` is the mean cost of a pair
    (:meth:`FullGrid.count_epochs`). Where the pairs are of several data sets, each has its rows
    beside those of all. Empty when there are too few full grids, or when vanilla is not one of
    their points.

    Args:
        grids: Of one campaign or several, as
            :func:`kdopt.search.full_grids.collect_full_grids` gives them.
        searches: Searches without a prior, by name, beside random points.
        counts: Numbers of trials.
        unknown: Which of :data:`UNKNOWN` to leave out.

    Raises:
        KdoptError: The campaigns differ in what a point means or in how they choose.
    """
    _check_alike(grids)
    # One pair more than a prior takes: each pair is left out once.
    if len(grids) <= MIN_PRIOR_PAIRS or any(
        grid.campaign.tune.vanilla_point not in grid.cells for grid in grids
    ):
        return pd.DataFrame(columns=list(REPLAY_COLUMNS))
    table = _Table(grids)
    table.add(NOTHING_TAUGHT, "none", 0, table.baseline)
    vanilla = [grid.compute_kept_gain([grid.campaign.tune.vanilla_point]) for grid in grids]
    table.add(NOTHING_TAUGHT, "vanilla", 1, np.array(vanilla))
    table.add(NOTHING_TAUGHT, "full grid", len(grids[0].cells), table.ceiling)
    for count in (c for c in counts if c):
        table.add(NOTHING_TAUGHT, "random", count, compute_random_gains(grids, count))
        for name, search in (searches or {}).items():
            runs = [[g.compute_kept_gain(run) for run in search(g, count)] for g in grids]
            table.add(NOTHING_TAUGHT, name, count, np.array([np.mean(run) for run in runs]))
    for what in unknown:
        for (taught, count), gains in _replay_with_priors(grids, what, counts).items():
            table.add(what, taught, count, gains)
    return pd.DataFrame(table.lines, columns=list(REPLAY_COLUMNS))


def replay_warm_search(
    surrogate: Surrogate,
    grids: Sequence[FullGrid],
    counts: Sequence[int],
    in_rounds: bool = False,
    vanilla_first: bool = False,
) -> dict[int, list[float]]:
    """Test gain that each pair has after so many warm trials, by number of trials.

    Args:
        surrogate: Fitted to pairs that are not among ``grids``.
        grids: The pairs.
        counts: Numbers of trials for each.
        in_rounds: Each pair also learns from the trials of earlier rounds of its partition.
            Without it every pair learns from ``surrogate`` alone.
        vanilla_first: In rounds, the first trial is vanilla, as in a campaign.
    """
    if in_rounds:
        return {c: _replay_rounds(surrogate, grids, c, vanilla_first) for c in counts}
    return replay_posteriors(lambda grid: surrogate.compute_posterior(grid.known), grids, counts)


def replay_posteriors(
    predict: Callable[[FullGrid], Posterior],
    grids: Sequence[FullGrid],
    counts: Sequence[int],
    find_floor: Callable[[FullGrid], float] = lambda _: 0.0,
) -> dict[int, list[float]]:
    """The same from each pair's posterior before its first trial, above some gain in pp."""
    gains: dict[int, list[float]] = {count: [] for count in counts}
    for grid in grids:
        posterior = predict(grid)
        # A search with more trials begins like one with fewer.
        tried = list(replay_posterior(posterior, grid, max(counts), find_floor(grid)))
        for count in counts:
            gains[count].append(_find_gain(posterior, grid, tried[:count]))
    return gains


def fit_surrogate(grids: Sequence[FullGrid]) -> Surrogate:
    """What the search learns from these pairs."""
    campaign = grids[0].campaign
    pairs = tuple(grid.known for grid in grids)
    return Surrogate(
        Prior(campaign.name, campaign.tune.t2_scale, list_grid_points(campaign), pairs)
    )


def _replay_rounds(
    surrogate: Surrogate, grids: Sequence[FullGrid], count: int, vanilla_first: bool
) -> list[float]:
    gains: dict[int, float] = {}
    done: dict[tuple[str, str], list[PairResults]] = defaultdict(list)
    for number in sorted({grid.round for grid in grids}):
        finished = []
        for index, grid in enumerate(grids):
            if grid.round == number:
                posterior = surrogate.compute_posterior(grid.known, done[grid.place])
                first = [grid.campaign.tune.vanilla_point] if vanilla_first else []
                tried = replay_posterior(posterior, grid, count, first=first)
                gains[index] = _find_gain(posterior, grid, list(tried))
                finished.append((grid.place, replace(grid.known, results=tried)))
        # Only after the round: its pairs run at the same time and do not see each other.
        for place, results in finished:
            done[place].append(results)
    return [gains[index] for index in range(len(grids))]


def _find_gain(posterior: Posterior, grid: FullGrid, tried: Sequence[Point]) -> float:
    if tried:
        return grid.compute_kept_gain(tried)
    best, expected = posterior.find_best_point()
    kept, bound = grid.find_fallback()
    return grid.cells[best].test_gain if expected > bound else kept


def replay_posterior(
    posterior: Posterior,
    grid: FullGrid,
    count: int,
    floor: float = 0.0,
    first: Sequence[Point] = (),
) -> dict[Point, PointResult]:
    """The points that a posterior tries one by one, each with its result.

    Improvement counts above ``floor``, in pp, until a point has more. The ``first`` points are
    tried whatever the posterior says.
    """
    tried = {point: grid.known.results[point] for point in first[:count]}
    while len(tried) < count:
        best = max([floor, *(result.gain for result in tried.values())])
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


class _Table:
    """Collects the rows of :func:`replay_searches`.

    Attributes:
        lines: The rows so far.
        baseline: Test gain of each pair where nothing is tried.
        ceiling: The same where everything is.
    """

    def __init__(self, grids: Sequence[FullGrid]) -> None:
        self.lines: list[tuple[object, ...]] = []
        self.baseline = np.array([grid.compute_kept_gain(()) for grid in grids])
        self.ceiling = np.array([grid.compute_kept_gain(grid.cells) for grid in grids])
        self._grids = grids
        data = np.array([grid.campaign.data.name for grid in grids])
        self._subsets = {ALL_DATA: np.full(len(grids), True)}
        if len(names := dict.fromkeys(data.tolist())) > 1:
            self._subsets |= {name: data == name for name in names}
        self._pairs = pd.DataFrame(
            [grid.pair._replace(partition="/".join(grid.place)) for grid in grids]
        )

    def add(self, unknown: str, search: str, trials: int, gains: NDArray[np.float64]) -> None:
        """One row per data set; ``gains`` are on test, (pairs,)."""
        epochs = np.array([grid.count_epochs(trials) for grid in self._grids])
        for data, some in self._subsets.items():
            better, possible = ((g - self.baseline)[some] for g in (gains, self.ceiling))
            found = _estimate_fraction(self._pairs[some].reset_index(drop=True), better, possible)
            cost, gain = float(epochs[some].mean()), float(gains[some].mean())
            self.lines.append((data, unknown, search, trials, cost, *found, gain, int(some.sum())))


def _replay_with_priors(
    grids: Sequence[FullGrid], unknown: str, counts: Sequence[int]
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Test gains of the searches with a prior, by name and number of trials, each (pairs,)."""
    gains: dict[tuple[str, int], dict[int, float]] = {}
    groups = list(leave_out(grids, unknown))
    if any(len(known) < MIN_PRIOR_PAIRS for _, known in groups):
        return {}
    places = {id(grid): index for index, grid in enumerate(grids)}
    in_rounds = any(len(group) > 1 for group, _ in groups)
    for group, known in groups:
        surrogate = fit_surrogate(known)
        found = {("warm", c): g for c, g in replay_warm_search(surrogate, group, counts).items()}
        if in_rounds:
            by_count = replay_warm_search(surrogate, group, counts, in_rounds=True)
            found |= {("warm in rounds", c): g for c, g in by_count.items()}
        portfolio = build_portfolio(known, max(counts))
        for count in (c for c in counts if c):
            kept = [grid.compute_kept_gain(portfolio[:count]) for grid in group]
            found["fixed portfolio", count] = kept
        for key, of_group in found.items():
            where = [places[id(grid)] for grid in group]
            gains.setdefault(key, {}).update(zip(where, of_group, strict=True))
    return {key: np.array([of[i] for i in range(len(grids))]) for key, of in gains.items()}


def compute_random_gains(grids: Sequence[FullGrid], count: int) -> NDArray[np.float64]:
    """Expected test gain of random points without repetition, over all subsets of that size.

    The point of rank ``j`` by selection, from 0 on, is the best of a subset when all others of it
    are among the ``n - 1 - j`` below: ``C(n - 1 - j, k - 1) / C(n, k)``.
    """
    expected = []
    for grid in grids:
        gain_name = get_selection_gain(grid.campaign)
        ranked = rank_points(grid.cells.values(), gain_name, grid.campaign.tune)
        n = len(ranked)
        k = min(count, n)
        chances = [math.comb(n - 1 - j, k - 1) / math.comb(n, k) for j in range(n)]
        gains = [grid.compute_kept_gain([(c.temperature, c.alpha)]) for c in ranked]
        expected.append(math.fsum(c * gain for c, gain in zip(chances, gains, strict=True)))
    return np.array(expected)


def _check_alike(grids: Sequence[FullGrid]) -> None:
    kinds = {
        (list_grid_points(g.campaign), g.campaign.tune.t2_scale, g.campaign.select_on): (
            g.campaign.name
        )
        for g in grids
    }
    if len(kinds) > 1:
        raise KdoptError(
            f"{' and '.join(kinds.values())} differ in tune.temperatures, tune.alphas, "
            "tune.t2_scale or select_on; searches are replayed on campaigns that have them alike"
        )


def _estimate_fraction(
    pairs: pd.DataFrame, better: NDArray[np.float64], possible: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Percent of the possible that is reached, with its interval."""
    if possible.mean() <= 0:
        return math.nan, math.nan, math.nan
    return estimate(lambda w: 100 * (average(w, better) / average(w, possible)), pairs)[:3]
