from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import read_dataset
from kdopt.data.sources import image_files
from kdopt.errors import DataError


def own(root: Path | None, **changes: object) -> DataSettings:
    values: dict[str, object] = {"root": None if root is None else str(root), "image_size": 8}
    return DataSettings("folder", **{**values, **changes})  # type: ignore[arg-type]


def write_image(path: Path, value: int, mode: str = "RGB", size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = {"RGB": (value, 0, 255), "RGBA": (value, 0, 255, 0), "L": value, "1": value > 0}
    Image.new(mode, (size, size), colour.get(mode, value)).save(path)


def write_tree(root: Path, mode: str = "RGB") -> Path:
    """Two classes, in train 2 and 1 images, in test one each; red says which."""
    write_image(root / "train/ant/b.png", 2, mode)
    write_image(root / "train/ant/a.png", 1, mode)
    write_image(root / "train/bee/c.png", 3, mode)
    write_image(root / "test/bee/e.png", 5, mode)
    write_image(root / "test/ant/d.png", 4, mode)
    return root


def test_images_come_in_the_order_of_class_and_name(tmp_path: Path) -> None:
    data = read_dataset(own(write_tree(tmp_path)), 0)
    assert data.class_names == ("ant", "bee") and data.shape == (3, 8, 8)
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.train_labels.tolist() == [0, 0, 1]
    assert data.test_images[:, 0, 0, 0].tolist() == [4, 5]
    assert data.test_labels.tolist() == [0, 1]
    assert data.train_images[0, :, 3, 5].tolist() == [1, 0, 255]  # red, green and blue planes


def test_rows_and_columns_keep_their_places(tmp_path: Path) -> None:
    write_tree(tmp_path)
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "train/ant/0.png")
    first = read_dataset(own(tmp_path), 0).train_images[0]
    assert (first.transpose(1, 2, 0) == pixels).all()


def test_grey_images_have_one_channel_unless_one_has_colour(tmp_path: Path) -> None:
    write_tree(tmp_path, "L")
    assert read_dataset(own(tmp_path), 0).shape == (1, 8, 8)
    write_image(tmp_path / "test/ant/z.png", 9, "RGB")
    data = read_dataset(own(tmp_path), 0)
    assert data.shape == (3, 8, 8)
    assert data.train_images[1, :, 0, 0].tolist() == [2, 2, 2]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "PNG"])
def test_every_image_format_is_read(tmp_path: Path, suffix: str) -> None:
    write_tree(tmp_path, "L")
    write_image(tmp_path / f"train/ant/z.{suffix}", 200, "L" if suffix != "webp" else "RGB")
    data = read_dataset(own(tmp_path), 0)
    assert len(data.train_labels) == 4


def test_an_image_of_another_size_is_resized(tmp_path: Path) -> None:
    write_tree(tmp_path, "L")
    write_image(tmp_path / "train/ant/z.png", 77, "L", size=50)
    assert (read_dataset(own(tmp_path), 0).train_images[2] == 77).all()


@pytest.mark.parametrize("mode", ["RGBA", "P", "1"])
def test_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    write_tree(tmp_path)
    write_image(tmp_path / "train/ant/z.png", 1, mode)
    if mode == "P":
        image = Image.open(tmp_path / "train/ant/z.png")
        image.save(tmp_path / "train/ant/z.png", transparency=b"\x00" * 4)
    assert read_dataset(own(tmp_path), 0).shape == (3, 8, 8)


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    write_tree(tmp_path)
    (tmp_path / "train/ant/notes.txt").write_text("x")
    (tmp_path / "train/ant/._a.png").write_bytes(b"x")
    (tmp_path / "train/.hidden").mkdir()
    (tmp_path / "train/README.png").write_bytes(b"x")
    assert len(read_dataset(own(tmp_path), 0).train_labels) == 3


def test_without_a_root_there_is_nothing_to_read() -> None:
    with pytest.raises(DataError, match=r"'folder' without data\.root; set data\.root to a folder"):
        read_dataset(own(None), 0)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/train: no such folder"):
        read_dataset(own(tmp_path), 0)
    write_image(tmp_path / "train/ant/a.png", 1)
    with pytest.raises(DataError, match=f"{tmp_path}/test: no such folder"):
        read_dataset(own(tmp_path), 0)
    write_image(tmp_path / "test/ant/a.png", 1)
    with pytest.raises(DataError, match="1 class folder; at least 2"):
        read_dataset(own(tmp_path), 0)
    write_image(tmp_path / "test/bee/a.png", 1)
    with pytest.raises(DataError, match="class 'bee' is in only one of train and test"):
        read_dataset(own(tmp_path), 0)
    (tmp_path / "train/bee").mkdir()
    with pytest.raises(DataError, match="train/bee: no image to read"):
        read_dataset(own(tmp_path), 0)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path)
    path = tmp_path / "train/bee/z.png"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bee/z\.png: cannot be decoded"):
        read_dataset(own(tmp_path), 0)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"bee/z\.png: cannot be decoded"):
        read_dataset(own(tmp_path), 0)


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path)
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "train/ant/z.png")
    with pytest.raises(DataError, match=r"z\.png: pixels of mode I;16; only 8 bits"):
        read_dataset(own(tmp_path), 0)


def cache_files(own_folders: Path) -> list[Path]:
    return sorted((own_folders / "cache/decoded").iterdir())


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(image_files, "_open_image", fail)


def test_images_are_decoded_once(
    tmp_path: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_dataset(own(write_tree(tmp_path)), 0)
    assert [f.suffix for f in cache_files(own_folders)] == [".pixels"]
    no_decoding(monkeypatch)
    assert read_dataset(own(tmp_path), 0).sha256() == first.sha256()


def test_changed_files_or_settings_are_decoded_again(tmp_path: Path, own_folders: Path) -> None:
    write_tree(tmp_path)
    first = read_dataset(own(tmp_path), 0)
    write_image(tmp_path / "train/ant/a.png", 99)
    os.utime(tmp_path / "train/ant/a.png", ns=(1, 1))  # the same size in bytes, another time
    assert read_dataset(own(tmp_path), 0).train_images[0, 0, 0, 0] == 99
    assert read_dataset(own(tmp_path, image_size=4), 0).shape == (3, 4, 4)
    assert len(cache_files(own_folders)) == 3  # one for each, none in place of another
    assert first.train_images[0, 0, 0, 0] == 1


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_cache_is_decoded_again(
    tmp_path: Path, own_folders: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    first = read_dataset(own(write_tree(tmp_path)), 0)
    (cached,) = cache_files(own_folders)
    whole = cached.read_bytes()
    if content is None:
        cached.write_bytes(np.zeros((5, 3, 9, 9), np.uint8).tobytes())
    else:
        cached.write_bytes(content)
    assert read_dataset(own(tmp_path), 0).sha256() == first.sha256()
    assert "decoding again" in caplog.text
    assert cached.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("KDOPT_CACHE", str(tmp_path / "file"))
    assert len(read_dataset(own(write_tree(tmp_path / "images")), 0).train_labels) == 3
    assert "decoded images are not kept" in caplog.text


def test_a_failed_write_leaves_no_file_behind(
    tmp_path: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    read_dataset(own(write_tree(tmp_path)), 0)
    assert cache_files(own_folders) == []
