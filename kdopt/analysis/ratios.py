"""By how much tuning beats the best untuned method: the ratio of the abstract, and pp beside it.

The paper's second version claims that tuning raises accuracy gains by 16 % (uniform) and by 139 %
on average over the non-IID partitions, against the best approach without tuning. Its formula is
not given; here it is (mean tuned - best mean)/abs(best mean), per partition, on the student's
data. The denominator may be near 0 or negative, so the ratio is never shown without the pp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.compare import TUNED, mean_of, partitions_of, wide
from kdopt.analysis.paper.contrast import Floats
from kdopt.analysis.summary import RESAMPLES
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS

NON_IID = "mean of the non-IID partitions"
RATIO_COLUMNS = (
    "partition",
    "tuned_gain",
    "best_method",
    "best_gain",
    "difference",
    "low",
    "high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "n",
)
LEAST_DENOMINATOR_PP = 1e-6


class _Sampled(NamedTuple):
    """Tuned mean and means of the others, of the data (line 0) and of each resample, pp."""

    tuned: Floats
    best: Floats

    @property
    def difference(self) -> Floats:
        return self.tuned - self.best

    @property
    def ratio(self) -> Floats:
        size = np.abs(self.best)
        known = size > LEAST_DENOMINATOR_PP
        found = np.full(len(size), np.nan)
        found[known] = 100 * self.difference[known] / size[known]
        return found


def headline_ratios(gains: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """One line per partition that has tuned and untuned pairs, then the mean over non-IID ones.

    ``difference`` is in pp and ``ratio`` in percent, each with its 95 % bootstrap interval; pairs
    are resampled with all their methods, and the best method is chosen anew in every resample.
    """
    table = wide(gains[gains["transfer_set"] == "student"])
    lines: list[tuple[object, ...]] = []
    skewed: list[_Sampled] = []
    n_skewed = 0
    for name in partitions_of(gains):
        here = table[table["partition"] == name]
        run = [m for m in METHODS if here[m].notna().any()]
        block = here.dropna(subset=[TUNED, *run])
        if not run or block.empty:
            continue
        sampled = _resample(block, run, campaign, name)
        best = max(run, key=lambda m: mean_of(block, m))
        lines.append(_line(name, [sampled], best, len(block)))
        if name != "uniform":
            skewed.append(sampled)
            n_skewed += len(block)
    if skewed:
        lines.append(_line(NON_IID, skewed, "", n_skewed))
    return pd.DataFrame(lines, columns=list(RATIO_COLUMNS))


def _resample(block: pd.DataFrame, run: Sequence[str], campaign: Campaign, name: str) -> _Sampled:
    generator = np.random.default_rng(seed_for(campaign.seed, "ratios", name))
    drawn = generator.integers(0, len(block), size=(RESAMPLES, len(block)))
    if len(block) < 2:
        drawn = drawn[:0]  # one pair has no spread to show
    means = {
        method: np.concatenate([[values.mean()], values[drawn].mean(axis=1)])
        for method in (TUNED, *run)
        for values in [block[method].to_numpy(dtype=np.float64)]
    }
    return _Sampled(means[TUNED], np.max([means[method] for method in run], axis=0))


def _line(name: str, sampled: list[_Sampled], best: str, n: int) -> tuple[object, ...]:
    length = min(len(s.tuned) for s in sampled)
    numbers = {
        key: np.mean([getattr(s, key)[:length] for s in sampled], axis=0)
        for key in ("tuned", "best", "difference", "ratio")
    }
    return (
        name,
        float(numbers["tuned"][0]),
        best,
        float(numbers["best"][0]),
        float(numbers["difference"][0]),
        *_interval(numbers["difference"][1:]),
        float(numbers["ratio"][0]),
        *_interval(numbers["ratio"][1:]),
        n,
    )


def _interval(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
