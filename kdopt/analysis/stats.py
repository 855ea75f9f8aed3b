"""Statistics as pure functions: means, spreads, intervals, rank correlations.

Every interval that is shown comes from here, so that its kind is decided in one place.

Pairs share students and teachers, so the independent units are the participants.
:func:`estimate` leaves out one participant at a time with all of its pairs, within its partition,
and takes what the result moves by as its error (a jackknife). A pair belongs to two participants,
so this counts twice what is the pair's own. That surplus is estimated from what remains of the
pairs after one effect per participant, and taken off, but never below the error of independent
pairs. The quantile is Student's t with Satterthwaite's degrees of freedom.
``scripts/coverage_of_intervals.py`` shows how often such intervals hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betainc, betaincinv, stdtr, stdtrit

from kdopt.analysis.strata import Stratum, share_out, split_strata, sum_squares

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Statistic = Callable[[Floats], Floats]
"""From weights (replicates, lines) to one value per replicate."""

TIE_DECIMALS = 9
"""Gains are differences of floats: equal gains may differ in their last bits, and the mean of
replicates surely does. Round before you compare, or such noise decides instead of the tie rule."""

LEAST_UNITS = 5
"""Fewer independent units have no interval: it would promise more than they can tell."""

TAIL = 0.025
"""How often the truth may lie beyond either end of a 95 % interval."""

GREATEST_CORRELATION = 0.99
"""Fisher's z of a perfect correlation is infinite; a few pairs reach one by chance."""


TINY = 1e-9


class Estimate(NamedTuple):
    """A number with its 95 % interval.

    Attributes:
        mean: The number; NaN without values.
        low: Lower end of the interval; NaN for fewer than :data:`LEAST_UNITS` independent units.
        high: Upper end; NaN for fewer than that.
        n: Number of values.
        error: Standard error on the scale; of a share, the number of independent values that it
            is worth.
        freedom: Degrees of freedom of the error in tests; an interval may have more.
        scale: ``plain``, ``fisher`` (a correlation) or ``share`` (percent, binomial).
    """

    mean: float
    low: float
    high: float
    n: int
    error: float = math.nan
    freedom: float = math.nan
    scale: Literal["plain", "fisher", "share"] = "plain"

    def name_columns(self, mean: str, low: str, high: str) -> dict[str, float]:
        """The three numbers under the columns of a table."""
        return {mean: self.mean, low: self.low, high: self.high}

    def test_above(self, bound: float) -> float:
        """How likely so great a number is if the truth is the bound; NaN without an interval.

        A one-sided p value: a small one says that the truth lies above the bound.
        """
        mean = self.mean
        if math.isnan(self.low):
            return math.nan
        if math.isinf(bound):
            return float(bound > 0)
        if self.scale == "share":
            hits, share = mean / 100 * self.error, min(max(bound / 100, 0.0), 1.0)
            return float(betainc(hits, self.error - hits + 1, share)) if hits else 1.0
        if self.scale == "fisher":
            mean, bound = map(float, transform_fisher(np.array([mean, bound])))
        if self.error == 0:
            return float(mean <= bound)
        return float(stdtr(self.freedom, (bound - mean) / self.error))

    def test_below(self, bound: float) -> float:
        """The same for so small a number: a small p value says that the truth lies below."""
        whole = 100 if self.scale == "share" else 0
        return self._replace(mean=whole - self.mean).test_above(whole - bound)


def estimate(statistic: Statistic, table: pd.DataFrame, least_units: int = LEAST_UNITS) -> Estimate:
    """A number made from the lines of a table, with the error that its participants give it.

    Args:
        statistic: From weights to the number. All lines weigh 1 at first; where a participant is
            left out, its lines weigh 0 and the rest of its partition more, so that the partition
            keeps its weight.
        table: Who taught whom: columns ``partition``, ``teacher`` and ``student``. Without a
            ``teacher``, students are the units.
        least_units: Fewer participants, or fewer couples of them, have no interval.
    """
    n = len(table)
    strata = split_strata(table) if n else []
    if sum(s.units for s in strata) < max(least_units, 2):
        value = float(statistic(np.ones((1, n)))[0]) if n else math.nan
        return Estimate(value, math.nan, math.nan, n)
    value, error, freedom, far = (float(found[0]) for found in _resample_units(statistic, strata))
    reach = error * float(stdtrit(freedom, 1 - TAIL)) if error else 0.0
    return Estimate(value, value - reach, value + reach, n, error, far)


