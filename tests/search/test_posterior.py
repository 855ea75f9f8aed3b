from __future__ import annotations

import dataclasses
import random
from itertools import product

import numpy as np
import pytest

from kdopt.search.posterior import Belief
from kdopt.search.prior import Result
from kdopt.search.scale import outputs, squash

POINTS = tuple(product((0.5, 1.0, 2.0), (0.1, 0.9)))
N = len(POINTS)


@pytest.fixture
def belief():
    """A belief without any structure: what holds here holds of all."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(4 * N, 4 * N))
    return Belief(POINTS, rng.normal(size=4 * N), root @ root.T / N + 0.1 * np.eye(4 * N))


@pytest.fixture
def results():
    """What came of half of the points."""
    rng = np.random.default_rng(4)
    return {
        POINTS[i]: Result(float(rng.normal(0, 4)), *map(float, rng.uniform(0, 9, 2)), 0.3 * i)
        for i in (4, 0, 3)
    }


def places(points):
    """Where the four outputs of these points are."""
    index = [POINTS.index(point) for point in points]
    return np.array([i + j * N for j in range(4) for i in index])


def test_measured_points_are_known_and_the_others_are_narrowed(belief, results):
    after = belief.given(results)
    seen = places(results)
    found = outputs(results.values()).T.ravel()
    assert after.points == belief.points
    assert after.mean[seen] == pytest.approx(found, abs=1e-3)
    before, now = np.diag(belief.covariance), np.diag(after.covariance)
    assert now[seen] == pytest.approx(0, abs=1e-4)
    assert (now <= before + 1e-9).all()
    rest = np.setdiff1d(np.arange(4 * N), seen)
    assert (now[rest] < before[rest]).all()
    mean, sd = after.gains
    for point, result in results.items():
        i = POINTS.index(point)
        assert mean[i] == pytest.approx(float(squash(result.gain)), abs=1e-3)
        assert sd[i] < 0.02
        assert (sd <= belief.gains[1] + 1e-9).all()


def test_it_is_the_gaussian_given_what_was_seen(belief, results):
    """By way of the precision matrix: its open block is the inverse of what is left."""
    after = belief.given(results)
    seen = places(results)
    rest = np.setdiff1d(np.arange(4 * N), seen)
    precision = np.linalg.inv(belief.covariance)
    left = np.linalg.inv(precision[np.ix_(rest, rest)])
    off = outputs(results.values()).T.ravel() - belief.mean[seen]
    mean = belief.mean[rest] - left @ precision[np.ix_(rest, seen)] @ off
    assert after.mean[rest] == pytest.approx(mean, abs=1e-2)
    assert after.covariance[np.ix_(rest, rest)] == pytest.approx(left, abs=1e-2)


def test_results_may_come_in_any_order_and_one_by_one(belief, results):
    at_once = belief.given(results)
    for seed in range(3):
        items = random.Random(seed).sample(sorted(results.items()), len(results))
        again = belief.given(dict(items))
        assert np.array_equal(again.mean, at_once.mean)
        assert np.array_equal(again.covariance, at_once.covariance)
        step = belief
        for point, result in items:
            step = step.given({point: result})
        assert step.mean == pytest.approx(at_once.mean, abs=1e-2)
        assert step.covariance == pytest.approx(at_once.covariance, abs=1e-2)


def test_what_it_does_not_know_and_nothing_at_all_change_nothing(belief):
    for told in ({}, {(9.0, 0.3): Result(50.0, 50.0, 0.0, -1.0)}):
        after = belief.given(told)
        assert np.array_equal(after.mean, belief.mean)
        assert np.array_equal(after.covariance, belief.covariance)


@pytest.mark.parametrize("best", [-3.0, 0.0, 1.5])
def test_expected_improvement_is_the_mean_of_what_is_drawn(belief, best):
    mean, sd = belief.gains
    drawn = mean + sd * np.random.default_rng(5).normal(size=(200_000, N))
    better = np.maximum(0, drawn - squash(best))
    error = better.std(axis=0) / np.sqrt(len(better))
    assert (np.abs(belief.improvement(best) - better.mean(axis=0)) < 5 * error).all()


def test_improvement_grows_with_what_is_not_known_and_falls_with_what_there_is(belief):
    wider = dataclasses.replace(belief, covariance=4 * belief.covariance)
    higher = dataclasses.replace(belief, mean=belief.mean + 1)
    scores = belief.improvement(1.0)
    assert (scores >= 0).all()
    assert (wider.improvement(1.0) > scores).all()
    assert (higher.improvement(1.0) > scores).all()
    assert (belief.improvement(2.0) < scores).all()
    # Far behind the best there is nothing to be had, and no less than nothing.
    assert belief.improvement(1e6) == pytest.approx(0, abs=1e-12)
    assert (belief.improvement(1e6) >= 0).all()


def test_next_is_always_a_point_that_was_not_tried_until_none_is_left(belief):
    tried = set()
    for _ in POINTS:
        point = belief.next_point(tried, 0.0)
        assert point in POINTS and point not in tried
        scores = belief.improvement(0.0)
        left = [i for i, p in enumerate(POINTS) if p not in tried]
        assert scores[POINTS.index(point)] == pytest.approx(max(scores[left]))
        tried.add(point)
    assert belief.next_point(tried, 0.0) is None
    assert belief.next_point([*POINTS, (9.0, 0.3)], 0.0) is None


def test_losses_so_far_are_no_better_than_the_untouched_student(belief):
    """The next point is one that may beat doing nothing, not one that may beat a loss."""
    assert belief.next_point([], -50.0) == belief.next_point([], 0.0)


def test_the_last_bits_do_not_choose():
    flat = Belief(POINTS, np.zeros(4 * N), np.eye(4 * N))
    for last in range(N):
        mean = np.zeros(4 * N)
        mean[last] = 1e-13
        noisy = dataclasses.replace(flat, mean=mean)
        assert noisy.next_point([], 0.0) == POINTS[0]
        assert noisy.best_point()[0] == POINTS[0]


def test_the_best_point_has_the_greatest_mean_and_its_gain_in_pp(belief):
    for lower in (0.0, 20.0):
        point, gain = dataclasses.replace(belief, mean=belief.mean - lower).best_point()
        mean, _ = belief.gains
        assert mean[POINTS.index(point)] == mean.max()
        assert float(squash(gain)) == pytest.approx(mean.max() - lower)


def test_within_keeps_just_the_points_between_the_corners(belief, results):
    low, high = (0.5, 0.5), (1.0, 1.0)
    inside = belief.within(low, high)
    kept = [(0.5, 0.9), (1.0, 0.9)]
    assert inside.points == tuple(kept)
    assert np.array_equal(inside.mean, belief.mean[places(kept)])
    assert np.array_equal(inside.covariance, belief.covariance[np.ix_(places(kept), places(kept))])
    # Corners are included.
    assert belief.within((0.5, 0.1), (2.0, 0.9)).points == POINTS
    assert belief.within((1.0, 0.9), (1.0, 0.9)).points == ((1.0, 0.9),)
    # Leaving points out and learning of those that stay are two things that do not meet.
    some = {p: r for p, r in results.items() if p in kept}
    assert inside.given(some).mean == pytest.approx(belief.given(some).within(low, high).mean)


def test_where_nothing_is_within_nothing_is_next(belief):
    empty = belief.within((50.0, 0.0), (60.0, 1.0))
    assert empty.points == ()
    assert empty.next_point([], 0.0) is None
