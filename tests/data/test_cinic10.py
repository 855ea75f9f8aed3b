from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import read_dataset
from kdopt.data.sources.cifar10 import CIFAR10_CLASSES
from kdopt.errors import DataError


def write_cinic(root: Path) -> Path:
    """One image of ImageNet and one of CIFAR-10 per class and split; red says which."""
    for split, base in (("train", 0), ("valid", 100), ("test", 200)):
        for label, name in enumerate(CIFAR10_CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for offset, stem in ((0, "n01234567_1"), (20, f"cifar10-{split}-7")):
                colour = (base + offset + label, 1, 2)
                Image.new("RGB", (32, 32), colour).save(folder / f"{stem}.png")
    return root


def own(root: Path | None, drop_cifar: bool = False) -> DataSettings:
    return DataSettings("cinic10", None if root is None else str(root), drop_cifar=drop_cifar)


def test_train_and_test_are_the_sets_own(tmp_path: Path) -> None:
    data = read_dataset(own(write_cinic(tmp_path)), 0)
    assert data.class_names == CIFAR10_CLASSES and data.shape == (3, 32, 32)
    assert len(data.train_labels) == len(data.test_labels) == 20
    # within a class by name: CIFAR's image (offset 20) first
    assert data.train_images[:, 0, 0, 0].tolist() == [v + c for c in range(10) for v in (20, 0)]
    assert data.test_images[:, 0, 0, 0].tolist() == [v + c for c in range(10) for v in (220, 200)]


def test_images_of_cifar_can_be_dropped(tmp_path: Path) -> None:
    root = write_cinic(tmp_path)
    read_dataset(own(root), 0)  # the cache of the whole set must not be taken for this one
    data = read_dataset(own(root, drop_cifar=True), 0)
    assert data.train_images[:, 0, 0, 0].tolist() == list(range(10))
    assert data.test_images[:, 0, 0, 0].tolist() == list(range(200, 210))


def test_grey_images_are_read_as_colour(tmp_path: Path) -> None:
    root = write_cinic(tmp_path)
    for file in root.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert read_dataset(own(root), 0).shape == (3, 32, 32)


def test_the_usual_places_are_searched(own_folders: Path) -> None:
    write_cinic(own_folders / "data/CINIC-10")
    assert len(read_dataset(own(None), 0).train_labels) == 20


def test_missing_folders_name_the_places_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(own(tmp_path), 0)
    for part in (f"{tmp_path}/CINIC-10", "datashare.ed.ac.uk", "data.root = "):
        assert part in str(caught.value)
