"""Fashion-MNIST in the IDX format, plain or gzipped.

Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747; the format is described
at http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.sources.base import RawDataset, find_data
from kdopt.errors import DataError
from kdopt.files import open_input
from kdopt.shown import format_count

FASHION_MNIST_FOLDERS = ("FashionMNIST/raw", "fashion-mnist", "")
"""torchvision's folder, Debian's folder, or the files themselves."""

FASHION_MNIST_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

# sha256 of the files' content, decompressed: the published md5s are of the authors' .gz files, and
# a package that compresses again (Debian's dataset-fashion-mnist) changes those but not this.
# Computed from Debian's package; its data given back the header that Debian stripped (the file
# name and a time of 2017-08-31) have the md5s that torchvision publishes, all four.
CONTENT_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

_UBYTE = 0x08
LARGEST_CONTENT = 2**30
"""Bytes of one file, decompressed: twenty times those of Fashion-MNIST."""

_FASHION_MNIST_FIXES = (
    "apt install dataset-fashion-mnist  (Debian, Ubuntu)",
    "data.download = true  (fetches it through torchvision)",
    "data.root = a folder with train-images-idx3-ubyte(.gz) and its three companions",
)


def read_fashion_mnist(settings: DataSettings) -> RawDataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images, 1x28x28, ten classes.

    Args:
        settings: Uses ``root``, ``download`` and ``checksum``.

    Raises:
        DataError: The files are missing, damaged or not Fashion-MNIST.
    """
    folder = find_data(
        settings, FASHION_MNIST_FOLDERS, _is_complete, _FASHION_MNIST_FIXES, "FashionMNIST"
    )
    verify = settings.checksum == "published"
    arrays = {
        name: read_idx(
            _find_file(folder, name),
            item_shape=(28, 28) if "images" in name else (),
            sha256=digest if verify else None,
        )
        for name, digest in CONTENT_SHA256.items()
    }
    return RawDataset(
        settings.name,
        arrays["train-images-idx3-ubyte"][:, None],
        arrays["train-labels-idx1-ubyte"].astype(np.int64),
        arrays["t10k-images-idx3-ubyte"][:, None],
        arrays["t10k-labels-idx1-ubyte"].astype(np.int64),
        FASHION_MNIST_CLASSES,
    )


def read_idx(
    path: Path, item_shape: tuple[int, ...], sha256: str | None = None
) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: A plain file, or a gzipped one when the name ends in ``.gz``.
        item_shape: Shape of one item: ``()`` for labels, (H, W) for images.
        sha256: Expected digest of the content (decompressed); ``None`` leaves it unchecked.

    Returns:
        uint8 (N, *item_shape).

    Raises:
        DataError: Unreadable, not IDX, another type or shape, too short or long, other digest.
    """
    ndim = 1 + len(item_shape)
    start = 4 + 4 * ndim
    try:
        with _open_content(path) as stream:
            head = stream.read(start)
            dims = _read_dims(path, head, item_shape)
            expected = start + math.prod(dims)
            if expected > LARGEST_CONTENT:
                raise DataError(
                    f"{path}: its header {dims} asks for {expected:,} bytes, and "
                    f"{LARGEST_CONTENT:,} are the most; it is damaged, fetch it again"
                )
            # One byte more than it says, and not what follows: a gzip file of some kilobytes may
            # hold more than the memory does.
            content = head + stream.read(math.prod(dims) + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path}: cannot be read ({reason}); the file is truncated, damaged or not readable, "
            "fetch it again"
        ) from error
    if len(content) != expected:
        least = "at least " * (len(content) > expected)
        raise DataError(
            f"{path}: {least}{format_count(len(content), 'byte')}, but its header {dims} asks for "
            f"{expected:,}; the file is truncated or damaged, fetch it again"
        )
    if sha256 is not None and (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"{path}: content has sha256 {actual}, Fashion-MNIST has {sha256}; the file is damaged "
            "or of another data set (MNIST uses the same file names). Fetch it again, or set "
            'data.checksum = "none" if you made the file yourself'
        )
    # A copy: frombuffer's array is read-only, about which torch warns.
    return np.frombuffer(content, np.uint8, offset=start).reshape(dims).copy()


def _read_dims(path: Path, head: bytes, item_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The number of items and their shape, as the header of an IDX file says."""
    ndim = 1 + len(item_shape)
    magic = bytes([0, 0, _UBYTE, ndim])
    if head[:4] != magic:
        raise DataError(
            f"{path}: starts with bytes {head[:4].hex(' ') or '(none)'}, an IDX file of "
            f"{ndim}-dimensional unsigned bytes with {magic.hex(' ')}; it is not the file its "
            "name says, fetch it again"
        )
    if len(head) < 4 + 4 * ndim:
        raise DataError(
            f"{path}: {format_count(len(head), 'byte')}, but its header alone has {4 + 4 * ndim}; "
            "the file is truncated, fetch it again"
        )
    dims = tuple(int(d) for d in np.frombuffer(head, ">u4", count=ndim, offset=4))
    if dims[1:] != item_shape:
        raise DataError(
            f"{path}: items are {dims[1:]}, expected {item_shape}; it is not the file its name says"
        )
    return dims


@contextmanager
def _open_content(path: Path) -> Iterator[BinaryIO]:
    with open_input(path) as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast("BinaryIO", stream)


def _find_file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _is_complete(folder: Path) -> bool:
    return all(_find_file(folder, name).is_file() for name in CONTENT_SHA256)
