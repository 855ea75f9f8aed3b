"""Sets of torchvision by name, from files in the exact layout that torchvision reads."""

from __future__ import annotations

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
    assert set(torchvision_sets.FORMS_OF) | {"CIFAR10"} == set(TORCHVISION_SETS)
    assert is_data_name("torchvision:SVHN") and is_data_name("hf:x")
    for name in ("torchvision:ImageNet", "torchvision:os", "torchvision:", "hf:", "os:system"):
        assert not is_data_name(name)
