"""Sets of torchvision by name, from files in the exact layout that torchvision reads."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.data_settings import TORCHVISION_SETS, DataSettings, is_data_name
from kdopt.data.datasets import read_dataset
from kdopt.data.sources import torchvision_sets
from kdopt.errors import DataError
from tests.data.test_fashion_mnist import write_fashion


@pytest.mark.parametrize("name", ["MNIST", "KMNIST", "FashionMNIST"])
def test_idx_files_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    arrays = write_fashion(tmp_path / name / "raw", zipped=False)
    data = read_dataset(DataSettings(f"torchvision:{name}", root=str(tmp_path)), 0)
    assert np.array_equal(data.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert len(data.class_names) == 10 and data.train_images.flags.writeable


def test_image_files_are_resized_and_a_missing_test_split_is_drawn(tmp_path: Path) -> None:
    for label, kind in enumerate(("Forest", "River")):
        folder = tmp_path / "eurosat" / "2750" / kind
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = np.full((16, 16, 3), 100 * label + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = DataSettings("torchvision:EuroSAT", root=str(tmp_path), image_size=8)
    data = read_dataset(settings, 0)
    assert data.shape == (3, 8, 8) and data.class_names == ("Forest", "River")
    assert np.bincount(data.test_labels).tolist() == [2, 2]
    values = np.concatenate([data.train_images, data.test_images])[:, 0, 0, 0]
    assert sorted(values.tolist()) == [*range(8), *range(100, 108)]
    # PostScript is run by Ghostscript where Pillow may choose the format.
    (tmp_path / "eurosat" / "2750" / "Forest" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(DataError, match=r"0\.png: cannot be decoded"):
        read_dataset(settings, 0)


def write_cifar100(folder: Path, labels: list[int]) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)
    for name in ("train", "test"):
        batch = {"data": pixels, "fine_labels": labels, "coarse_labels": [0] * 6}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"fine_label_names": ["apple", "bear", "cloud"], "coarse_label_names": ["x"]}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    return pixels


def test_cifar100_is_read_with_its_fine_labels_and_no_pickle_runs(tmp_path: Path) -> None:
    pixels = write_cifar100(tmp_path / "cifar-100-python", [0, 1, 2, 2, 1, 0])
    settings = DataSettings("torchvision:CIFAR100", root=str(tmp_path), checksum="none")
    data = read_dataset(settings, 0)
    assert np.array_equal(data.train_images.reshape(6, -1), pixels)
    assert data.test_labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert data.class_names == ("apple", "bear", "cloud")
    with pytest.raises(DataError, match="md5 is"):
        read_dataset(replace(settings, checksum="published"), 0)
    hostile = b"cos\nsystem\n(S'touch ran'\ntR."
    (tmp_path / "cifar-100-python" / "train").write_bytes(hostile)
    with pytest.raises(DataError, match=r"asks for os\.system"):
        read_dataset(settings, 0)
    assert not Path("ran").exists()


def test_labels_of_cifar100_are_checked(tmp_path: Path) -> None:
    write_cifar100(tmp_path, [0, 1, 2, 2, 1, 3])
    settings = DataSettings("torchvision:CIFAR100", root=str(tmp_path), checksum="none")
    with pytest.raises(DataError, match=r"label 3 of image 5 is outside 0\.\.2"):
        read_dataset(settings, 0)


def test_files_that_are_not_there_are_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def refuse(self: object) -> None:
        raise AssertionError("it was about to be downloaded")

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", refuse)
    settings = DataSettings("torchvision:KMNIST", root=str(tmp_path))
    with pytest.raises(DataError, match="finds it in none of these folders") as raised:
        read_dataset(settings, 0)
    assert str(tmp_path) in str(raised.value) and "download=True" in str(raised.value)


def test_only_listed_sets_have_names() -> None:
    assert set(torchvision_sets.FORMS_OF) | {"CIFAR10", "CIFAR100"} == set(TORCHVISION_SETS)
    assert is_data_name("torchvision:SVHN") and is_data_name("hf:x")
    for name in ("torchvision:ImageNet", "torchvision:os", "torchvision:", "hf:", "os:system"):
        assert not is_data_name(name)