def jackknife(statistic: Statistic, table: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Values, standard errors and degrees of freedom of many data sets at once.

    Args:
        statistic: As in :func:`estimate`, with a column per data set.
        table: Who taught whom, the same in all of them.
    """
    return _resample_units(statistic, split_strata(table))[:3]


def estimate_mean(
    table: pd.DataFrame, values: pd.Series[float], least_units: int = LEAST_UNITS
) -> Estimate:
    """The mean of one value per line, see :func:`estimate`; unknown values are left out."""
    known = values.notna().to_numpy()
    numbers = values.to_numpy()[known].astype(np.float64)
    found = estimate(_Mean(numbers), table[known], least_units)
    # fsum rounds once: all tables that give this mean give the same bits.
    return found._replace(mean=compute_mean(numbers))


def estimate_independent(values: Iterable[float]) -> Estimate:
    """The mean of values that are units themselves, such as partitions, runs or classes."""
    known = [value for value in values if not math.isnan(value)]
    mean, n = compute_mean(known), len(known)
    if n < LEAST_UNITS:
        return Estimate(mean, math.nan, math.nan, n)
    error = compute_sd(known) / math.sqrt(n)
    reach = error * float(stdtrit(n - 1, 1 - TAIL))
    return Estimate(mean, mean - reach, mean + reach, n, error, n - 1)


def estimate_share(
    table: pd.DataFrame, holds: pd.Series[bool], least_units: int = LEAST_UNITS
) -> Estimate:
    """The share (percent) of lines for which something holds, with its exact binomial interval.

    Pairs that go together count for fewer: as many as independent ones would need to be for the
    same error (Korn and Graubard 1998). Where all lines agree there is no error to go by, and
    the participants are counted.
    """
    found = estimate_mean(table, holds.astype(float), least_units)
    share, n = found.mean, found.n
    if math.isnan(found.low):
        return Estimate(100 * share, math.nan, math.nan, n, scale="share")
    if 0 < share < 1:
        wider, narrow = stdtrit([found.freedom, max(n - 1, 1)], 1 - TAIL)
        count = min(n, share * (1 - share) / (found.error * float(wider / narrow)) ** 2)
    else:
        count = min(n, sum(s.units for s in split_strata(table)))
    hits = share * count
    low = float(betaincinv(hits, count - hits + 1, TAIL)) if share > 0 else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - TAIL)) if share < 1 else 1.0
    return Estimate(100 * share, 100 * low, 100 * high, n, count, found.freedom, "share")


def estimate_correlation(
    table: pd.DataFrame, first: pd.Series[float], second: pd.Series[float]
) -> Estimate:
    """Spearman's rank correlation within partitions, their mean; the interval is on Fisher's z.

    Over all partitions together, a correlation may only say that the partitions differ. Those in
    which either number is constant have none.
    """
    both = table.assign(first=first, second=second).dropna(subset=["first", "second"])
    numbers = ["first", "second"]
    varied = both.groupby("partition")[numbers].transform("nunique").min(axis=1) > 1
    both = both[varied.astype(bool)]
    ranks = both.groupby("partition")[numbers].rank().to_numpy(dtype=np.float64)
    places = pd.factorize(both["partition"])[0]
    found = estimate(
        lambda weights: correlate_within(weights, ranks[:, :1], ranks[:, 1:], places)[:, 0],
        both,
    )
    mean, low, high = (float(np.tanh(end)) for end in found[:3])
    return found._replace(mean=mean, low=low, high=high, scale="fisher")


def correlate_within(
    weights: Floats, first: Floats, second: Floats, partitions: npt.NDArray[np.intp]
) -> Floats:
    """Fisher's z of the mean over partitions of the correlation within each.

    Args:
        weights: (replicates, lines).
        first: (lines, data sets); ranks within partitions, for Spearman's correlation.
        second: The same of the other number.
        partitions: (lines,), numbered from 0.

    Returns:
        (replicates, data sets).
    """
    groups = [partitions == number for number in range(partitions.max(initial=-1) + 1)]
    found = [_correlate_weighted(weights[:, own], first[own], second[own]) for own in groups]
    return transform_fisher(np.mean(found, axis=0))


def average(weights: Floats, values: Floats) -> Floats:
    """Means of values (lines, ...) under each line of weights (replicates, lines)."""
    means: Floats = share_out(weights) @ values
    return means


@dataclass(frozen=True, eq=False)
class _Mean:
    """The statistic that is the mean of some values, (lines,)."""

    values: Floats

    def __call__(self, weights: Floats) -> Floats:
        return average(weights, self.values)


def _resample_units(
    statistic: Statistic, strata: Sequence[Stratum]
) -> tuple[Floats, Floats, Floats, Floats]:
    value = statistic(np.ones((1, len(strata[0].lines)))).reshape(1, -1)
    parts = [_measure_variances(statistic, value, stratum) for stratum in strata]
    twice, of_twice, surplus, of_surplus, alone, of_alone = np.sum(parts, axis=0)
    variance = twice - surplus
    freedom = _count_freedom(variance, of_twice + of_surplus)
    # Effects of participants cannot make the error smaller than that of independent couples. Luck
    # chose these where it seems so, so not all of their degrees of freedom count: for an interval
    # two thirds, but far out, where corrected tests look, none beyond those of the participants.
    both = _count_freedom(alone, of_alone), _count_freedom(twice, of_twice)
    smaller = variance < alone
    error = np.sqrt(np.where(smaller, alone, variance))
    far = np.maximum(np.where(smaller, np.minimum(*both), freedom), 1.0)
    freedom = np.maximum(np.where(smaller, (2 * both[0] + both[1]) / 3, freedom), 1.0)
    return value[0], error, freedom, far


def _count_freedom(variances: Floats, parts: Floats) -> Floats:
    """Satterthwaite's degrees of freedom; ``parts`` are the squares over their own degrees."""
    found: Floats = np.ones_like(parts)
    np.divide(variances**2, parts, out=found, where=parts > 0)
    return found


def _measure_variances(statistic: Statistic, value: Floats, stratum: Stratum) -> Floats:
    """What one partition adds to the squared error of each value.

    Returns:
        (6, values): the variance that counts twice what is the pairs' own, its square over its
        degrees of freedom, the same of the surplus in it, and of the variance of couples alone.
    """
    n_people, n_couples, left = len(stratum.participants), len(stratum.couples), stratum.left
    means = stratum.shares @ statistic.values if isinstance(statistic, _Mean) else None
    moved = (statistic(stratum.weights) if means is None else means).reshape(len(left), -1) - value
    if not np.isfinite(moved).all():
        return np.full((6, moved.shape[1]), np.nan)
    per_person, per_couple = moved[:n_people], moved[n_people:] * left[n_people:]
    twice = stratum.scale * sum_squares(per_person - per_person.mean(axis=0))

    belongs = stratum.belongs
    effects, _, rank, _ = np.linalg.lstsq(belongs.T, per_couple)
    spare = max(n_couples - int(rank), 1)
    surplus = (stratum.counted - n_couples) * sum_squares(per_couple - belongs.T @ effects) / spare

    alone = sum_squares(per_couple) * n_couples / (n_couples - 1)
    return np.array(
        [
            twice,
            twice**2 / (stratum.units - 1),
            surplus,
            surplus**2 / spare,
            alone,
            alone**2 / (n_couples - 1),
        ]
    )


def _correlate_weighted(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation under each line of weights; 0 where a number is constant."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    mean_x, mean_y = average(weights, x), average(weights, y)
    square_x, square_y = average(weights, x**2) - mean_x**2, average(weights, y**2) - mean_y**2
    scale = np.sqrt(np.maximum(square_x, 0.0) * np.maximum(square_y, 0.0))
    product = average(weights, x * y) - mean_x * mean_y
    found: Floats = np.divide(product, scale, out=np.zeros_like(scale), where=scale > TINY)
    return found


def transform_fisher(correlations: Floats) -> Floats:
    """Fisher's z, on which the error of a correlation hardly depends on it."""
    limited: Floats = np.arctanh(np.clip(correlations, -GREATEST_CORRELATION, GREATEST_CORRELATION))
    return limited


def compute_mean(values: Iterable[float]) -> float:
    """The mean of the values that are known; NaN without any."""
    # fsum rounds once, so the mean does not depend on the order of the values.
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def average_column(table: pd.DataFrame, key: str) -> float:
    """The mean of a column without its NaN values; NaN where nothing is left."""
    return compute_mean(table[key])


def sum_squared_deviations(values: Sequence[float]) -> float:
    """Sum of the squared deviations from the mean; there must be at least one value."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def compute_sd(values: Sequence[float]) -> float:
    """Sample standard deviation; NaN for fewer than two values. Order does not matter."""
    if len(values) < 2:
        return math.nan
    return math.sqrt(sum_squared_deviations(values) / (len(values) - 1))


def correlate_ranks(first: pd.Series[float], second: pd.Series[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN where either is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(first.rank().corr(second.rank()))
