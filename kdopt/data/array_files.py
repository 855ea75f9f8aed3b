"""Arrays in files of others: npz without pickles, safetensors, Parquet; no claim is believed.

A file says how large its arrays are before it holds them, so sizes are checked first: some
kilobytes of zip file may unpack to all memory there is.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from kdopt.data.tables import read_table
from kdopt.errors import DataError
from kdopt.files import is_safetensors, read_input
from kdopt.shown import format_count

MAX_ARRAY_BYTES = 8 * 2**30
"""Of a file, unpacked."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError),
    *(ValueError, TypeError, SyntaxError, RecursionError, KeyError, AttributeError),
)
"""What Python's readers of zip files and of NumPy's headers raise on damaged ones."""


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of these names; those that the file lacks are left out, others are not read.

    Args:
        path: What ``numpy.savez`` or ``safetensors.numpy.save_file`` wrote.
        names: Which; all of them where none are given.

    Raises:
        OSError: It cannot be read, is no ordinary file, or is larger.
        ValueError: It is no such file, is damaged, holds pickled objects, or claims to be larger
            than :data:`MAX_ARRAY_BYTES`.
    """
    content = read_input(path, MAX_ARRAY_BYTES)
    if content.startswith(b"\x93NUMPY"):
        raise ValueError("it is one array without a name (npy)")
    if content.startswith(b"\x80") and not is_safetensors(content):
        raise ValueError("it is a pickle, which may run code, and was not read")
    if content.startswith(b"PK"):
        return _read_zip(content, names)
    try:
        found = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"it is neither npz nor safetensors ({reason})") from error
    return {name: found[name] for name in found if names is None or name in names}


def _read_zip(content: bytes, names: Collection[str] | None) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    name = ""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wanted = [
                e
                for e in archive.infolist()
                if names is None or e.filename.removesuffix(".npy") in names
            ]
            size = sum(entry.file_size for entry in wanted)
            if size > MAX_ARRAY_BYTES:
                raise _TooLargeError(
                    f"it unpacks to {format_count(size, 'byte')}, and {MAX_ARRAY_BYTES:,} are read"
                )
            for entry in wanted:
                name = entry.filename.removesuffix(".npy")
                if name in found:
                    raise ValueError("it is there twice")
                found[name] = _parse_npy(archive.read(entry))
    except _TooLargeError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        where = f"array '{name}': " if name else ""
        raise ValueError(f"{where}{reason}") from error
    return found


class _TooLargeError(ValueError):
    pass


def _parse_npy(content: bytes) -> NDArray[Any]:
    # By hand: NumPy makes an array of the size that the header claims before it reads one.
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of NumPy's format is not read")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are pickled, and was not read")
    start, count = file.tell(), math.prod(shape)
    if count * dtype.itemsize != len(content) - start or not all(side >= 0 for side in shape):
        raise ValueError("it is damaged: its header claims another size than it has")
    order = "F" if by_columns else "C"
    return np.frombuffer(content, dtype, count, start).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


ARRAY_SUFFIXES = (".npz", ".safetensors", ".parquet")
CLASS_NAMES = "class_names"
"""What the array of the classes' names is called."""


class ArrayFile(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: By name. Texts are arrays of text; sequences of several lengths are filled up.
        class_names: In the order of the labels, where the file says them.
    """

    arrays: Mapping[str, NDArray[Any]]
    class_names: tuple[str, ...] = ()


def read_array_file(
    path: Path, columns: Sequence[str] = (), padding: int | None = None, image_size: int = 32
) -> ArrayFile:
    """All arrays of a file.

    Args:
        path: A file that ends in one of :data:`ARRAY_SUFFIXES`.
        columns: Parquet: the columns with inputs and labels; empty for the usual names.
        padding: Parquet: what fills up short sequences of token ids.
        image_size: Parquet: side in pixels that images are resized to.

    Raises:
        DataError: It cannot be read, holds pickled objects, or claims more than is sane.
    """
    if path.suffix not in ARRAY_SUFFIXES:
        raise DataError(
            f"{path}: its name ends in '{path.suffix}'; arrays are read from files that end in "
            f"{', '.join(ARRAY_SUFFIXES)}"
        )
    if path.suffix == ".parquet":
        return ArrayFile(*read_table([path], columns, padding, image_size))
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot be read: {reason}; save arrays of numbers, all rows of one length, "
            "with numpy.savez_compressed or safetensors.numpy.save_file"
        ) from error
    names = np.ravel(arrays.pop(CLASS_NAMES, np.array([], np.str_)))
    return ArrayFile(arrays, tuple(map(str, names)))
