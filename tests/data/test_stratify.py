from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdopt.data.stratify import quotas, stratified

counts_and_size = st.lists(st.integers(0, 60), min_size=1, max_size=8).flatmap(
    lambda counts: st.tuples(st.just(counts), st.integers(0, sum(counts)))
)


@settings(deadline=None, derandomize=True)
@given(counts_and_size)
def test_quotas_are_within_one_of_the_proportion(case: tuple[list[int], int]) -> None:
    counts, size = np.array(case[0], np.int64), case[1]
    taken = quotas(counts, size)
    assert taken.sum() == size
    assert (taken >= 0).all() and (taken <= counts).all()
    if counts.sum():
        assert (np.abs(taken - counts * size / counts.sum()) < 1).all()


def test_quotas_give_what_is_left_to_the_largest_remainder_then_to_the_lower_class() -> None:
    assert quotas(np.array([5, 4, 1]), 5).tolist() == [3, 2, 0]  # 2.5, 2.0, 0.5: tie at 0.5
    assert quotas(np.array([6, 3, 1]), 5).tolist() == [3, 2, 0]  # 3.0, 1.5, 0.5: tie at 0.5
    assert quotas(np.array([1, 6, 3]), 4).tolist() == [1, 2, 1]  # 0.4, 2.4, 1.2


@pytest.mark.parametrize("size", [-1, 4])
def test_a_size_that_is_not_there_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size {size} is outside 0\.\.3"):
        quotas(np.array([2, 1]), size)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
def test_a_sample_is_sorted_without_repeats_and_stratified(
    labels: list[int], data: st.DataObject
) -> None:
    array = np.array(labels, np.int64)
    size = data.draw(st.integers(0, len(labels)))
    drawn = stratified(array, size, np.random.default_rng(3))
    assert drawn.dtype == np.int64 and (np.diff(drawn) > 0).all() and len(drawn) == size
    expected = quotas(np.bincount(array), size)
    assert np.bincount(array[drawn], minlength=len(expected)).tolist() == expected.tolist()


def test_the_generator_decides_which_images() -> None:
    labels = np.repeat(np.arange(4), 50)
    first = stratified(labels, 40, np.random.default_rng(1))
    assert (first == stratified(labels, 40, np.random.default_rng(1))).all()
    assert (first != stratified(labels, 40, np.random.default_rng(2))).any()
