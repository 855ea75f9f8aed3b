"""What each change of the learnt search does by itself, replayed on stored full grids.

    python scripts/levers.py                        # all of them, on the grids that come with kdopt
    python scripts/levers.py control-point shrink   # these
    python scripts/levers.py --store one/kdopt.db --store other/kdopt.db
    python scripts/levers.py > docs/few-trials/levers.md

Nothing is trained. T relative to the teacher's logits needs the scale of these
logits: ``scripts/logit_scales.json`` has it of the grids that come with kdopt, by
``scripts/logit_scales.py``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.advice.training_set import (
    COMES_WITH,
    TrainingCampaign,
    build_training_set,
    load_shipped_lessons,
)
from kdopt.features.definitions import LABEL_FEATURES, MODEL_FEATURES
from kdopt.search.full_grids import UNKNOWN, FullGrid
from kdopt.search.posterior import LOSS_NATS, Posterior, scale_results, squash_gain, unsquash_gain
from kdopt.search.prior import PairResults, Point, PointResult, Prior, list_grid_points
from kdopt.search.replay import (
    build_portfolio,
    fit_surrogate,
    replay_posteriors,
    replay_warm_search,
)
from kdopt.search.surrogate import Surrogate
from scripts.few_trials import list_grids, read_stores
from scripts.lever_tables import print_curves, print_lines
from scripts.search_judge import COUNTS, Gains, Judge, Search, name_pair, print_head
from scripts.statistics_table import print_statistics
from scripts.teacher_tables import print_teacher

LEVERS = {
    "T-over-deviation": "T over the standard deviation of the teacher's logits on the student's "
    "images",
    "T-over-margin": "T over the mean margin of its two greatest logits",
    "deviation-feature": "that standard deviation as one more feature",
    "control-feature": "the control's gain as one more feature",
    "all-features": "all features of labels and models",
    "control-point": "the control as one more measured point",
    "above-control": "improvement counts from the better of untouched and control",
    "half-by-kind": "the mean surface half way to that of the pair's own kind of partition",
    "by-kind": "the mean surface of the pair's own kind of partition",
    "list-then-gp": "the first two from the best fixed list, the others by a Gaussian process",
    "list-of-like-then-gp": "the same, with the list that was best for the 40 pairs most alike",
}
"""The changes that are measured, one at a time, and what they are."""

HEAD = """# Few trials: what was tried

Changes of [the learnt search](../few-trials.md), each by itself, replayed without rounds on the
stored grids; `python scripts/levers.py` makes this page again from what comes with kdopt.
"""
OF_CHANGES = """
## Each change by itself

*As it is* is percent of what the grid improves. The others are differences to it of mean test gains
in pp, with their 95 % intervals over participants; bold where these leave out 0.
"""
OF_STOPPING = """
## Stopping early

A search that stops where the improvement that it expects falls below a bound, beside fixed budgets.
"""
OF_BOUNDS = """
## What no choice of cells can pass

Choices that know what no search knows. One cell is enough for each of them but the lists.
"""

RETRAINED: Mapping[str, Callable[[Judge], None]] = {
    "line": lambda _: print_lines(),
    "teacher": lambda _: print_teacher(),
    "statistics": lambda _: print_statistics(),
    "curves": print_curves,
}
"""Levers of which trials were trained again, by ``scripts/lever_trials.py``, those of the grids
that come with kdopt, and of two campaigns with shared initial weights, or anew, by
``scripts/lever_statistics.py``; what came of it is beside the scripts."""

OF_IN_CONTEXT = """
## A pretrained in-context model

Not measured: its weights could not be had. pip resolves `pfns4bo` 0.1.5 beside torch 2.14, but with
scikit-learn 1.1, where kdopt wants 1.6. The package has no weights; its first use downloads three
pickled models from GitHub. `alphapfn` 0.0.2 and `tabpfn` 9.2 download theirs, too, and `pfns` 0.4.2
has none. The machine that made this page reaches none of these places, the copy of PFNs4BO's
repository that it could read lacks the three files, and kdopt loads no pickles.
"""

UNTAUGHT = (1.0, 0.0)
"""The control as a point: at alpha 0 the teacher has no say, so T does not matter."""

LISTED = 2
"""Trials at a fixed list before the Gaussian process takes over."""

ALIKE = 40
"""Pairs, of those most alike by features, whose best list is tried."""

LENGTHS = (0.15, 0.3, 0.6, 1.2)
"""Of the Gaussian process, over the range of log T and of alpha."""

NOISE = 0.05
"""Variance of a trial's luck beside that of the process."""

