"""How often and how much each method transfers, summed up per partition and transfer set.

Paper, section IV: a transfer is positive when the accuracy gain is above 0. Fig. 3 shows a
"cumulative accuracy gain"; the paper does not say whether that is a sum over pairs or a
distribution, so both are here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.analysis.summary import RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign

TRANSFER_COLUMNS = (
    "partition",
    "transfer_set",
    "method",
    "n",
    "positive_rate",
    "rate_low",
    "rate_high",
    "mean_positive",
    "positive_low",
    "positive_high",
    "mean_negative",
    "negative_low",
    "negative_high",
    "mean_gain",
    "low",
    "high",
    "cumulative_gain",
)


class Ecdf(NamedTuple):
    """Share of pairs whose gain is at most each value.

    Attributes:
        gains: Ascending, pp.
        shares: In (0, 1], ending at 1.
    """

    gains: list[float]
    shares: list[float]


class Box(NamedTuple):
    """A distribution in five numbers, pp; whiskers are the 5th and 95th percentile."""

    low: float
    q1: float
    median: float
    q3: float
    high: float


def transfer_summary(gains: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """One line per (partition, transfer set, method) with data, in the order of ``gains``.

    ``positive_rate`` is the share in percent of pairs that gain on test; ``mean_positive`` and
    ``mean_negative`` are the mean test gains (pp) of the pairs above and below 0, NaN where there
    is none. Each has its 95 % bootstrap interval over pairs beside it (that of ``mean_gain`` is
    ``low``, ``high``), NaN for fewer than two pairs; ``cumulative_gain`` is the sum over pairs, pp.
    """
    lines: list[dict[str, object]] = []
    keys = ["partition", "transfer_set", "method"]
    for key, table in gains.groupby(keys, sort=False):
        # Rounded as ties among cells are: float noise around 0 is no transfer.
        values = table["test_gain"].round(TIE_DECIMALS).to_numpy(dtype=np.float64)
        seed = seed_for(campaign.seed, "transfer", *map(str, key))
        generator = np.random.default_rng(seed)
        low, high = bootstrap_interval(values, generator, RESAMPLES)
        groups = {
            "rate": 100.0 * (values > 0),
            "positive": values[values > 0],
            "negative": values[values < 0],
        }
        ends = {
            f"{name}_{end}": bound
            for name, group in groups.items()
            for end, bound in zip(
                ("low", "high"), bootstrap_interval(group, generator, RESAMPLES), strict=True
            )
        }
        total = math.fsum(values)
        lines.append(
            {
                **dict(zip(keys, key, strict=True)),
                "n": len(values),
                "positive_rate": 100 * float((values > 0).mean()),
                "mean_positive": _mean(values[values > 0]),
                "mean_negative": _mean(values[values < 0]),
                "mean_gain": total / len(values),
                "low": low,
                "high": high,
                "cumulative_gain": total,
                **ends,
            }
        )
    # Methods of the comparison and of the tuning are met at different lines; their order is not.
    table = pd.DataFrame(lines, columns=list(TRANSFER_COLUMNS))
    ranks = {key: {v: i for i, v in enumerate(gains[key].unique())} for key in keys[:2]}
    order = table.assign(**{key: table[key].map(ranks[key]) for key in keys[:2]})
    return table.loc[order.sort_values(keys[:2], kind="stable").index].reset_index(drop=True)


def ecdf(values: pd.Series[float]) -> Ecdf:
    """The empirical distribution of gains (pp); NaN values are left out."""
    ordered = sorted(float(v) for v in values.dropna())
    return Ecdf(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))])


def box(values: pd.Series[float]) -> Box:
    """The five numbers of a box; there must be at least one value."""
    return Box(*(float(q) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])))


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan
