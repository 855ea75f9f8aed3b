"""CIFAR-10 in its two published forms, pickled batches and fixed-size binary records, or as image
files; CIFAR-100.

``pickle.load`` runs whatever a file names. The batches need four things only (a byte array, its
type, and a string), so the reader here knows these and refuses every other name.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html describes both forms.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.sources.base import RawDataset, find_data
from kdopt.data.sources.folder import read_class_folders
from kdopt.errors import DataError
from kdopt.files import open_input
from kdopt.shown import format_count

CIFAR10_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin", "", "cifar10", "CIFAR-10")
"""The pickled form first: it alone has published checksums of its files."""

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# md5 of the pickled batches, from torchvision.datasets.CIFAR10
BATCH_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR100_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
BATCH_SIZE = 10_000
CLASS_SIZES = {"train": 5_000, "test": 1_000}
SIDE = 32
PIXELS = 3 * SIDE * SIDE
RECORD_BYTES = 1 + PIXELS
"""Bytes of a binary record: the label, then the red, green and blue planes."""

LARGEST_BATCH = 2**30
"""Bytes of one file: thirty times a published batch."""

_LARGEST_NAMES = 10_000
_CIFAR10_FIXES = (
    "data.download = true  (fetches it through torchvision)",
    "data.root = a folder with cifar-10-batches-py or cifar-10-batches-bin, or with image files in "
    "train/airplane, ..., test/truck",
)
_Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read_cifar10(settings: DataSettings) -> RawDataset:
    """CIFAR-10: 50,000 training and 10,000 test images, 3x32x32, ten classes.

    The binary form and image files (``train/airplane/*.png`` and so on) have no published
    checksums: with ``checksum = "published"`` the numbers of images are checked, with ``"none"``
    there may be any number. Image files may be compressed with loss, so their pixels need not be
    the published ones; the digest that a campaign keeps tells such data sets apart.

    Args:
        settings: Uses ``root``, ``download`` and ``checksum``.

    Raises:
        DataError: The files are missing, damaged or not CIFAR-10.
    """
    folder = find_data(
        settings,
        CIFAR10_FOLDERS,
        lambda f: _has_batches(f, "") or _has_batches(f, ".bin") or _has_image_files(f),
        _CIFAR10_FIXES,
        "CIFAR10",
    )
    published = settings.checksum == "published"
    if not (_has_batches(folder, "") or _has_batches(folder, ".bin")):
        return _read_image_files(settings, folder, published)
    read = _read_pickled if _has_batches(folder, "") else _read_binary
    *train, test = (read(folder / name, published) for name in BATCH_MD5)
    return RawDataset(
        settings.name,
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        *test,
        _class_names(folder),
    )


def read_cifar100(settings: DataSettings) -> RawDataset:
    """CIFAR-100 with its hundred fine labels: 50,000 training and 10,000 test images, 3x32x32.

    Args:
        settings: Uses ``root`` and ``checksum``.

    Raises:
        DataError: The files are missing, damaged or not CIFAR-100.
    """
    folder = find_data(
        settings,
        ("cifar-100-python", ""),
        lambda f: all((f / name).is_file() for name in CIFAR100_MD5),
        ("data.root = a folder with cifar-100-python (its files train, test and meta)",),
    )
    published = settings.checksum == "published"
    if published:
        for name in CIFAR100_MD5:
            _check_md5(folder / name)
    names = read_pickled_batch(folder / "meta").get("fine_label_names")
    if not isinstance(names, list) or len(set(map(str, names))) != len(names) or len(names) < 2:
        raise DataError(f"{folder / 'meta'}: it names no classes; fetch it again")
    train, test = (
        _read_pickled(folder / name, False, "fine_labels", len(names)) for name in ("train", "test")
    )
    return RawDataset(settings.name, *train, *test, tuple(map(str, names)))


def _has_batches(folder: Path, suffix: str) -> bool:
    return all((folder / f"{name}{suffix}").is_file() for name in BATCH_MD5)


def _has_image_files(folder: Path) -> bool:
    # CINIC-10 has the same classes, and a third split.
    splits = (folder / split / name for split in ("train", "test") for name in CIFAR10_CLASSES)
    return not (folder / "valid").exists() and all(split.is_dir() for split in splits)


def _read_image_files(settings: DataSettings, folder: Path, published: bool) -> RawDataset:
    data = read_class_folders(settings.name, folder, SIDE, channels=3)
    if data.class_names != CIFAR10_CLASSES:
        (odd, *_) = sorted(set(data.class_names) - set(CIFAR10_CLASSES))
        raise DataError(f"{folder}: class folder {odd!r} is none of CIFAR-10's; take it away")
    for split, labels in (("train", data.train_labels), ("test", data.test_labels)):
        expected = CLASS_SIZES[split]
        for name, n in zip(data.class_names, np.bincount(labels), strict=True):
            if published and n != expected:
                raise DataError(
                    f"{folder / split / name}: {format_count(n, 'image')}, CIFAR-10 has "
                    f"{expected:,}; fetch them again, or set data.checksum = 'none' if you left "
                    "some out"
                )
    return data


def _read_pickled(
    path: Path, published: bool, key: str = "labels", n_classes: int = len(CIFAR10_CLASSES)
) -> _Batch:
    if published:
        _check_md5(path)
    batch = read_pickled_batch(path)
    data, labels = batch.get("data"), batch.get(key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXELS,):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else repr(type(data))
        raise DataError(f"{path}: 'data' is {found}; expected uint8 (N, {PIXELS})")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: '{key}' is no list of whole numbers; a CIFAR batch has one")
    if len(labels) != len(data):
        raise DataError(
            f"{path}: {format_count(len(data), 'image')} but "
            f"{format_count(len(labels), 'label')}; the file is damaged, fetch it again"
        )
    _check_labels(path, np.array(labels), n_classes)
    # A copy: some pickles give a read-only array, about which torch warns.
    return data.reshape(-1, 3, 32, 32).copy(), np.array(labels, np.int64)


def _read_binary(stem: Path, published: bool) -> _Batch:
    path = stem.with_name(f"{stem.name}.bin")
    with _open_batch(path) as stream:
        content = np.fromfile(stream, np.uint8)
    if not len(content) or len(content) % RECORD_BYTES:
        raise DataError(
            f"{path}: {format_count(len(content), 'byte')}, no whole number of records of "
            f"{RECORD_BYTES:,} bytes; the file is truncated or of another data set, fetch it again"
        )
    records = content.reshape(-1, RECORD_BYTES)
    if published and len(records) != BATCH_SIZE:
        raise DataError(
            f"{path}: {format_count(len(records), 'image')}, a published batch has "
            f"{BATCH_SIZE:,}; fetch it again, or set data.checksum = 'none' if you made the file "
            "yourself"
        )
    labels = records[:, 0].astype(np.int64)
    _check_labels(path, labels)
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def _check_md5(path: Path) -> None:
    with _open_batch(path) as stream:
        # The published checksum guards against damage, not against forgery.
        actual = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    expected = (BATCH_MD5 | CIFAR100_MD5)[path.name]
    if actual != expected:
        raise DataError(
            f"{path}: md5 is {actual}, CIFAR's is {expected}; the file is damaged, "
            'fetch it again, or set data.checksum = "none" if you made it yourself'
        )


def _check_labels(
    path: Path, labels: NDArray[np.int64], n_classes: int = len(CIFAR10_CLASSES)
) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise DataError(
            f"{path}: label {labels[wrong[0]]} of image {wrong[0]} is outside 0..{n_classes - 1}; "
            "the file is damaged or of another data set"
        )


def _class_names(folder: Path) -> tuple[str, ...]:
    """The names in the meta file, which the user's own files may change, or the published ones."""
    pickled, text = folder / "batches.meta", folder / "batches.meta.txt"
    if _has_batches(folder, "") and pickled.is_file():
        listed = read_pickled_batch(pickled).get("label_names", [])
        names = [str(name) for name in listed] if isinstance(listed, list) else []
    elif text.is_file():
        with _open_batch(text) as stream:
            lines = stream.read(_LARGEST_NAMES).decode("utf-8", "replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    else:
        return CIFAR10_CLASSES
    if len(names) != len(CIFAR10_CLASSES):
        raise DataError(
            f"{folder}: the meta file names {format_count(len(names), 'class')}; CIFAR-10 has 10"
        )
    return tuple(names)


def read_pickled_batch(path: Path) -> dict[str, object]:
    """The dict of one batch file, made of lists, numbers, strings and uint8 arrays only.

    Args:
        path: A pickle of any protocol; strings of Python 2 are read as Latin-1, as torchvision
            does.

    Raises:
        DataError: Not a pickle, truncated, asks for anything but a byte array, or is no dict.
    """
    try:
        with _open_batch(path) as stream:
            # From memory: a file's own reader takes as much of it as the pickle claims to need.
            content = io.BytesIO(stream.read())
        value = _BatchUnpickler(content, encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise DataError(
            f"{path}: cannot be read as a pickled CIFAR batch ({type(error).__name__}: {error}); "
            "the file is truncated or damaged, fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}; a CIFAR batch is a dict")
    return value


@contextmanager
def _open_batch(path: Path) -> Iterator[BufferedReader]:
    """A file of the set, if it is an ordinary one of a sane size."""
    try:
        with open_input(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > LARGEST_BATCH:
                raise DataError(
                    f"{path}: {format_count(size, 'byte')}, and {LARGEST_BATCH:,} are the most; "
                    "it is damaged, fetch it again"
                )
            yield stream
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; fetch it again") from error


def _byte_dtype(code: str, *_: object) -> np.dtype[np.uint8]:
    """Stands in for ``numpy.dtype``: no other type, so no objects can come out of an array.

    It drops the flags ``align`` and ``copy`` too, that Python 2 wrote as numbers, about which
    numpy >= 2.4 warns.
    """
    if code not in ("u1", "|u1"):
        raise pickle.UnpicklingError(f"array of type {code!r}, only bytes ('u1') are allowed")
    return np.dtype(np.uint8)


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, with which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}, only 'latin1' is allowed")
    return text.encode("latin1")


class _Array:
    """Stands in for ``numpy.ndarray``, which is named and never called: it makes any size."""

    def __init__(self, *_: object) -> None:
        raise pickle.UnpicklingError("an array without content, only whole ones are allowed")


def _make_empty_array(_kind: object, shape: object, _code: object) -> NDArray[np.uint8]:
    """Stands in for numpy's own: an empty array, into which the content is put."""
    if shape != (0,):
        raise pickle.UnpicklingError(f"an array of shape {shape} without content")
    return np.empty(0, np.uint8)


# Taken from what numpy writes itself rather than from a private module.
_FROM_BUFFER: Any = np.empty(0, np.uint8).__reduce_ex__(5)[0]

_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _byte_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _make_empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _make_empty_array,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _encode_latin1,
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(
                f"a pickled CIFAR batch asks for {module}.{name}; only byte arrays are allowed, "
                "and nothing was run. Do not trust where the file came from; fetch CIFAR-10 again"
            ) from None
