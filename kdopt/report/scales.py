"""Scales that one bad setting does not flatten, and points that do not hide others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from kdopt.report.format import format_ratio
from kdopt.report.plotting import DIVERGING, GAIN_TITLE

WHISKER = 1.5
"""Tukey's fence: what lies further than this many interquartile ranges outside is an outlier."""

FAR = 3.0
"""Of interquartile ranges: what lies further outside than this is shown at the edge of its axis."""

LEAST_SPREAD = 1.0
"""The least interquartile range that counts, pp: where most gains are 0, others are no outliers."""

FEW = 0.05
"""Share of points that may be shown at the edge; one always may."""

MARKER_SHARE = 0.028
"""Size of a marker as a share of the range of an axis."""

MARKER_STEP = 0.012
"""How far points of one gap are moved apart, as a share of the range of gaps."""

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


def make_colour_axis(values: Iterable[float], title: str = GAIN_TITLE) -> dict[str, object]:
    """Plotly's colour axis of gains, pp, with the ends marked where the scale is clipped."""
    limit, below, above = find_colour_limit(values)
    bar: dict[str, object] = {"title": {"text": title, "side": "right"}, "thickness": 12}
    if below or above:
        ends = [round(limit * share, 3) for share in (-1, -0.5, 0, 0.5, 1)]
        texts = [format_ratio(value) for value in ends]
        texts[0] = f"\u2264 {texts[0]}" if below else texts[0]
        texts[-1] = f"\u2265 {texts[-1]}" if above else texts[-1]
        bar |= {"tickvals": ends, "ticktext": texts}
    return {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "colorbar": bar}


def find_far_ends(values: Iterable[float]) -> tuple[float, float]:
    """The ends of an axis of gains beyond which a few points would flatten all others.

    Args:
        values: pp; NaN is left out.

    Returns:
        The lower and the upper end, pp; infinite where nothing is to be cut off.
    """
    known = np.array([v for v in values if np.isfinite(v)], dtype=float)
    if not known.size:
        return -math.inf, math.inf
    low, high = np.quantile(known, [0.25, 0.75])
    margin = FAR * max(float(high - low), LEAST_SPREAD)
    inside = known[(known >= low - margin) & (known <= high + margin)]
    few = known.size - inside.size <= max(1, FEW * known.size)
    kept, whole = (max(0.0, float(v.max())) - min(0.0, float(v.min())) for v in (inside, known))
    if not few or kept > 0.5 * whole:
        return -math.inf, math.inf
    pad = 0.06 * max(kept, LEAST_SPREAD)
    return (
        min(0.0, float(inside.min())) - pad if known.min() < inside.min() else -math.inf,
        max(0.0, float(inside.max())) + pad if known.max() > inside.max() else math.inf,
    )


def clip_far_points(traces: Sequence[go.Scatter]) -> str:
    """Put points that lie far outside all others at the edge of the y-axis, as arrows.

    Args:
        traces: Points of one axis, pp; changed in place. A text of a point gets its true value.

    Returns:
        What the title of the axis has to say of the arrows; empty where there are none.
    """
    low, high = find_far_ends(y for trace in traces for y in trace.y or ())
    arrows = set()
    for trace in traces:
        symbols, heights = [], []
        symbol, texts = trace.marker.symbol, list(trace.text or ())  # plotly takes long to tell
        for place, y in enumerate(trace.y or ()):
            arrow = "arrow-down" if y < low else "arrow-up" if y > high else ""
            symbols.append(arrow or symbol)
            heights.append(round(min(max(y, low), high), 3))
            arrows.add(arrow)
            if arrow and texts:
                texts[place] = f"{texts[place]}, in truth a gain of {y:.2f} pp"
        if len({*symbols, symbol}) > 1:
            trace.update(y=heights, marker={"symbol": symbols}, cliponaxis=False)
            trace.text = texts or None
    said = {"arrow-down": "\u25bc lies lower", "arrow-up": "\u25b2 lies higher"}
    return "".join(f"; {text}" for arrow, text in said.items() if arrow in arrows)


def spread_gains(gaps: Sequence[float], gains: Sequence[float]) -> list[float]:
    """The gaps again, moved a little where points would hide each other."""
    high, wide = (max(v, default=0.0) - min(v, default=0.0) for v in (gains, gaps))
    return spread_points(list(gains), list(gaps), MARKER_SHARE * high, MARKER_STEP * wide)


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
