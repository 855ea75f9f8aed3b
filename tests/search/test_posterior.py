from __future__ import annotations

import dataclasses
import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.search.posterior import Posterior, scale_results, squash_gain, unsquash_gain
from kdopt.search.prior import PointResult

POINTS = tuple(product((0.5, 1.0, 2.0), (0.1, 0.9)))
N = len(POINTS)


@pytest.fixture
def posterior():
    """A posterior without any structure: what holds here holds of all."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(4 * N, 4 * N))
    return Posterior(POINTS, rng.normal(size=4 * N), root @ root.T / N + 0.1 * np.eye(4 * N))


@pytest.fixture
def results():
    """What came of half of the points."""
    rng = np.random.default_rng(4)
    return {
        POINTS[i]: PointResult(float(rng.normal(0, 4)), *map(float, rng.uniform(0, 9, 2)), 0.3 * i)
        for i in (4, 0, 3)
    }


def places(points):
    """Where the four outputs of these points are."""
    index = [POINTS.index(point) for point in points]
    return np.array([i + j * N for j in range(4) for i in index])


def test_measured_points_are_known_and_the_others_are_narrowed(posterior, results):
    after = posterior.condition_on(results)
    seen = places(results)
    found = scale_results(results.values()).T.ravel()
    assert after.points == posterior.points
    assert after.mean[seen] == pytest.approx(found, abs=1e-3)
    before, now = np.diag(posterior.covariance), np.diag(after.covariance)
    assert now[seen] == pytest.approx(0, abs=1e-4)
    assert (now <= before + 1e-9).all()
    rest = np.setdiff1d(np.arange(4 * N), seen)
    assert (now[rest] < before[rest]).all()
    mean, sd = after.gains
    for point, result in results.items():
        i = POINTS.index(point)
        assert mean[i] == pytest.approx(float(squash_gain(result.gain)), abs=1e-3)
        assert sd[i] < 0.02
        assert (sd <= posterior.gains[1] + 1e-9).all()


def test_it_is_the_gaussian_given_what_was_seen(posterior, results):
    """By way of the precision matrix: its open block is the inverse of what is left."""
    after = posterior.condition_on(results)
    seen = places(results)
    rest = np.setdiff1d(np.arange(4 * N), seen)
    precision = np.linalg.inv(posterior.covariance)
    left = np.linalg.inv(precision[np.ix_(rest, rest)])
    off = scale_results(results.values()).T.ravel() - posterior.mean[seen]
    mean = posterior.mean[rest] - left @ precision[np.ix_(rest, seen)] @ off
    assert after.mean[rest] == pytest.approx(mean, abs=1e-2)
    assert after.covariance[np.ix_(rest, rest)] == pytest.approx(left, abs=1e-2)


def test_results_may_come_in_any_order_and_one_by_one(posterior, results):
    at_once = posterior.condition_on(results)
    for seed in range(3):
        items = random.Random(seed).sample(sorted(results.items()), len(results))
        again = posterior.condition_on(dict(items))
        assert np.array_equal(again.mean, at_once.mean)
        assert np.array_equal(again.covariance, at_once.covariance)
        step = posterior
        for point, result in items:
            step = step.condition_on({point: result})
        assert step.mean == pytest.approx(at_once.mean, abs=1e-2)
        assert step.covariance == pytest.approx(at_once.covariance, abs=1e-2)


def test_what_it_does_not_know_and_nothing_at_all_change_nothing(posterior):
    for told in ({}, {(9.0, 0.3): PointResult(50.0, 50.0, 0.0, -1.0)}):
        after = posterior.condition_on(told)
        assert np.array_equal(after.mean, posterior.mean)
        assert np.array_equal(after.covariance, posterior.covariance)


@pytest.mark.parametrize("best", [-3.0, 0.0, 1.5])
def test_expected_improvement_is_the_mean_of_what_is_drawn(posterior, best):
    mean, sd = posterior.gains
    drawn = mean + sd * np.random.default_rng(5).normal(size=(200_000, N))
    better = np.maximum(0, drawn - squash_gain(best))
    error = better.std(axis=0) / np.sqrt(len(better))
    assert (
        np.abs(posterior.compute_expected_improvement(best) - better.mean(axis=0)) < 5 * error
    ).all()


def test_improvement_grows_with_what_is_not_known_and_falls_with_what_there_is(posterior):
    wider = dataclasses.replace(posterior, covariance=4 * posterior.covariance)
    higher = dataclasses.replace(posterior, mean=posterior.mean + 1)
    scores = posterior.compute_expected_improvement(1.0)
    assert (scores >= 0).all()
    assert (wider.compute_expected_improvement(1.0) > scores).all()
    assert (higher.compute_expected_improvement(1.0) > scores).all()
    assert (posterior.compute_expected_improvement(2.0) < scores).all()
    # Far behind the best there is nothing to be had, and no less than nothing.
    assert posterior.compute_expected_improvement(1e6) == pytest.approx(0, abs=1e-12)
    assert (posterior.compute_expected_improvement(1e6) >= 0).all()


def test_next_is_always_a_point_that_was_not_tried_until_none_is_left(posterior):
    tried = set()
    for _ in POINTS:
        point = posterior.choose_next_point(tried, 0.0)
        assert point in POINTS and point not in tried
        scores = posterior.compute_expected_improvement(0.0)
        left = [i for i, p in enumerate(POINTS) if p not in tried]
        assert scores[POINTS.index(point)] == pytest.approx(max(scores[left]))
        tried.add(point)
    assert posterior.choose_next_point(tried, 0.0) is None
    assert posterior.choose_next_point([*POINTS, (9.0, 0.3)], 0.0) is None


def test_losses_so_far_are_no_better_than_the_untouched_student(posterior):
    """The next point is one that may beat doing nothing, not one that may beat a loss."""
    assert posterior.choose_next_point([], -50.0) == posterior.choose_next_point([], 0.0)


def test_the_last_bits_do_not_choose():
    flat = Posterior(POINTS, np.zeros(4 * N), np.eye(4 * N))
    for last in range(N):
        mean = np.zeros(4 * N)
        mean[last] = 1e-13
        noisy = dataclasses.replace(flat, mean=mean)
        assert noisy.choose_next_point([], 0.0) == POINTS[0]
        assert noisy.find_best_point()[0] == POINTS[0]


def test_the_best_point_has_the_greatest_mean_and_its_gain_in_pp(posterior):
    for lower in (0.0, 20.0):
        point, gain = dataclasses.replace(posterior, mean=posterior.mean - lower).find_best_point()
        mean, _ = posterior.gains
        assert mean[POINTS.index(point)] == mean.max()
        assert float(squash_gain(gain)) == pytest.approx(mean.max() - lower)


def test_within_keeps_just_the_points_between_the_corners(posterior, results):
    low, high = (0.5, 0.5), (1.0, 1.0)
    inside = posterior.restrict_to(low, high)
    kept = [(0.5, 0.9), (1.0, 0.9)]
    assert inside.points == tuple(kept)
    assert np.array_equal(inside.mean, posterior.mean[places(kept)])
    assert np.array_equal(
        inside.covariance, posterior.covariance[np.ix_(places(kept), places(kept))]
    )
    # Corners are included.
    assert posterior.restrict_to((0.5, 0.1), (2.0, 0.9)).points == POINTS
    assert posterior.restrict_to((1.0, 0.9), (1.0, 0.9)).points == ((1.0, 0.9),)
    # Leaving points out and learning of those that stay are two things that do not meet.
    some = {p: r for p, r in results.items() if p in kept}
    assert inside.condition_on(some).mean == pytest.approx(
        posterior.condition_on(some).restrict_to(low, high).mean
    )


def test_where_nothing_is_within_nothing_is_next(posterior):
    empty = posterior.restrict_to((50.0, 0.0), (60.0, 1.0))
    assert empty.points == ()
    assert empty.choose_next_point([], 0.0) is None


GAINS = st.floats(-100, 100)
BENDS = st.floats(0.1, 50)


@given(GAINS, BENDS)
def test_a_squashed_gain_comes_back(gain, bend):
    assert unsquash_gain(squash_gain(gain, bend), bend) == pytest.approx(gain, rel=1e-9, abs=1e-9)


@given(st.floats(-10, 100), BENDS)
def test_any_squashed_value_comes_back_too(value, bend):
    assert squash_gain(unsquash_gain(value, bend), bend) == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(GAINS, GAINS, BENDS)
def test_every_order_is_kept(one, other, bend):
    low, high = sorted((one, other))
    assert squash_gain(low, bend) <= squash_gain(high, bend)
    if high - low > 1e-6:
        assert squash_gain(low, bend) < squash_gain(high, bend)


def test_gains_stay_and_losses_count_for_less_the_greater_they_are():
    gains = np.linspace(0, 50, 11)
    assert np.array_equal(squash_gain(gains), gains)
    losses = squash_gain(-gains)
    steps = -np.diff(losses)
    assert (losses >= -gains).all()
    assert (np.diff(steps) < 0).all()
    # There is no kink where the two meet.
    assert squash_gain(-1e-6) == pytest.approx(-1e-6, rel=1e-3)


def test_the_gain_is_the_first_of_four_outputs_and_each_rises_with_its_own_number():
    base = (-3.0, 2.0, 5.0, -0.4)
    low = scale_results([PointResult(*base)])
    assert low.shape == (1, 4)
    assert low[0, 0] == squash_gain(-3.0)
    for i in range(4):
        more = list(base)
        more[i] += 1
        moved = scale_results([PointResult(*more)]) - low
        assert moved[0, i] > 0
        assert np.count_nonzero(moved) == 1


def test_what_changes_nothing_is_nought_and_the_loss_is_odd():
    assert not scale_results([PointResult(0, 0, 0, 0)]).any()
    for loss in (0.01, 0.5, 7.0):
        up, down = scale_results([PointResult(0, 0, 0, loss), PointResult(0, 0, 0, -loss)])[:, 3]
        assert up == -down > 0


def test_no_results_are_no_rows_and_all_are_finite():
    assert scale_results([]).shape == (0, 4)
    worst = scale_results([PointResult(-100, 0, 100, 50), PointResult(100, 100, 0, -50)])
    assert np.isfinite(worst).all()
