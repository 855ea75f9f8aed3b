"""Decode image files into one array, and keep that array so that it is done only once.

CINIC-10 has 180,000 PNG files in train and test: about 40 s to decode them, 5 s to list them and
read the array back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdopt.data.sources.base import get_cache_folder
from kdopt.errors import DataError

logger = logging.getLogger(__name__)

_DECODING = 1
"""Part of the cache key: raise it when the same files are to give other pixels."""

_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")


def decode_images(
    root: Path, files: Sequence[Path], image_size: int, channels: int | None
) -> NDArray[np.uint8]:
    """All images, in the given order, as one array.

    An image of another size is resized (bilinear, without keeping its proportions). Transparency
    is dropped.

    Args:
        root: Folder that holds the files.
        files: The image files.
        image_size: Side in pixels, >= 1.
        channels: 1 (grey) or 3 (RGB); ``None`` takes 1 when every image is grey, else 3.

    Returns:
        uint8 (N, C, image_size, image_size).

    Raises:
        DataError: A file is no image, damaged, or has more than 8 bits per channel.
    """
    cached = get_cache_folder() / "decoded" / f"{_hash_key(root, files, image_size, channels)}.npy"
    images = _read_cache(cached, len(files), image_size)
    if images is None:
        if channels is None:
            channels = 1 if all(_read_mode(file) in ("1", "L") for file in files) else 3
        images = np.empty((len(files), channels, image_size, image_size), np.uint8)
        for index, file in enumerate(files):
            images[index] = _decode_one(file, image_size, channels)
        _write_cache(cached, images)
    return images


def _hash_key(root: Path, files: Sequence[Path], image_size: int, channels: int | None) -> str:
    listing = []
    for file in files:
        status = file.stat()
        listing.append((file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns))
    values = [_DECODING, str(root.resolve()), image_size, channels, listing]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _open_image(file: Path) -> Image.Image:
    try:
        image = Image.open(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _make_error(file, error) from error
    if image.mode not in _EIGHT_BIT:
        image.close()
        raise DataError(
            f"{file}: pixels of mode {image.mode}; only 8 bits per channel are read, convert the "
            "file to 8 bits"
        )
    return image


def _read_mode(file: Path) -> str:
    with _open_image(file) as image:
        return image.mode


def _decode_one(file: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    with _open_image(file) as image:
        try:
            # Through RGBA, as Pillow warns about a palette with transparency otherwise.
            whole = image.convert("RGBA") if "transparency" in image.info else image
            pixels = whole.convert("L" if channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _make_error(file, error) from error
    if pixels.size != (image_size, image_size):
        pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    array = np.asarray(pixels, np.uint8)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _make_error(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file}: cannot be decoded ({type(error).__name__}: {error}); replace the file or take it "
        "out of the folder"
    )


def _read_cache(cached: Path, n_images: int, image_size: int) -> NDArray[np.uint8] | None:
    try:
        images: NDArray[np.uint8] = np.load(cached, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("decoding again, since %s cannot be read: %s", cached, error)
        return None
    sides = (image_size, image_size)
    if images.dtype != np.uint8 or len(images) != n_images or images.shape[2:] != sides:
        logger.warning("decoding again, since %s is %s %s", cached, images.dtype, images.shape)
        return None
    return images


def _write_cache(cached: Path, images: NDArray[np.uint8]) -> None:
    """Write under a temporary name first: other workers must never see half a file."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cached.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.save(stream, images, allow_pickle=False)
            Path(temporary).replace(cached)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("decoded images are not kept, since %s cannot be written: %s", cached, error)
