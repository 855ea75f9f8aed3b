"""Scales that one bad setting does not flatten, and points that do not hide each other."""

from __future__ import annotations

import math
import random

import pytest

from kdopt.report.scales import find_colour_limit, make_colour_axis, spread_points


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
