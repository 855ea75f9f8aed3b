"""Statistics as pure functions: means, spreads, intervals, rank correlations, distributions.

Every mean that is shown with an interval comes from :func:`estimate_mean`, so that the kind of
interval is decided in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.campaign.names import seed_for

Floats = npt.NDArray[np.float64]

TIE_DECIMALS = 9
"""Gains are differences of floats: equal gains may differ in their last bits, and the mean of
replicates surely does. Round before you compare, or such noise decides instead of the tie rule."""

RESAMPLES = 2000
"""Bootstrap samples of every interval."""

PERCENTILES = (0.025, 0.975)
"""Ends of a 95 % interval."""


class Estimate(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        mean: NaN without values.
        low: Lower end of the interval; NaN for fewer than two values.
        high: Upper end; NaN for fewer than two values.
        n: Number of values.
    """

    mean: float
    low: float
    high: float
    n: int

    def name_columns(self, mean: str, low: str, high: str) -> dict[str, float]:
        """The three numbers under the columns of a table."""
        return {mean: self.mean, low: self.low, high: self.high}


class Ecdf(NamedTuple):
    """Share of values that are at most each value.

    Attributes:
        values: Ascending.
        shares: In (0, 1], ending at 1.
    """

    values: list[float]
    shares: list[float]


class Box(NamedTuple):
    """A distribution in five numbers; whiskers are the 5th and 95th percentile."""

    low: float
    q1: float
    median: float
    q3: float
    high: float


def make_generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator of its own for every seed and name of a number.

    The names are part of the seed, so no interval depends on which others are computed or in
    which order. A changed name changes the interval.
    """
    return np.random.default_rng(seed_for(seed, *names))


def estimate_mean(
    values: Iterable[float], generator: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """The mean of values with its 95 % percentile bootstrap interval.

    Args:
        values: One number per unit, none of them NaN. Units are taken as independent.
        generator: From :func:`make_generator`. Several estimates may share one; their order
            then matters, because each takes up where the one before stopped.
        resamples: Bootstrap samples, >= 1.
    """
    known: Floats = np.asarray(list(values), dtype=np.float64)
    mean = math.fsum(known) / len(known) if len(known) else math.nan
    if len(known) < 2:
        return Estimate(mean, math.nan, math.nan, len(known))
    # All indices in one call: the draws, and so the interval, depend on its shape.
    drawn = generator.integers(0, len(known), size=(resamples, len(known)))
    return Estimate(mean, *compute_interval(known[drawn].mean(axis=1)), len(known))


def compute_interval(samples: Floats) -> tuple[float, float]:
    """The middle 95 % of the samples that are known; NaN for fewer than two."""
    known = samples[~np.isnan(samples)]
    if len(known) < 2:
        return math.nan, math.nan
    low, high = np.quantile(known, PERCENTILES)
    return float(low), float(high)


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


def correlate_ranks(x: Floats, y: Floats) -> Floats:
    """Spearman's rank correlation of each line, ties at their mean rank.

    Args:
        x: (lines, observations).
        y: The same shape.

    Returns:
        (lines,), NaN where ``x`` or ``y`` is constant.
    """
    ranks = [pd.DataFrame(values).rank(axis=1).to_numpy(dtype=np.float64) for values in (x, y)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    products = (a * b).sum(axis=1)
    found: Floats = np.full(len(a), np.nan)
    found[scale > 0] = products[scale > 0] / scale[scale > 0]
    return found


def compute_ecdf(values: pd.Series[float]) -> Ecdf:
    """The empirical distribution; NaN values are left out."""
    ordered = sorted(float(v) for v in values.dropna())
    return Ecdf(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))])


def compute_box(values: pd.Series[float]) -> Box:
    """The five numbers of a box; there must be at least one value."""
    return Box(*(float(q) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])))
