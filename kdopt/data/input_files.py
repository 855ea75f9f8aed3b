"""Files of inputs and labels: npz without pickle, safetensors, Parquet. Nothing in them runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.data.array_files import read_arrays
from kdopt.data.tables import read_table
from kdopt.errors import DataError

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
