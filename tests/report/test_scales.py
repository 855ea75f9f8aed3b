"""Scales that one bad setting does not flatten, and points that do not hide each other."""

from __future__ import annotations

import math
import random

import plotly.graph_objects as go
import pytest

from kdopt.report.scales import (
    clip_far_points,
    find_colour_limit,
    find_far_ends,
    make_colour_axis,
    spread_gains,
    spread_points,
)


@pytest.mark.parametrize(
    ("values", "limit", "below", "above"),
    [
        ([], 1.0, False, False),
        ([0.1, -0.2], 1.0, False, False),
        ([5.0, 6.0, 7.0, 8.0], 8.0, False, False),
        ([*range(1, 11), -38.0], None, True, False),
        ([*range(1, 11), 1e6, math.nan], None, False, True),
    ],
)
def test_a_colour_scale_holds_all_but_outliers_and_says_which_end_is_clipped(
    values, limit, below, above
):
    found = find_colour_limit(values)
    assert (found.below, found.above) == (below, above)
    assert found.limit == limit if limit else 10 <= found.limit < 20
    axis = make_colour_axis(values)
    assert axis["cmax"] == -axis["cmin"] == found.limit
    texts = axis["colorbar"].get("ticktext", ["", ""])
    assert (texts[0].startswith("\u2264"), texts[-1].startswith("\u2265")) == (below, above)


@pytest.mark.parametrize(
    ("values", "cut"),
    [
        ([], ""),
        ([1.0, 2.0, 3.0], ""),
        ([*range(1, 11), -60.0], "below"),
        ([*range(1, 11), 80.0, math.nan], "above"),
        ([*range(1, 11), 14.0], ""),  # it does not flatten the rest
        ([*range(1, 11), *[60.0] * 5], ""),  # they are not few
        ([0.0] * 20 + [2.0] * 3, ""),
    ],
)
def test_an_axis_of_gains_is_cut_where_a_few_would_flatten_the_rest(values, cut):
    low, high = find_far_ends(values)
    assert ("below" if math.isfinite(low) else "") + ("above" if math.isfinite(high) else "") == cut


def test_points_beyond_the_end_of_an_axis_are_arrows_that_tell_their_true_value():
    gains = [*map(float, range(1, 11)), -60.0]
    texts = [f"pair {n}" for n in range(11)]
    far = go.Scatter(y=gains, text=texts, marker={"symbol": "circle"})
    near = go.Scatter(y=[2.0, 3.0], marker={"symbol": "diamond"})
    assert clip_far_points([far, near]) == "; \u25bc lies lower"
    assert list(far.y)[:10] == gains[:10] and -5 < far.y[10] < 0
    assert list(far.marker.symbol) == ["circle"] * 10 + ["arrow-down"]
    assert far.text[10] == "pair 10, in truth a gain of -60.00 pp" and far.text[9] == "pair 9"
    assert near.marker.symbol == "diamond"
    assert clip_far_points([near]) == ""


def test_gains_at_the_same_place_are_moved_apart_along_the_gap():
    moved = spread_gains([-5.0, 2.0, 2.0, 2.0, 9.0], [1.0, 0.0, 0.0, 4.0, 1.0])
    assert len(set(moved[1:3])) == 2 and moved[0::3] == [-5.0, 2.0]
    assert all(abs(m - 2.0) < 0.5 for m in moved[1:4])


def test_points_of_one_level_that_are_near_take_lanes_of_their_own():
    moved = spread_points([0.0, 5.0, 5.1, 5.2, 9.0], [1.0] * 5, 0.5, 0.1)
    assert moved == pytest.approx([1.0, 1.0, 1.1, 0.9, 1.0])
    assert spread_points([5.0, 5.0], [1.0, 2.0], 0.5, 0.1) == [1.0, 2.0]
    assert spread_points([], [], 0.5, 0.1) == []


def test_no_two_points_share_a_place_and_none_comes_near_another_level():
    rng = random.Random(0)
    points = [(rng.uniform(0, 100), rng.choice([0.1, 0.5, 0.55])) for _ in range(60)]
    moved = spread_points(*zip(*points, strict=True), 2.0, 0.02)
    placed = sorted(zip(moved, points, strict=True))
    for y, (x, level) in placed:
        assert min((0.1, 0.5, 0.55), key=lambda other: abs(other - y)) == level
        assert not [p for p in placed if p[0] == y and 0 < abs(p[1][0] - x) < 2]
