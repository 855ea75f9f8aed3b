"""Read CIFAR-10's pickled batches without running anything that a pickle may ask for.

``pickle.load`` runs whatever a file names. The batches need four things only (a byte array, its
type, and a string), so this reader knows these and refuses every other name.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdopt.errors import DataError


def read_batch(path: Path) -> dict[str, Any]:
    """The dict of one batch file, made of lists, numbers, strings and uint8 arrays only.

    Args:
        path: A pickle of any protocol; strings of Python 2 are read as Latin-1, as torchvision
            does.

    Raises:
        DataError: Not a pickle, truncated, asks for anything but a byte array, or is no dict.
    """
    try:
        with path.open("rb") as stream:
            value = _BatchUnpickler(stream, encoding="latin1").load()
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


def _byte_dtype(code: str, *_: object) -> np.dtype[np.uint8]:
    """Stands in for ``numpy.dtype``: no other type, so no objects can come out of an array.

    It drops the flags ``align`` and ``copy`` too, that Python 2 wrote as numbers, about which
    numpy >= 2.4 warns.
    """
    if code not in ("u1", "|u1"):
        raise pickle.UnpicklingError(f"array of type {code!r}, only bytes ('u1') are allowed")
    return np.dtype(np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, with which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}, only 'latin1' is allowed")
    return text.encode("latin1")


# numpy's two makers of arrays, taken from what it writes itself rather than from private modules
_RECONSTRUCT: Any = np.empty(0, np.uint8).__reduce__()[0]
_FROM_BUFFER: Any = np.empty(0, np.uint8).__reduce_ex__(5)[0]

_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _byte_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _latin1,
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
