import math

import numpy as np
import pytest

from kdopt.advice.calibration import FLOOR_PP, bounds, coverage, kept, promise_of
from kdopt.advice.tree import grow
from tests.advice.planted import planted


def test_bounds_leave_the_right_share_of_errors_outside():
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1, ..., 99
    assert bounds(errors, 0.80) == (10, 90)
    assert bounds(errors, 0.95) == (2, 98)


def test_the_next_error_lies_between_the_bounds_as_often_as_said():
    rng = np.random.default_rng(1)
    for level in (0.8, 0.95):
        hits = []
        for _ in range(2000):
            *past, new = rng.standard_t(3, size=61)
            low, high = bounds(np.array(past), level)
            hits.append(low <= new <= high)
        assert np.mean(hits) == pytest.approx(level, abs=0.03)


def test_of_too_few_errors_nothing_is_said():
    assert all(math.isnan(b) for b in bounds(np.arange(38.0), 0.95))
    assert bounds(np.arange(39.0), 0.95) == (0, 38)
    assert all(math.isnan(b) for b in bounds(np.zeros(0), 0.8))


def test_a_promise_is_the_leafs_mean_and_its_scale_the_leafs_spread():
    lessons = planted(noise=2.0)
    tree = grow(lessons, lessons.known)
    for leaf, _ in tree.leaves():
        gains = lessons.test[list(leaf.members), lessons.actions.index(leaf.distil)]
        assert promise_of(tree, leaf) == pytest.approx((gains.mean(), gains.std(ddof=1) + FLOOR_PP))


def test_without_noise_promises_are_kept():
    found = kept(planted(), planted().known)
    assert len(found.came) == len(planted())
    assert found.came == pytest.approx(found.promised)
    assert found.errors == pytest.approx(0)


def test_promises_are_made_without_the_partition_they_are_for():
    lessons = planted(noise=1.0)
    odd = lessons.take(np.arange(len(lessons)))
    odd.test[(odd.pairs["partition"] == "uniform").to_numpy()] += 20
    before, after = kept(lessons, lessons.known), kept(odd, odd.known)
    first = (lessons.pairs["partition"] == "uniform").to_numpy()
    assert first[: first.sum()].all()  # folds come in the order of the pairs
    assert after.promised[: first.sum()] == pytest.approx(before.promised[: first.sum()])
    assert (after.came - after.promised)[: first.sum()].mean() > 15


def test_coverage_is_near_what_is_stated_where_partitions_are_alike():
    lessons = planted(noise=3.0, participants=8)
    held = coverage(lessons, lessons.known, (0.8, 0.95))
    assert held[0] == pytest.approx(0.8, abs=0.08)
    assert held[1] == pytest.approx(0.95, abs=0.05)


def test_coverage_is_not_known_of_a_single_partition():
    lessons = planted(partitions=("uniform",))
    assert all(math.isnan(h) for h in coverage(lessons, lessons.known, (0.8,)))
    assert len(kept(lessons, lessons.known).came) == 0
