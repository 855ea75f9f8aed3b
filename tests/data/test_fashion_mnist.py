from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import read_dataset
from kdopt.data.sources.fashion_mnist import read_idx
from kdopt.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_fashion(folder: Path, zipped: bool, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Twenty training and ten test images in the layout of Fashion-MNIST."""
    rng = np.random.default_rng(seed)
    arrays = {}
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("train", 20), ("t10k", 10)):
        arrays[f"{split}-images-idx3-ubyte"] = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        arrays[f"{split}-labels-idx1-ubyte"] = (np.arange(size) % 10).astype(np.uint8)
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def own(root: Path | None = None, **changes: object) -> DataSettings:
    values: dict[str, object] = {"checksum": "none", "root": None if root is None else str(root)}
    return DataSettings("fashion_mnist", **{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw", "fashion-mnist"])
def test_files_are_read_as_they_were_written(tmp_path: Path, zipped: bool, layout: str) -> None:
    arrays = write_fashion(tmp_path / layout, zipped)
    data = read_dataset(own(tmp_path), 0)
    assert (data.train_images == arrays["train-images-idx3-ubyte"][:, None]).all()
    assert (data.train_labels == arrays["train-labels-idx1-ubyte"]).all()
    assert (data.test_images == arrays["t10k-images-idx3-ubyte"][:, None]).all()
    assert (data.test_labels == arrays["t10k-labels-idx1-ubyte"]).all()
    assert data.shape == (1, 28, 28) and data.n_classes == 10 and data.train_images.flags.writeable


@pytest.mark.parametrize("place", ["data", "work/data", "home/.cache/kdopt/data"])
def test_the_usual_places_are_searched(own_folders: Path, place: str) -> None:
    write_fashion(own_folders / place / "FashionMNIST/raw", zipped=True)
    assert len(read_dataset(own(), 0).train_labels) == 20


def test_a_root_is_the_only_place_searched(own_folders: Path, tmp_path: Path) -> None:
    write_fashion(own_folders / "data", zipped=True)
    with pytest.raises(DataError, match="no folder with all of its files") as caught:
        read_dataset(own(tmp_path), 0)
    assert str(tmp_path) in str(caught.value) and str(own_folders) not in str(caught.value)


def test_missing_files_name_the_places_and_the_ways_out(tmp_path: Path) -> None:
    write_fashion(tmp_path, zipped=True)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(DataError) as caught:
        read_dataset(own(tmp_path), 0)
    message = str(caught.value)
    assert f"{tmp_path}/FashionMNIST/raw" in message
    for way in ("apt install dataset-fashion-mnist", "data.download = true", "data.root = "):
        assert way in message


def test_other_images_under_the_same_names_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path, zipped=True)
    with pytest.raises(DataError, match=r'sha256 .*\(MNIST uses the same file names\).*"none"'):
        read_dataset(own(tmp_path, checksum="published"), 0)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (NAMES[0], lambda c: c[:-1], r"15,695 bytes, but its header \(.*\) asks for 15,696"),
        (NAMES[0], lambda c: c + b"x", r"15,697 bytes, but its header"),
        (NAMES[0], lambda c: c[:9], r"9 bytes, but its header alone has 16"),
        (NAMES[0], lambda c: b"", r"starts with bytes \(none\)"),
        (NAMES[0], lambda c: b"\x89PNG" + c[4:], r"starts with bytes 89 50 4e 47, an IDX file"),
        (NAMES[0], lambda c: c[:2] + b"\x0d" + c[3:], r"starts with bytes 00 00 0d 03"),
        (NAMES[1], lambda c: c[:3] + b"\x03" + c[4:], r"starts with bytes 00 00 08 03"),
        (NAMES[0], lambda c: idx_bytes(np.zeros((20, 14, 56), np.uint8)), r"items are \(14, 56\)"),
        (NAMES[1], lambda c: idx_bytes(np.zeros(19, np.uint8)), r"20 images but labels .*\(19,\)"),
        (NAMES[3], lambda c: c[:-1] + b"\x0a", r"test: label 10 of image 9 is outside 0\.\.9"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, name: str, damage: Damage, message: str) -> None:
    write_fashion(tmp_path, zipped=False)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=message):
        read_dataset(own(tmp_path), 0)


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda c: b"no gzip", lambda c: c[:20] + b"\xff" * 9 + c[29:]],
)
def test_damaged_gzip_is_refused(tmp_path: Path, damage: Damage) -> None:
    write_fashion(tmp_path, zipped=True)
    path = tmp_path / f"{NAMES[0]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"ubyte\.gz: (cannot be read|items are)"):
        read_dataset(own(tmp_path), 0)


def test_a_checksum_that_fits_is_accepted(tmp_path: Path) -> None:
    import hashlib

    content = idx_bytes(np.arange(5, dtype=np.uint8))
    (tmp_path / "labels").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert read_idx(tmp_path / "labels", (), digest).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_published_files_are_accepted_and_known() -> None:
    data = read_dataset(DataSettings("fashion_mnist", root=str(DEBIAN)), 0)
    assert data.train_images.shape == (60000, 1, 28, 28) and len(data.test_labels) == 10000
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    # the values that everybody normalises Fashion-MNIST with
    assert data.mean == pytest.approx((0.2860,), abs=5e-5)
    assert data.std == pytest.approx((0.3530,), abs=5e-5)
