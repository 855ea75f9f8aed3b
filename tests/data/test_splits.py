from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS, Campaign, TrainSettings, TransferSettings
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.data.splits import (
    Splits,
    compute_quotas,
    count_classes,
    draw_stratified,
    make_splits,
    pack_splits,
    unpack_splits,
)
from kdopt.errors import ArtifactError, PartitionError

BUDGET = TrainSettings(epochs=1, patience=0, learning_rate=1e-3, weight_decay=0.0, batch_size=32)
CAMPAIGN = Campaign(
    name="c",
    seed=1,
    participants=4,
    replicates=1,
    precision="fp32",
    select_on="validation",
    model="m",
    data=DataSettings("digits"),
    partitions=(
        PartitionSettings("uniform"),
        PartitionSettings("quantity_skew"),
        PartitionSettings("label_dirichlet", (0.1, 0.5)),
    ),
    stages=("tune",),
    transfer=NO_PUBLIC_SETS,
    pretrain=BUDGET,
    distill=BUDGET,
    tune=TuneSettings((1.0,), (0.5,), "grid", 1),
)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 200)).astype(np.int64)


def test_validation_is_stratified_and_the_same_in_every_partition() -> None:
    first, second = (make_splits(CAMPAIGN, n, LABELS, 10) for n in ("uniform", "quantity_skew"))
    assert (first.validation == second.validation).all()
    assert np.bincount(LABELS[first.validation]).tolist() == [20] * 10


def test_nobody_trains_on_validation_and_nothing_is_lost() -> None:
    splits = make_splits(CAMPAIGN, "label_dirichlet", LABELS, 10)
    together = np.concatenate([*splits.train, splits.validation])
    assert np.sort(together).tolist() == list(range(2000))


def test_public_sets_are_nested_taken_first_and_the_same_in_every_partition() -> None:
    sizes = TransferSettings(50, 300, 40)
    public = replace(CAMPAIGN, transfer=sizes)
    splits = [make_splits(public, n, LABELS, 10) for n in ("uniform", "label_dirichlet")]
    assert (splits[0].public == splits[1].public).all()
    assert len(splits[0].public) == 300
    assert (np.diff(splits[0].public) < 0).any()  # random order, so that the first are a sample
    together = np.concatenate([*splits[1].train, splits[1].validation, splits[1].public])
    assert np.sort(together).tolist() == list(range(2000))
    without = make_splits(CAMPAIGN, "uniform", LABELS, 10)
    assert len(without.public) == 0
    assert (without.validation == splits[0].validation).all()
    grown = replace(CAMPAIGN, transfer=replace(sizes, public_labeled=299))
    assert (make_splits(grown, "uniform", LABELS, 10).public == splits[0].public).all()


def test_public_sets_that_leave_nothing_are_refused() -> None:
    greedy = replace(CAMPAIGN, transfer=TransferSettings(0, 1800, 0))
    with pytest.raises(PartitionError, match=r"1,800 images leave none of the 1,800"):
        make_splits(greedy, "uniform", LABELS, 10)


def test_the_campaign_seed_decides_everything() -> None:
    first, same, other = (
        make_splits(replace(CAMPAIGN, seed=seed), "uniform", LABELS, 10) for seed in (1, 1, 2)
    )
    assert all((first.train[i] == same.train[i]).all() for i in range(4))
    assert not np.array_equal(first.validation, other.validation)
    assert not np.array_equal(first.train[0], other.train[0])


def test_one_partition_does_not_depend_on_the_others() -> None:
    alone = replace(CAMPAIGN, partitions=CAMPAIGN.partitions[1:2])
    first, second = (make_splits(c, "quantity_skew", LABELS, 10) for c in (CAMPAIGN, alone))
    assert all((a == b).all() for a, b in zip(first.train, second.train, strict=True))


