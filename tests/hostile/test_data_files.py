"""Files of published data sets: sizes are what the header says, and no more memory is taken."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdopt.campaign.settings import DataSettings
from kdopt.data.datasets import Dataset, read_dataset
from kdopt.data.sources.cifar10 import BATCH_MD5, RECORD_BYTES
from kdopt.data.sources.fashion_mnist import CONTENT_SHA256
from kdopt.errors import DataError

IMAGES, LABELS = list(CONTENT_SHA256)[:2]
LARGEST = 300_000_000
"""Bytes of memory that a refusal may take; what is refused claims thousands of times as many."""


def read(name: str, root: Path) -> Dataset:
    return read_dataset(DataSettings(name, root=str(root), checksum="none"), 0)


def make_idx(dims: tuple[int, ...], content: bytes) -> bytes:
    return bytes([0, 0, 8, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + content


def write_fashion(root: Path) -> None:
    for name in CONTENT_SHA256:
        dims = (2, 28, 28) if "images" in name else (2,)
        content = make_idx(dims, bytes(int(np.prod(dims))))
        (root / f"{name}.gz").write_bytes(gzip.compress(content))


def write_cifar(root: Path, suffix: str) -> None:
    for name in BATCH_MD5:
        if suffix:
            (root / f"{name}.bin").write_bytes(bytes(RECORD_BYTES))
        else:
            batch = {"data": np.zeros((1, 3072), np.uint8), "labels": [0]}
            (root / name).write_bytes(pickle.dumps(batch, protocol=2))


def make_bomb(head: bytes) -> bytes:
    """A gzip file of some kilobytes that goes on for 40 GB after its head."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = press.compress(head) + press.compress(bytes(2**20)) + press.flush(zlib.Z_FULL_FLUSH)
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    more = zeros.compress(bytes(2**20)) + zeros.flush(zlib.Z_FULL_FLUSH)
    return block + more * 40_000


def write_sparse(path: Path, head: bytes) -> None:
    path.write_bytes(head)
    os.truncate(path, 2**42)


FASHION: dict[str, Callable[[Path], object]] = {
    "a bomb behind a small head": lambda root: (root / f"{IMAGES}.gz").write_bytes(
        make_bomb(make_idx((2, 28, 28), b""))
    ),
    "a bomb with a large head": lambda root: (root / f"{IMAGES}.gz").write_bytes(
        make_bomb(make_idx((2**32 - 1, 28, 28), b""))
    ),
    "a large head and nothing": lambda root: (root / f"{LABELS}.gz").write_bytes(
        gzip.compress(make_idx((2**32 - 1,), b""))
    ),
    "a sparse file": lambda root: write_sparse(root / IMAGES, make_idx((2, 28, 28), b"")),
    "a sparse file with a large head": lambda root: write_sparse(
        root / LABELS, make_idx((2**32 - 1,), b"")
    ),
    "half a gzip file": lambda root: (root / f"{IMAGES}.gz").write_bytes(b"\x1f\x8b\x08\x00"),
    "no gzip file": lambda root: (root / f"{IMAGES}.gz").write_bytes(b"x" * 100),
    "nothing": lambda root: (root / f"{IMAGES}.gz").write_bytes(b""),
    "a pipe": lambda root: os.mkfifo(root / IMAGES) or (root / f"{IMAGES}.gz").unlink(),  # type: ignore[func-returns-value]
    "a device": lambda root: (
        (root / f"{IMAGES}.gz").unlink(),
        (root / f"{IMAGES}.gz").symlink_to("/dev/zero"),
    ),
}


def refuse(name: str, root: Path) -> str:
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read(name, root)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < LARGEST
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize("spoil", FASHION.values(), ids=FASHION)
def test_a_fashion_mnist_that_is_none_is_refused_at_once(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    write_fashion(tmp_path)
    assert len(read("fashion_mnist", tmp_path).train_labels) == 2
    spoil(tmp_path)
    assert str(tmp_path) in refuse("fashion_mnist", tmp_path)


class Claim:
    """A pickle of an array of that shape, made from nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, ...]:
        return np.ndarray, self.arguments


def nest(depth: int) -> bytes:
    """A pickle of lists within lists."""
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def dump(**values: object) -> bytes:
    file = io.BytesIO()
    pickle.Pickler(file, 2).dump(values)
    return file.getvalue()


CIFAR: dict[str, bytes] = {
    "an array of 3 TB": dump(data=Claim((2**30, 3072), np.dtype(np.uint8)), labels=[0]),
    "an array of 300 GB": dump(data=Claim((10**8, 3072), np.dtype(np.uint8)), labels=[0]),
    "a negative array": dump(data=Claim((-1, 3072), np.dtype(np.uint8)), labels=[0]),
    "deep lists": nest(100_000),
    "a text of 4 GB": b"\x80\x02T\xff\xff\xff\x7f.",
    "a text of 2^63": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a memo of 2^31": b"\x80\x02]r\xff\xff\xff\x7f.",
    "no labels": dump(data=np.zeros((1, 3072), np.uint8)),
    "labels that are none": dump(data=np.zeros((1, 3072), np.uint8), labels=7),
    "a number": dump(),
    "nothing": b"",
}


@pytest.mark.parametrize("content", CIFAR.values(), ids=CIFAR)
def test_a_cifar_batch_that_is_none_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    write_cifar(tmp_path, "")
    assert len(read("cifar10", tmp_path).train_labels) == 5
    (tmp_path / "data_batch_3").write_bytes(content)
    assert "data_batch_3" in refuse("cifar10", tmp_path)


@pytest.mark.parametrize("names", [7, None, "ten", {}, [[1]] * 10 + [0], list(range(11))])
def test_class_names_that_are_none_are_refused(tmp_path: Path, names: object) -> None:
    write_cifar(tmp_path, "")
    (tmp_path / "batches.meta").write_bytes(dump(label_names=names))
    assert "names" in refuse("cifar10", tmp_path)


def test_a_sparse_batch_is_refused_at_once(tmp_path: Path) -> None:
    write_cifar(tmp_path, ".bin")
    assert len(read("cifar10", tmp_path).train_labels) == 5
    os.truncate(tmp_path / "data_batch_3.bin", RECORD_BYTES * 10**9)
    assert "are the most" in refuse("cifar10", tmp_path)
