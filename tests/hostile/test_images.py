"""Image folders: a file is read as an image of a known format, or refused by its name, at once."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from kdopt.campaign.settings import DataSettings
from kdopt.data.datasets import Dataset, read_dataset
from kdopt.data.sources.image_files import FORMATS, MAX_PIXELS
from kdopt.errors import DataError

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
(MARK) (w) file closefile
{} loop
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDOPT_CACHE", str(tmp_path / "cache"))


def write_folder(root: Path) -> Path:
    """Two classes with an image each; returns where a third image would lie."""
    for split in ("train", "test"):
        for value, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (value, 1, 2)).save(root / split / name / "a.png")
    return root / "train/ant/x.png"


def read(root: Path) -> Dataset:
    return read_dataset(DataSettings("folder", root=str(root), image_size=8), 0)


def make_chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def make_png(width: int, height: int) -> bytes:
    """A PNG that claims a size, with the pixels of nearly none."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = make_chunk(b"IHDR", head) + make_chunk(b"IDAT", zlib.compress(bytes(10)))
    return b"\x89PNG\r\n\x1a\n" + chunks + make_chunk(b"IEND", b"")


HOSTILE = {
    "postscript": POSTSCRIPT,
    "postscript with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 30, 99, 0, 0, 0, 0, 0)
    + POSTSCRIPT,
    "a PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "a Windows metafile": struct.pack("<IHHHHHHI", 0x9AC6CDD7, 0, 0, 0, 8, 8, 1440, 0)
    + bytes(40),
    "an icon": b"\x00\x00\x01\x00\x01\x00" + struct.pack("<BBBBHHII", 8, 8, 0, 0, 1, 32, 40, 22)
    + bytes(400),
    "a Photoshop file": b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3) + bytes(64),
    "a FITS file": b"SIMPLE  =                    T" + bytes(2850),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch w'\ntR.",
    "a gzip file": gzip.compress(bytes(1000)),
    "HTML": b"<!doctype html><title>404</title>",
    "nothing": b"",
    "zeros": bytes(4096),
    "a PNG of 16 gigapixels": make_png(2**17, 2**17),
    "a PNG one row above the limit": make_png(MAX_PIXELS // 64, 65),
    "a PNG without its pixels": make_png(64, 64),
    "a PNG of no width": make_png(0, 8),
    "a PNG with a huge text": b"\x89PNG\r\n\x1a\n"
    + make_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + make_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26)))
    + make_chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    + make_chunk(b"IEND", b""),
    "half a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xdb",
    "half a GIF": b"GIF89a\xff\xff\xff\xff\x80",
    "half a TIFF": b"II*\x00\xff\xff\xff\x7f",
    "a BMP of negative size": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, -9, -9, 1,
                                                   24, 0, 0, 0, 0, 0, 0),
    "half a WebP": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_image_is_refused_by_name_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    # A Ghostscript that would leave a mark.
    program = tmp_path / "bin/gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    path = write_folder(tmp_path / "images")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train/ant/x\.png: cannot be decoded .*; replace"):
        read(tmp_path / "images")
    assert not (tmp_path / "ran").exists()


def test_only_formats_that_pillow_reads_by_itself_are_tried() -> None:
    assert set(FORMATS) == {"PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"}


@pytest.mark.parametrize("format_", FORMATS)
def test_an_image_is_read_by_its_content_whatever_its_name_says(
    tmp_path: Path, format_: str
) -> None:
    if format_ == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    path = write_folder(tmp_path)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path, format_)
    assert read(tmp_path).train_images[1].mean(axis=(1, 2)).argmax() == 0


def test_a_large_image_within_the_limit_is_read(tmp_path: Path) -> None:
    path = write_folder(tmp_path)
    Image.new("1", (MAX_PIXELS // 2048, 2048)).save(path)
    assert len(read(tmp_path).train_labels) == 3


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def link_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_fifo, link_device, Path.mkdir])
def test_what_is_no_ordinary_file_is_refused_and_not_waited_for(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(write_folder(tmp_path))
    with pytest.raises(DataError, match=r"x\.png: cannot be decoded \(it is a \w+"):
        read(tmp_path)


def poison(path: Path) -> None:
    """Other pixels of the right number, as somebody else would leave them."""
    content = bytearray(path.read_bytes())
    content[0] ^= 0xFF
    path.write_bytes(bytes(content))


def grow(path: Path) -> None:
    os.truncate(path, 2**40)


def swap_for_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_pickle(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{}], object), allow_pickle=True)


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("spoil", [poison, grow, swap_for_pipe, swap_for_pickle, open_to_all])
def test_a_cache_that_others_could_have_changed_is_not_believed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil,  # type: ignore[no-untyped-def]
) -> None:
    write_folder(tmp_path / "images")
    first = read(tmp_path / "images")
    (cached,) = (tmp_path / "cache/decoded").iterdir()
    spoil(cached)
    assert read(tmp_path / "images").sha256() == first.sha256()
    assert "decoding again" in caplog.text
    caplog.clear()
    assert read(tmp_path / "images").sha256() == first.sha256()
    assert not caplog.text  # it was written anew
