"""Distributions that figures show: shares of values up to each value, and boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd


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


def compute_ecdf(values: pd.Series[float]) -> Ecdf:
    """The empirical distribution; NaN values are left out."""
    ordered = sorted(float(v) for v in values.dropna())
    return Ecdf(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))])


def compute_box(values: pd.Series[float]) -> Box:
    """The five numbers of a box; there must be at least one value."""
    return Box(*(float(q) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])))
