from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kdopt.campaign.settings import (
    NO_PUBLIC_SETS,
    Campaign,
    DataSettings,
    PartitionSettings,
    TrainSettings,
    TransferSettings,
)
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.data.splits import Splits, counts, from_arrays, make_splits, to_arrays
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
    with pytest.raises(PartitionError, match=r"1800 images leave none of the 1800"):
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
    assert counts(splits.train, LABELS, 10).tolist() == [[45] * 10] * 4
    parts = (np.array([0, 1]), np.array([2], np.int64))
    assert counts(parts, np.array([0, 0, 2]), 4).tolist() == [[2, 0, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("participants", [4, 101])
def test_splits_survive_saving(participants: int, tmp_path: Path) -> None:
    train = tuple(np.array([i, i + 200], np.int64) for i in range(participants))
    splits = Splits(train, np.array([500], np.int64), np.array([9, 7], np.int64))
    save_file(to_arrays(splits), tmp_path / "splits.safetensors")
    read = from_arrays(load_file(tmp_path / "splits.safetensors"))
    assert [p.tolist() for p in read.train] == [p.tolist() for p in train]
    assert read.validation.tolist() == [500]
    assert read.public.tolist() == [9, 7]
    assert {"train.00", "train.03", "validation"} <= to_arrays(splits).keys()


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
        from_arrays({key: array for key, array in arrays.items() if array is not None})


def test_a_partition_that_the_campaign_has_not_is_named() -> None:
    with pytest.raises(PartitionError, match=r"no partition 'specialized', but uniform, quantity"):
        make_splits(CAMPAIGN, "specialized", LABELS, 10)


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(PartitionError, match=r"labels run from 0 to 9, but there are 9 classes"):
        make_splits(CAMPAIGN, "uniform", LABELS, 9)


def test_a_validation_set_without_images_is_refused() -> None:
    with pytest.raises(PartitionError, match=r"validation_fraction = 0\.1 of 3 training images"):
        make_splits(CAMPAIGN, "uniform", LABELS[:3], 10)