def test_counts_are_images_by_participant_and_class() -> None:
    splits = make_splits(CAMPAIGN, "uniform", LABELS, 10)
    assert count_classes(splits.train, LABELS, 10).tolist() == [[45] * 10] * 4
    parts = (np.array([0, 1]), np.array([2], np.int64))
    assert count_classes(parts, np.array([0, 0, 2]), 4).tolist() == [[2, 0, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("participants", [4, 101])
def test_splits_survive_saving(participants: int, tmp_path: Path) -> None:
    train = tuple(np.array([i, i + 200], np.int64) for i in range(participants))
    splits = Splits(train, np.array([500], np.int64), np.array([9, 7], np.int64))
    save_file(pack_splits(splits), tmp_path / "splits.safetensors")
    read = unpack_splits(load_file(tmp_path / "splits.safetensors"))
    assert [p.tolist() for p in read.train] == [p.tolist() for p in train]
    assert read.validation.tolist() == [500]
    assert read.public.tolist() == [9, 7]
    assert {"train.00", "train.03", "validation"} <= pack_splits(splits).keys()


COMMON = {"validation": np.arange(2), "public": np.arange(2)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train.00": np.arange(2), **COMMON, "validation": None}, "'validation' is missing"),
        ({"train.00": np.arange(2), **COMMON, "public": None}, "'public' is missing"),
        (COMMON, "'train.00' is missing"),
        ({"train.01": np.arange(2), **COMMON}, "'train.00' is missing"),
        ({"train.00": np.arange(2), "other": np.arange(2), **COMMON}, "'other' is unknown"),
        ({"train.00": np.zeros(2), **COMMON}, r"train.00 is float64 \(2,\)"),
    ],
)
def test_arrays_that_are_no_splits_are_refused(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack_splits({key: array for key, array in arrays.items() if array is not None})


def test_a_partition_that_the_campaign_has_not_is_named() -> None:
    with pytest.raises(PartitionError, match=r"no partition 'specialized', but uniform, quantity"):
        make_splits(CAMPAIGN, "specialized", LABELS, 10)


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(PartitionError, match=r"labels run from 0 to 9, but there are 9 classes"):
        make_splits(CAMPAIGN, "uniform", LABELS, 9)


def test_a_validation_set_without_images_is_refused() -> None:
    with pytest.raises(PartitionError, match=r"validation_fraction = 0\.1 of 3 training images"):
        make_splits(CAMPAIGN, "uniform", LABELS[:3], 10)


counts_and_size = st.lists(st.integers(0, 60), min_size=1, max_size=8).flatmap(
    lambda counts: st.tuples(st.just(counts), st.integers(0, sum(counts)))
)


@settings(deadline=None, derandomize=True)
@given(counts_and_size)
def test_quotas_are_within_one_of_the_proportion(case: tuple[list[int], int]) -> None:
    counts, size = np.array(case[0], np.int64), case[1]
    taken = compute_quotas(counts, size)
    assert taken.sum() == size
    assert (taken >= 0).all() and (taken <= counts).all()
    if counts.sum():
        assert (np.abs(taken - counts * size / counts.sum()) < 1).all()


def test_quotas_give_what_is_left_to_the_largest_remainder_then_to_the_lower_class() -> None:
    assert compute_quotas(np.array([5, 4, 1]), 5).tolist() == [3, 2, 0]  # 2.5, 2.0, 0.5: tie at 0.5
    assert compute_quotas(np.array([6, 3, 1]), 5).tolist() == [3, 2, 0]  # 3.0, 1.5, 0.5: tie at 0.5
    assert compute_quotas(np.array([1, 6, 3]), 4).tolist() == [1, 2, 1]  # 0.4, 2.4, 1.2


@pytest.mark.parametrize("size", [-1, 4])
def test_a_size_that_is_not_there_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size {size} is outside 0\.\.3"):
        compute_quotas(np.array([2, 1]), size)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
def test_a_sample_is_sorted_without_repeats_and_stratified(
    labels: list[int], data: st.DataObject
) -> None:
    array = np.array(labels, np.int64)
    size = data.draw(st.integers(0, len(labels)))
    drawn = draw_stratified(array, size, np.random.default_rng(3))
    assert drawn.dtype == np.int64 and (np.diff(drawn) > 0).all() and len(drawn) == size
    expected = compute_quotas(np.bincount(array), size)
    assert np.bincount(array[drawn], minlength=len(expected)).tolist() == expected.tolist()


def test_the_generator_decides_which_images() -> None:
    labels = np.repeat(np.arange(4), 50)
    first = draw_stratified(labels, 40, np.random.default_rng(1))
    assert (first == draw_stratified(labels, 40, np.random.default_rng(1))).all()
    assert (first != draw_stratified(labels, 40, np.random.default_rng(2))).any()
