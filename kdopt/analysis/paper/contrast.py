"""Measured contrasts with bootstrap intervals, and the one rule that turns them into verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.analysis.compare import mean_of
from kdopt.analysis.summary import RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign

Verdict = Literal["supported", "not supported", "inconclusive", "no data"]
Floats = npt.NDArray[np.float64]

COMPARABLE_PP = 1.0
"""Mean gains closer than this (pp) count as comparable; the paper gives no margin."""

LEAST_N = 5
"""Fewer observations decide nothing: their resamples hardly differ."""

RULE = (
    "Each claim is taken apart into contrasts, and each contrast has a range that the claim "
    "implies. A contrast is supported when its whole 95 % bootstrap interval lies inside that "
    "range, not supported when the whole interval lies outside, and inconclusive otherwise, also "
    f"with fewer than {LEAST_N} observations. "
    "A claim is supported only if all its contrasts are, not supported if any one is not, and "
    "inconclusive otherwise; a contrast without data supports nothing."
)
CAVEAT = (
    "Intervals resample pairs (for best teachers: students; for section V: cells, runs or classes, "
    "as the label says) as if they were independent. These share models, images and seeds, so the "
    "intervals are rather too narrow, and they are not "
    "corrected for the number of contrasts or for choosing the hardest rival: a claim of many "
    "contrasts is easily refuted by chance."
)


class Contrast(NamedTuple):
    """One number that a claim makes a statement about.

    Attributes:
        label: What was measured.
        value: The estimate; NaN without data.
        low: Lower end of the 95 % interval; NaN for fewer than two observations.
        high: Upper end.
        n: Observations (pairs, unless the label says otherwise).
        unit: ``pp``, ``%``, or empty for correlations and settings.
        lower: Lower end of the range that the claim implies.
        upper: Upper end of that range.
    """

    label: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "pp"
    lower: float = 0.0
    upper: float = math.inf

    @property
    def verdict(self) -> Verdict:
        """The rule for one contrast; an interval that only touches the border decides nothing."""
        if self.n == 0:
            return "no data"
        if self.n < LEAST_N:
            return "inconclusive"
        if self.low > self.lower and self.high < self.upper:
            return "supported"
        if self.high < self.lower or self.low > self.upper:
            return "not supported"
        return "inconclusive"

    @property
    def claimed(self) -> str:
        """The claimed range as people read it."""
        if self.upper == math.inf:
            return f"above {self.lower:g}"
        if self.lower == -math.inf:
            return f"below {self.upper:g}"
        return f"{self.lower:g} to {self.upper:g}"


def combined(contrasts: Sequence[Contrast]) -> Verdict:
    """The rule for a claim."""
    verdicts = {contrast.verdict for contrast in contrasts}
    if verdicts <= {"no data"}:
        return "no data"
    if "not supported" in verdicts:
        return "not supported"
    return "supported" if verdicts == {"supported"} else "inconclusive"


def no_data(label: str) -> Contrast:
    """A contrast that a claim needs and this campaign does not have."""
    return Contrast(label, math.nan, math.nan, math.nan, 0)


def mean_contrast(
    label: str,
    values: Iterable[float],
    campaign: Campaign,
    lower: float = 0.0,
    upper: float = math.inf,
    unit: str = "pp",
) -> Contrast:
    """The mean of one number per pair, with its interval; NaN values are left out."""
    known = np.array([v for v in values if not math.isnan(v)], dtype=np.float64).round(TIE_DECIMALS)
    if not len(known):
        return no_data(label)._replace(lower=lower, upper=upper, unit=unit)
    low, high = bootstrap_interval(known, _generator(campaign, label), RESAMPLES)
    mean = math.fsum(known) / len(known)
    return Contrast(label, mean, low, high, len(known), unit, lower, upper)


def rank_contrast(
    label: str,
    first: pd.Series[float],
    second: pd.Series[float],
    campaign: Campaign,
    lower: float = 0.0,
    upper: float = math.inf,
) -> Contrast:
    """Spearman's rank correlation of two numbers per pair, pairs resampled together."""
    both = pd.DataFrame({"first": first, "second": second}).dropna().round(TIE_DECIMALS)
    x, y = (both[key].to_numpy(dtype=np.float64) for key in ("first", "second"))
    value = float(spearman(x[None], y[None])[0]) if len(x) > 1 else math.nan
    if math.isnan(value):  # too few pairs, or all of them equal: there is no correlation to judge
        return no_data(label)._replace(lower=lower, upper=upper, unit="")
    drawn = _generator(campaign, label).integers(0, len(x), size=(RESAMPLES, len(x)))
    sampled = spearman(x[drawn], y[drawn])
    sampled = sampled[~np.isnan(sampled)]
    low, high = np.quantile(sampled, [0.025, 0.975]) if len(sampled) else (math.nan, math.nan)
    return Contrast(label, value, float(low), float(high), len(x), "", lower, upper)


def spearman(x: Floats, y: Floats) -> Floats:
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


def against_best(
    table: pd.DataFrame,
    method: str,
    others: Sequence[str],
    where: str,
    campaign: Campaign,
    *,
    sign: int = 1,
    measure: str = "",
    unit: str = "pp",
) -> list[Contrast]:
    """A method against the hardest of its rivals, pair by pair.

    The rival is the one of greatest (``sign`` 1) or smallest (-1) mean over the pairs in which
    all were measured; the contrast is positive when the method lies beyond it on that side.
    Rivals never run are named as contrasts without data: nobody beats what was not tried.

    Args:
        table: From :func:`kdopt.analysis.compare.wide`, already cut to the pairs meant.
        method: The method that the claim is about.
        others: Its rivals.
        where: The pairs meant, for the label.
        campaign: For the seed of the bootstrap.
        sign: Whether the claim calls the method the greatest or the smallest.
        measure: What is compared, for the label; nothing for test gain.
        unit: Its unit.
    """
    run = [other for other in others if table[other].notna().any()]
    absent = [no_data(f"{where}: {other} was not run") for other in others if other not in run]
    if not run or not table[method].notna().any():
        return [no_data(f"{where}: {method} against {', '.join(others)}")]
    block = table.dropna(subset=[method, *run])
    if block.empty:
        return [no_data(f"{where}: no pair has all of {method}, {', '.join(run)}"), *absent]
    rival = max(run, key=lambda other: sign * mean_of(block, other))
    first, second = (method, rival) if sign == 1 else (rival, method)
    label = f"{where}: {measure}{' ' if measure else ''}{first} - {second}"
    if len(run) > 1:
        label += f" ({'greatest' if sign == 1 else 'least'} of the others)"
    ahead = sign * (block[method] - block[rival])
    return [mean_contrast(label, ahead, campaign, unit=unit), *absent]


def _generator(campaign: Campaign, label: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(campaign.seed, "claims", label))