SCALES = Path(__file__).with_name("logit_scales.json")


def main() -> None:
    choices = [*LEVERS, "stop", "bound", *RETRAINED, "in-context"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("levers", nargs="*", metavar="LEVER", help=f"of {', '.join(choices)}; all")
    parser.add_argument("--store", action="append", default=[], help="grids of a store; repeat it")
    parser.add_argument(
        "--unknown", nargs="+", default=["data set", "partition"], choices=list(UNKNOWN)
    )
    args = parser.parse_args()
    chosen = args.levers or choices
    if wrong := [name for name in chosen if name not in choices]:
        parser.error(f"no lever '{wrong[0]}'; there are {', '.join(choices)}")
    sources = read_stores(args.store)
    judge = Judge(list_grids(sources))
    print(HEAD)
    if some := [name for name in LEVERS if name in chosen]:
        levers = list_levers(sources)
        print(OF_CHANGES + "\n" + "\n".join(f"- *{name}*: {LEVERS[name]}" for name in some) + "\n")
        print_head(["change", "not known", "pairs of"], [f"{count} trials" for count in COUNTS])
        for unknown in args.unknown:
            before = judge.replay(search_plainly, unknown)
            judge.print_share("as it is", unknown, before)
            for name in some:
                judge.print_difference(name, unknown, judge.replay(levers[name], unknown), before)
    if "stop" in chosen:
        print(OF_STOPPING)
        print_head(["rule", "not known", "pairs of"], ["trials", "percent of the grid"])
        for unknown in args.unknown:
            judge.print_stopping(unknown)
    if "bound" in chosen:
        print(OF_BOUNDS)
        print_head(["choice", "pairs of"], ["gain, pp", "percent of the grid"])
        judge.print_bounds()
    for name in RETRAINED:
        if name in chosen and not args.store:
            RETRAINED[name](judge)
    if "in-context" in chosen:
        print(OF_IN_CONTEXT)


def search_plainly(known: Sequence[FullGrid], group: Sequence[FullGrid]) -> Gains:
    """The learnt search as it is, without rounds."""
    return replay_warm_search(fit_surrogate(known), group, COUNTS)


def search_with_features(describe: Callable[[FullGrid], Sequence[float]]) -> Search:
    """More numbers tell how alike two pairs are."""

    def describe_more(grids: Sequence[FullGrid]) -> list[FullGrid]:
        more = [(*grid.known.features, *describe(grid)) for grid in grids]
        return [
            grid._replace(known=replace(grid.known, features=features))
            for grid, features in zip(grids, more, strict=True)
        ]

    return lambda known, group: search_plainly(describe_more(known), describe_more(group))


def search_above_control(known: Sequence[FullGrid], group: Sequence[FullGrid]) -> Gains:
    """Improvement counts from the better of untouched and control, not from the untouched."""
    surrogate = fit_surrogate(known)
    return replay_posteriors(
        lambda grid: surrogate.compute_posterior(grid.known),
        group,
        COUNTS,
        lambda grid: grid.find_fallback()[1],
    )


def search_from_control(known: Sequence[FullGrid], group: Sequence[FullGrid]) -> Gains:
    """The control counts as one more measured point, of the prior's pairs and of the new one."""

    def add_control(pair: PairResults, gain: float) -> PairResults:
        # Its other numbers do not ship: those of a student whose classes all move by the gain.
        result = PointResult(gain, max(0.0, gain), max(0.0, -gain), 0.0)
        return replace(pair, results={**pair.results, UNTAUGHT: result})

    pairs = tuple(add_control(g.known, g.control.validation) for g in known)
    points = (*list_grid_points(known[0].campaign), UNTAUGHT)
    surrogate = Surrogate(Prior("", known[0].campaign.tune.t2_scale, points, pairs))

    def predict(grid: FullGrid) -> Posterior:
        result = add_control(grid.known, grid.control.validation).results[UNTAUGHT]
        posterior = surrogate.compute_posterior(grid.known).condition_on({UNTAUGHT: result})
        low, high = min(known[0].cells), max(known[0].cells)
        return posterior.restrict_to((low[0], min(a for _, a in known[0].cells)), high)

    return replay_posteriors(predict, group, COUNTS)


def search_by_kind(known: Sequence[FullGrid], group: Sequence[FullGrid], share: float) -> Gains:
    """The mean surface is moved by a share towards that of the pair's own kind of partition."""
    points = list_grid_points(known[0].campaign)
    results = np.array([scale_results(g.known.results[p] for p in points).T for g in known])
    kinds = np.array([g.campaign.get_family(g.pair.partition) for g in known])
    # (outputs, points) of each kind
    moves = {
        kind: share * (results[kinds == kind].mean(axis=0) - results.mean(axis=0))
        for kind in sorted(set(kinds.tolist()))
    }
    pairs = []
    for grid, result, kind in zip(known, results, kinds, strict=True):
        moved = unscale_results(result - moves[kind])
        pairs.append(replace(grid.known, results=dict(zip(points, moved, strict=True))))
    surrogate = Surrogate(Prior("", known[0].campaign.tune.t2_scale, points, tuple(pairs)))

    def predict(grid: FullGrid) -> Posterior:
        posterior = surrogate.compute_posterior(grid.known)
        move = moves.get(grid.campaign.get_family(grid.pair.partition))
        return posterior if move is None else replace(posterior, mean=posterior.mean + move.ravel())

    return replay_posteriors(predict, group, COUNTS)


def search_by_list(known: Sequence[FullGrid], group: Sequence[FullGrid], alike: int) -> Gains:
    """The best fixed list of the ``alike`` nearest pairs (0: of all), then a Gaussian process."""
    features = np.array([g.known.features for g in known])
    spread = features.std(axis=0) + 1e-9
    paths = []
    for grid in group:
        distance = (((features - np.array(grid.known.features)) / spread) ** 2).sum(axis=1)
        nearest = np.argsort(distance, kind="stable")[: alike or len(known)]
        listed = build_portfolio([known[i] for i in sorted(nearest)], LISTED)
        paths.append(search_by_process(grid, listed, max(COUNTS)))
    return {
        count: [g.compute_kept_gain(p[:count]) for g, p in zip(group, paths, strict=True)]
        for count in COUNTS
    }


def search_by_process(grid: FullGrid, first: Sequence[Point], count: int) -> list[Point]:
    """These points, then each time the one of greatest expected improvement.

    The process knows the pair's own trials only. Its kernel is Matern 5/2 (Rasmussen and Williams,
    2006, eq. 4.17); its length is the likeliest of :data:`LENGTHS`.
    """
    points = list_grid_points(grid.campaign)
    axes = np.array([(math.log(t), a) for t, a in points])
    axes = (axes - axes.min(axis=0)) / np.ptp(axes, axis=0)
    distance = np.linalg.norm(axes[:, None] - axes, axis=2)
    scaled = [math.sqrt(5) * distance / length for length in LENGTHS]
    kernels = [(1 + d + d**2 / 3) * np.exp(-d) for d in scaled]
    tried = [points.index(point) for point in first]
    while len(tried) < count:
        gains = squash_gain([grid.known.results[points[i]].gain for i in tried])
        spread = max(float(gains.std()), 1.0)
        ahead = (gains - gains.mean()) / spread
        fits = []
        for kernel in kernels:
            among = kernel[np.ix_(tried, tried)] + NOISE * np.eye(len(tried))
            fits.append(
                (ahead @ np.linalg.solve(among, ahead) + np.linalg.slogdet(among)[1], among)
            )
        best = int(np.argmin(np.round([misfit for misfit, _ in fits], 6)))
        weights = np.linalg.solve(fits[best][1], kernels[best][tried]).T
        mean = gains.mean() + spread * weights @ ahead
        variance = 1 + NOISE - np.einsum("pt,tp->p", weights, kernels[best][tried])
        found = Posterior(points, np.tile(mean, 4), np.diag(np.tile(spread**2 * variance, 4)))
        point = found.choose_next_point([points[i] for i in tried], float(gains.max()))
        if point is None:
            break
        tried.append(points.index(point))
    return [points[i] for i in tried]


def search_at_relative_temperature(scales: Mapping[str, Sequence[float]], column: int) -> Search:
    """T counts in units of the teacher's logits on the student's images.

    Args:
        scales: By pair.
        column: Of a pair's scales: 0 is their standard deviation, 1 the mean margin of the two
            greatest.
    """

    def search(known: Sequence[FullGrid], group: Sequence[FullGrid]) -> Gains:
        mean = math.exp(np.mean([math.log(scales[name_pair(g)][column]) for g in known]))
        points = list_grid_points(known[0].campaign)
        pairs = []
        for grid in known:
            mix = make_shift(points, scales[name_pair(grid)][column] / mean)
            moved = mix @ np.array([grid.known.results[p] for p in points])
            results = {p: PointResult(*r) for p, r in zip(points, moved, strict=True)}
            pairs.append(replace(grid.known, results=results))
        surrogate = Surrogate(Prior("", known[0].campaign.tune.t2_scale, points, tuple(pairs)))

        def predict(grid: FullGrid) -> Posterior:
            posterior = surrogate.compute_posterior(grid.known)
            back = np.kron(np.eye(4), make_shift(points, mean / scales[name_pair(grid)][column]))
            spread = back @ posterior.covariance @ back.T + 1e-3 * np.eye(len(back))
            return Posterior(points, back @ posterior.mean, spread)

        return replay_posteriors(predict, group, COUNTS)

    return search


def make_shift(points: Sequence[Point], factor: float) -> NDArray[np.float64]:
    """Weights that read each point at ``factor`` times its temperature, (points, points).

    Linear in log T, and flat beyond the ends of the grid.
    """
    index = {point: i for i, point in enumerate(points)}
    temperatures = sorted({t for t, _ in points})
    logs = np.log(temperatures)
    weights = np.zeros((len(points), len(points)))
    for i, (temperature, alpha) in enumerate(points):
        wanted = float(np.clip(math.log(temperature * factor), logs[0], logs[-1]))
        j = min(int(np.searchsorted(logs, wanted, side="right")) - 1, len(logs) - 2)
        above = (wanted - logs[j]) / (logs[j + 1] - logs[j])
        weights[i, index[temperatures[j], alpha]] += 1 - above
        weights[i, index[temperatures[j + 1], alpha]] += above
    return weights


def unscale_results(scaled: NDArray[np.float64]) -> list[PointResult]:
    """What :func:`kdopt.search.posterior.scale_results` takes to ``scaled``, (4, points)."""
    gain, learning, forgetting, loss = scaled
    loss = np.sign(loss) * LOSS_NATS * np.expm1(np.abs(loss))
    columns = unsquash_gain(gain), np.expm1(learning), np.expm1(forgetting), loss
    return [PointResult(*map(float, result)) for result in zip(*columns, strict=True)]


def read_features(sources: Sequence[TrainingCampaign]) -> dict[str, list[float]]:
    """The features of labels and models of every pair; of the pairs that ship without sources."""
    lessons = build_training_set(sources, "own") if sources else load_shipped_lessons()["own"]
    names = [feature.name for feature in (*LABEL_FEATURES, *MODEL_FEATURES)]
    return {
        f"{line['campaign'].removesuffix(COMES_WITH)}/{line['partition']}"
        f"/t{line['teacher']:02d}-s{line['student']:02d}": [line[name] for name in names]
        for line in lessons.pairs.to_dict("records")
    }


def list_levers(sources: Sequence[TrainingCampaign]) -> dict[str, Search]:
    """Every change by name, in the order of :data:`LEVERS`."""
    features, scales = read_features(sources), json.loads(SCALES.read_bytes())
    searches: list[Search] = [
        search_at_relative_temperature(scales, 0),
        search_at_relative_temperature(scales, 1),
        search_with_features(lambda g: [math.log(scales[name_pair(g)][0])]),
        search_with_features(lambda g: [float(squash_gain(g.control.validation))]),
        search_with_features(lambda g: features[name_pair(g)]),
        search_from_control,
        search_above_control,
        partial(search_by_kind, share=0.5),
        partial(search_by_kind, share=1.0),
        partial(search_by_list, alike=0),
        partial(search_by_list, alike=ALIKE),
    ]
    return dict(zip(LEVERS, searches, strict=True))


if __name__ == "__main__":
    main()
