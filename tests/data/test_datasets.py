from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import SOURCES, measure_channels, read_dataset
from kdopt.data.sources.base import RawDataset
from kdopt.errors import DataError

DIGITS = DataSettings("digits")


def test_digits_have_a_test_split_of_their_own() -> None:
    data = read_dataset(DIGITS, 0)
    assert data.shape == (1, 8, 8) and data.n_classes == 10
    assert len(data.train_labels) == 1348 and len(data.test_labels) == 449
    assert data.train_images.min() == 0 and data.train_images.max() == 255
    assert read_dataset(DIGITS, 1).sha256() == data.sha256()  # not a matter of the campaign
    from sklearn.datasets import load_digits

    both = np.concatenate([data.train_images, data.test_images]).reshape(-1, 64)
    original = np.round(load_digits().data * 255 / 16)
    assert sorted(map(bytes, both)) == sorted(map(bytes, original.astype(np.uint8)))


def test_a_share_is_stratified_and_drawn_by_the_seed() -> None:
    settings = replace(DIGITS, train_size=200, test_size=100)
    first, same, other = (read_dataset(settings, seed) for seed in (1, 1, 2))
    share = np.bincount(read_dataset(DIGITS, 1).train_labels) * (200 / 1348)
    assert (np.abs(np.bincount(first.train_labels) - share) < 1).all()
    assert len(first.train_labels) == 200 and len(first.test_labels) == 100
    assert first.sha256() == same.sha256() != other.sha256()
    assert not np.array_equal(first.test_images, other.test_images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_size": 1349},
            r"train_size = 1349, but digits has 1,348 train images; .* 1\.\.1348",
        ),
        ({"test_size": 450}, r"test_size = 450, but digits has 449 test images"),
        ({"train_size": 0}, "train_size = 0, but"),
        ({"name": "mnist"}, "'mnist' is unknown; choose one of digits, fashion_mnist, cifar10"),
    ],
)
def test_what_is_not_there_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(replace(DIGITS, **changes), 0)


def test_the_digest_sees_every_image_and_label() -> None:
    data = read_dataset(replace(DIGITS, train_size=20, test_size=20), 0)
    digests = {data.sha256()}
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        changed = getattr(data, field).copy()
        changed.flat[-1] ^= 1
        digests.add(replace(data, **{field: changed}).sha256())
    digests.add(replace(data, train_images=data.train_images.reshape(-1, 1, 4, 16)).sha256())
    assert len(digests) == 6


def test_channel_statistics_are_those_of_the_scaled_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 2, 2)).astype(np.uint8)
    mean, std = measure_channels(images)
    scaled = images / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 2, 3)))
    assert std == pytest.approx(scaled.std(axis=(0, 2, 3)))


def test_a_constant_channel_can_be_divided_by() -> None:
    images = np.stack([np.full((2, 2), 7), np.array([[0, 255], [0, 255]])])[None].astype(np.uint8)
    mean, std = measure_channels(images)
    assert mean == pytest.approx((7 / 255, 0.5)) and std == pytest.approx((1.0, 0.5))


def raw(**changes: Any) -> RawDataset:
    values: dict[str, Any] = {
        "name": "x",
        "train_images": np.zeros((2, 1, 3, 3), np.uint8),
        "train_labels": np.array([0, 1], np.int64),
        "test_images": np.zeros((1, 1, 3, 3), np.uint8),
        "test_labels": np.array([1], np.int64),
        "class_names": ("a", "b"),
    }
    return RawDataset(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.array([0, 2], np.int64)}, r"x train: label 2 of image 1 .* 0\.\.1"),
        ({"train_labels": np.array([-1, 0], np.int64)}, "label -1 of image 0"),
        ({"test_labels": np.zeros(2, np.int64)}, r"x test: 1 image but labels of shape \(2,\)"),
        ({"train_labels": np.zeros(2, np.int32)}, "labels int32; expected"),
        ({"train_images": np.zeros((2, 1, 3, 3))}, "images are float64"),
        ({"train_images": np.zeros((2, 3, 3), np.uint8)}, r"images are uint8 \(2, 3, 3\)"),
        ({"test_images": np.zeros((1, 3, 3, 3), np.uint8)}, r"test images \(3, 3, 3\); both"),
        (
            {"test_images": np.zeros((0, 1, 3, 3), np.uint8), "test_labels": np.zeros(0, np.int64)},
            "x test: no images",
        ),
    ],
)
def test_sources_cannot_hand_over_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    assert raw().name == "x"
    with pytest.raises(DataError, match=message):
        raw(**changes)


@pytest.mark.parametrize("name", SOURCES)
def test_loading_needs_no_torch(name: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from kdopt.data import datasets, partition, splits\n"
        "from kdopt.errors import DataError\n"
        "from kdopt.campaign.settings import DataSettings\n"
        "assert 'sklearn' not in sys.modules\n"
        "try:\n"
        f"    datasets.read_dataset(DataSettings({name!r}, root={str(tmp_path)!r}), 0)\n"
        "except DataError:\n"
        "    pass\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
