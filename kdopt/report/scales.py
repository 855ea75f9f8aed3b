"""Scales of colours that one bad setting does not flatten, and points that do not hide others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from kdopt.report.format import format_ratio
from kdopt.report.plotting import DIVERGING, GAIN_TITLE

WHISKER = 1.5
"""Tukey's fence: what lies further than this many interquartile ranges outside is an outlier."""

MOST_LANES = 4
"""Steps that a point may be moved to either side; more would reach the next setting."""


class ColourLimit(NamedTuple):
    """The ends of a symmetric colour scale.

    Attributes:
        limit: Of both ends, pp, at least 1.
        below: Whether values lie below it, and have the colour of the lower end.
        above: The same above.
    """

    limit: float
    below: bool
    above: bool


def find_colour_limit(values: Iterable[float]) -> ColourLimit:
    """The least symmetric scale that holds all values but outliers.

    A diverged setting of -38 pp would otherwise make 2 and 9 pp the same pale colour.

    Args:
        values: pp; NaN is left out.
    """
    known = np.array([v for v in values if np.isfinite(v)], dtype=float)
    if not known.size:
        return ColourLimit(1.0, False, False)
    sizes = np.abs(known)
    low, high = np.quantile(sizes, [0.25, 0.75])
    limit = max(1.0, min(float(sizes.max()), float(high + WHISKER * (high - low))))
    return ColourLimit(limit, bool((known < -limit).any()), bool((known > limit).any()))


def make_colour_axis(values: Iterable[float], title: str = GAIN_TITLE) -> dict[str, Any]:
    """Plotly's colour axis of gains, pp, with the ends marked where the scale is clipped."""
    limit, below, above = find_colour_limit(values)
    bar: dict[str, Any] = {"title": {"text": title, "side": "right"}, "thickness": 12}
    if below or above:
        ends = [round(limit * share, 3) for share in (-1, -0.5, 0, 0.5, 1)]
        texts = [format_ratio(value) for value in ends]
        texts[0] = f"\u2264 {texts[0]}" if below else texts[0]
        texts[-1] = f"\u2265 {texts[-1]}" if above else texts[-1]
        bar |= {"tickvals": ends, "ticktext": texts}
    return {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "colorbar": bar}


def spread_points(
    x: Sequence[float], levels: Sequence[float], width: float, step: float
) -> list[float]:
    """The levels again, with points moved off them so that none hides another.

    Points of one level that are nearer than ``width`` take lanes 0, 1, -1, 2, ... in turn. None
    comes half the way to another level.

    Args:
        x: Where the points are along their level.
        levels: The level of each.
        width: Of a marker, in the unit of ``x``.
        step: Between lanes, in the unit of the levels, where there is room.
    """
    lanes = [0, *(sign * n for n in range(1, MOST_LANES + 1) for sign in (1, -1))]
    ends: dict[tuple[float, int], float] = {}
    found = [0] * len(x)
    for place in sorted(range(len(x)), key=lambda i: (levels[i], x[i], i)):
        level, at = levels[place], x[place]
        free = (lane for lane in lanes if at - ends.get((level, lane), -np.inf) >= width)
        lane = next(free, lanes[place % len(lanes)])
        found[place], ends[level, lane] = lane, at
    most = dict.fromkeys(levels, 1)
    for level, lane in zip(levels, found, strict=True):
        most[level] = max(most[level], abs(lane))
    steps = {level: min(step, room / most[level]) for level, room in _measure_room(levels).items()}
    return [level + lane * steps[level] for level, lane in zip(levels, found, strict=True)]


def _measure_room(levels: Sequence[float]) -> dict[float, float]:
    """How far points of a level may go: less than half the way to the nearest other level."""
    known = sorted(set(levels))
    gaps = [0.45 * (high - low) for low, high in pairwise(known)]
    return {
        level: min([*gaps[max(0, place - 1) : place + 1], math.inf])
        for place, level in enumerate(known)
    }
