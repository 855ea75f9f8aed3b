"""Whether a search can tell which pairs have little left to gain, for ``scripts/wide_prior.py``."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.search.full_grids import FullGrid
from kdopt.search.posterior import Posterior, unsquash_gain
from kdopt.search.prior import PRIOR_FEATURES, PairResults, Point, PointResult
from kdopt.search.replay import fit_surrogate
from scripts.search_judge import format_over_partitions, format_rows, format_share
from scripts.wide_bench import DATA, KIND, PARTITION, Bench

FIRST, BUDGET = 2, 8
"""Trials of a pair, before a search may stop and at most."""

TELLABLE_PP = 2.4
"""What 720 images of validation can tell: two standard errors of the difference of two models that
disagree on a tenth of them, ``2 sqrt(0.1 / 720)``."""

DRAWS = 400
DECIMALS = 6
"""Of what is drawn: the last bits differ between machines."""

UNKNOWN = (PARTITION, KIND, DATA)
AFTER = (1, 2, 4, 6)
"""Numbers of trials after which it is asked what is left."""

OF_REST = f"""
What a search could stop by, with both priors, vanilla first, in rounds. *Left* is what the whole
grid adds to what is kept, in pp. The pairs are cut in three by the chance that the search gives an
untried cell of adding 1 pp on validation; of each third that chance, and in how many pairs there is
one, in percent. Last, the quantity whose rank correlation with what is left on test is greatest in
size. Pairs of earlier rounds have had all {BUDGET} trials.
"""
OF_RULES = f"""
Rules that stop a search after {FIRST} trials at least and {BUDGET} at most, beside a budget for all
of the same mean cost: percent of the grid, and the difference in pp with partitions as units. *What
validation can tell* is a lead of {TELLABLE_PP} pp over the control: two standard errors of a
difference, of 720 images, where two models disagree on a tenth. Pairs of earlier rounds have had
all {BUDGET} trials, whatever the rule.
"""
HEADS_OF_REST = (
    "not known", "trials", "left, validation", "left, test", "lowest third", "middle third",
    "highest third", "correlation",
)  # fmt: skip
HEADS_OF_RULES = (
    "not known", "stop where", "stopped", "trials", "percent", "a budget for all", "difference, pp",
)  # fmt: skip


class Step(NamedTuple):
    """What is known after so many trials of a pair, gains in pp on validation.

    Attributes:
        best: The greatest gain so far, of the untouched student and the control, too.
        control: The greater gain of these two.
        expected: The improvement over ``best`` that the search expects of its next trial.
        possible: Draws of the greatest gain among the cells that are left, (draws,).
    """

    best: float
    control: float
    expected: float
    possible: NDArray[np.float64]

    def rate_improvement(self, over: float) -> float:
        """How probable it is that a cell is left that gains more than so many pp."""
        return float((self.possible > over).mean())


class Searched(NamedTuple):
    """A pair that was searched until its budget was spent.

    Attributes:
        grid: Its full grid.
        tried: The points, in order.
        steps: After one trial, after two, and so on.
    """

    grid: FullGrid
    tried: Sequence[Point]
    steps: Sequence[Step]

    def compute_gain(self, trials: int) -> float:
        """Test gain of what is kept after so many trials, pp."""
        return self.grid.compute_kept_gain(self.tried[:trials])

    def list_known(self, trials: int) -> dict[str, float]:
        """What is known after so many trials."""
        step = self.steps[trials - 1]
        gains = [self.grid.known.results[point].gain for point in self.tried[:trials]]
        features = zip(PRIOR_FEATURES, self.grid.known.features, strict=True)
        return {
            "the expected improvement": step.expected,
            "the chance of 1 pp more": step.rate_improvement(step.best + 1),
            "the best gain": step.best,
            "the control's gain": step.control,
            "the least gain tried": min(gains),
            "the spread of gains tried": float(np.std(gains)),
            **{name.replace("_", " "): value for name, value in features},
        }


def format_stops(bench: Bench) -> str:
    """How well a search can tell when to stop."""
    left: list[Sequence[str]] = [HEADS_OF_REST, ["---", *["--:"] * 6, "---"]]
    rated: list[Sequence[str]] = [HEADS_OF_RULES, ["---", "---", *["--:"] * 5]]
    for unknown in UNKNOWN:
        pairs = follow_searches(bench, unknown)
        left += [[unknown, str(count), *describe_rest(pairs, count)] for count in AFTER]
        rated += [[unknown, *row] for row in rate_rules(pairs, bench)]
    rest, rules = format_rows(left), format_rows(rated)
    return f"\n## Stopping a search\n{OF_REST}\n{rest}{OF_RULES}\n{rules}"


def follow_searches(bench: Bench, unknown: str) -> list[Searched]:
    """The searches of all pairs with both priors, in rounds, vanilla first."""
    found: dict[int, Searched] = {}
    for group, known in bench.leave_out("both", unknown):
        surrogate = fit_surrogate(known)
        done: dict[tuple[str, str], list[PairResults]] = defaultdict(list)
        for number in sorted({grid.round for grid in group}):
            finished = []
            for grid in group:
                if grid.round == number:
                    posterior = surrogate.compute_posterior(grid.known, done[grid.place])
                    tried, steps = _follow_search(posterior, grid)
                    found[id(grid)] = Searched(grid, list(tried), steps)
                    finished.append((grid.place, replace(grid.known, results=tried)))
            for place, results in finished:
                done[place].append(results)
    return [found[id(grid)] for grid in bench.line]


def _follow_search(
    posterior: Posterior, grid: FullGrid
) -> tuple[dict[Point, PointResult], list[Step]]:
    vanilla = grid.campaign.tune.vanilla_point
    tried = {vanilla: grid.known.results[vanilla]}
    control = max(0.0, grid.find_fallback()[1])
    steps: list[Step] = []
    while True:
        now = posterior.condition_on(tried)
        left = [i for i, point in enumerate(now.points) if point not in tried]
        gains = [result.gain for result in tried.values()]
        best = max(control, *gains)
        expected = float(now.compute_expected_improvement(best)[left].max())
        steps.append(Step(best, control, expected, draw_best(now, left)))
        # As a campaign's search: it does not know of the control.
        point = now.choose_next_point(tried, max(gains))
        if len(tried) == BUDGET or point is None:
            return tried, steps
        tried[point] = grid.known.results[point]


def draw_best(posterior: Posterior, left: Sequence[int]) -> NDArray[np.float64]:
    """Draws of the greatest gain among some points, pp, (draws,)."""
    n = len(posterior.points)
    covariance = posterior.covariance[:n, :n][np.ix_(left, left)]
    variances, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    noise = np.random.default_rng(0).standard_normal((len(left), DRAWS))
    drawn = posterior.mean[list(left), None] + directions @ (
        np.sqrt(np.maximum(variances, 0))[:, None] * noise
    )
    return unsquash_gain(drawn.max(axis=0)).round(DECIMALS)


def describe_rest(pairs: Sequence[Searched], trials: int) -> list[str]:
    """What is left after so many trials, and how well it is foretold.

    Returns:
        The means in pp on validation and on test; by thirds of the pairs, the chance in percent
        that the search gives an untried cell of adding 1 pp, and in how many there is one; the
        greatest rank correlation of what is left on test with anything known.
    """
    grids = [pair.grid for pair in pairs]
    steps = [pair.steps[trials - 1] for pair in pairs]
    most = np.array([max(r.gain for r in grid.known.results.values()) for grid in grids])
    rest = np.maximum(0, most - [step.best for step in steps])
    whole = np.array([grid.compute_kept_gain(grid.cells) for grid in grids])
    on_test = whole - [pair.compute_gain(trials) for pair in pairs]
    chance = np.array([step.rate_improvement(step.best + 1) for step in steps])
    thirds = [
        f"{100 * chance[some].mean():.0f}, {100 * (rest[some] > 1).mean():.0f}"
        for some in np.array_split(np.argsort(chance, kind="stable"), 3)
    ]
    found = {
        name: float(spearmanr(values, on_test, nan_policy="omit").statistic)
        for name, values in pd.DataFrame([pair.list_known(trials) for pair in pairs]).items()
        if values.nunique() > 1
    }
    name = max(found, key=lambda n: abs(found[n]))
    return [f"{rest.mean():.2f}", f"{on_test.mean():.2f}", *thirds, f"{found[name]:.2f} ({name})"]


def _adds_less(bound: float, step: Step) -> bool:
    return step.expected < bound


def _adds_hardly(chance: float, step: Step) -> bool:
    return step.rate_improvement(step.best + 1) < chance


def _cannot_tell(chance: float, step: Step) -> bool:
    return step.rate_improvement(step.control + TELLABLE_PP) < chance


Rule = Callable[[Step], bool]
"""Whether a search stops."""

CHANCES = {f"{100 * chance:.0f} %": chance for chance in (0.1, 0.3, 0.5)}
RULES: Mapping[str, Rule] = {
    **{
        f"the next trial is expected to add less than {bound} pp": partial(_adds_less, bound)
        for bound in (0.1, 0.2, 0.3, 0.5)
    },
    **{
        f"1 pp more is left with a chance below {name}": partial(_adds_hardly, chance)
        for name, chance in CHANCES.items()
    },
    **{
        f"what validation can tell is left with a chance below {name}": partial(
            _cannot_tell, chance
        )
        for name, chance in CHANCES.items()
    },
}


def count_trials(pair: Searched, rule: Rule) -> int:
    """How many trials a pair takes where a rule may stop it."""
    return next((k for k in range(FIRST, BUDGET) if rule(pair.steps[k - 1])), BUDGET)


def rate_rules(pairs: Sequence[Searched], bench: Bench) -> Iterator[list[str]]:
    """Each rule beside a budget for all of the same cost."""
    kept = np.array([[pair.compute_gain(k) for k in range(1, BUDGET + 1)] for pair in pairs])
    for name, rule in RULES.items():
        spent = np.array([count_trials(pair, rule) for pair in pairs])
        gains = kept[np.arange(len(pairs)), spent - 1]
        # Between two whole budgets: so many of the pairs, whichever, get one trial more.
        mean = float(spent.mean())
        low = min(int(mean), BUDGET - 1)
        alike = kept[:, low - 1] + (mean - low) * (kept[:, low] - kept[:, low - 1])
        more = format_over_partitions([pair.grid for pair in pairs], gains - alike)
        shares = (format_share(bench.judge.measure_share(each)) for each in (gains, alike))
        yield [name, f"{100 * (spent < BUDGET).mean():.0f} %", f"{mean:.1f}", *shares, more]
