"""Decode image files into one array, and keep that array so that it is done only once.

CINIC-10 has 180,000 PNG files in train and test: about 40 s to decode them, 5 s to list them and
read the array back.

Pillow goes by the content of a file, not by its name, and some of its readers hand the content to
other programs (PostScript to Ghostscript, which runs it). So it is told which formats to try.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kdopt.data.sources.base import get_cache_folder
from kdopt.errors import DataError
from kdopt.files import open_input
from kdopt.shown import format_count

logger = logging.getLogger(__name__)

_DECODING = 1
"""Part of the cache key: raise it when the same files are to give other pixels."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
"""What a file may hold, whatever its name says: Pillow reads these by itself, with no program."""

MAX_PIXELS = 2**26
"""Of one image, 8,192 x 8,192: a file of some kilobytes can claim far more than fits in memory."""

PROGRESS_EVERY_S = 5.0
"""Seconds between two lines on how far decoding is."""

_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
_DIGEST_BYTES = hashlib.sha256().digest_size


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
    name = f"{_hash_key(root, files, image_size, channels)}.pixels"
    cached = _find_cache(name)
    images = None
    if cached is not None:
        images = _read_cache(cached, len(files), image_size, (channels,) if channels else (1, 3))
    if images is None:
        if channels is None:
            channels = 1 if all(_read_mode(file) in ("1", "L") for file in files) else 3
        images = np.empty((len(files), channels, image_size, image_size), np.uint8)
        next_line = time.monotonic() + PROGRESS_EVERY_S
        for index, file in enumerate(files):
            images[index] = decode_image(file, image_size, channels)
            if time.monotonic() >= next_line:
                logger.info("%s: %d of %d images decoded", root, index + 1, len(files))
                next_line = time.monotonic() + PROGRESS_EVERY_S
        if cached is not None:
            _write_cache(cached, images)
    return images


def decode_contents(where: str, contents: Sequence[bytes], image_size: int) -> NDArray[np.uint8]:
    """The same of files in memory; grey when all of them are, else RGB. Nothing is kept.

    Args:
        where: What holds them, for messages.
        contents: Each a whole file.
        image_size: Side in pixels, >= 1.

    Raises:
        DataError: See :func:`decode_images`.
    """
    files = [_NamedContent(f"{where}, row {row}", content) for row, content in enumerate(contents)]
    channels = 1 if all(_read_mode(file) in ("1", "L") for file in files) else 3
    images = np.empty((len(files), channels, image_size, image_size), np.uint8)
    for index, file in enumerate(files):
        images[index] = decode_image(file, image_size, channels)
    return images


class _NamedContent(NamedTuple):
    """An image file in memory, and what messages call it."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def _find_cache(name: str) -> Path | None:
    try:
        return locate_decoded() / name
    except DataError as error:
        logger.warning("decoded images are not kept: %s (or set KDOPT_CACHE)", error)
        return None


def locate_decoded() -> Path:
    """The folder of decoded images: a file for each data set, size and number of channels."""
    return get_cache_folder() / "decoded"


def list_decoded() -> list[Path]:
    """The files of decoded images, those that were cut off included."""
    folder = locate_decoded()
    return sorted(
        file for ending in ("*.pixels", "*.tmp") for file in folder.glob(ending) if file.is_file()
    )


def clear_decoded() -> int:
    """Remove them; how many bytes that freed."""
    freed = 0
    for file in list_decoded():
        size = file.stat().st_size
        file.unlink(missing_ok=True)
        freed += size
    return freed


def _hash_key(root: Path, files: Sequence[Path], image_size: int, channels: int | None) -> str:
    listing = []
    for file in files:
        status = file.stat()
        listing.append((file.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns))
    values = [_DECODING, str(root.resolve()), image_size, channels, listing]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _open_stream(file: Path | _NamedContent) -> BinaryIO:
    return open_input(file) if isinstance(file, Path) else io.BytesIO(file.content)


@contextmanager
def _open_image(file: Path | _NamedContent) -> Iterator[Image.Image]:
    """An image of a known format and a sane size; whatever goes wrong with it names the file."""
    try:
        with _open_stream(file) as stream, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream, formats=FORMATS) as image:
                _check_image(file, image)
                yield image
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _refuse_size(file, "far more") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{file}: cannot be decoded (it holds no image of the formats {', '.join(FORMATS)}); "
            "replace the file or take it out of the folder"
        ) from error
    except Exception as error:  # decoders of damaged files fail in any way
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(
            f"{file}: cannot be decoded ({reason}); replace the file or take it out of the folder"
        ) from error


def _check_image(file: Path | _NamedContent, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _refuse_size(file, f"{image.width:,} x {image.height:,}")
    if image.mode not in _EIGHT_BIT:
        raise DataError(
            f"{file}: pixels of mode {image.mode}; only 8 bits per channel are read, convert the "
            "file to 8 bits"
        )


def _refuse_size(file: Path | _NamedContent, found: str) -> DataError:
    return DataError(
        f"{file}: cannot be decoded (it claims {found} pixels, and {MAX_PIXELS:,} are the most); "
        "replace the file by a smaller one or take it out of the folder"
    )


def _read_mode(file: Path | _NamedContent) -> str:
    with _open_image(file) as image:
        return image.mode


def decode_image(file: Path | _NamedContent, image_size: int, channels: int) -> NDArray[np.uint8]:
    """One image, uint8 (channels, image_size, image_size); see :func:`decode_images`."""
    with _open_image(file) as image:
        # Through RGBA, as Pillow warns about a palette with transparency otherwise.
        whole = image.convert("RGBA") if "transparency" in image.info else image
        pixels = whole.convert("L" if channels == 1 else "RGB")
        if pixels.size != (image_size, image_size):
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    array = np.asarray(pixels, np.uint8)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _read_cache(
    cached: Path, n_images: int, image_size: int, channels: Sequence[int]
) -> NDArray[np.uint8] | None:
    """The pixels that were kept, if they are whole, of the right size and nobody else's."""
    try:
        with open_input(cached) as stream:
            return _load_pixels(stream, [(n_images, c, image_size, image_size) for c in channels])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("decoding again, since %s cannot be used: %s", cached, error)
        return None


def _load_pixels(
    stream: BinaryIO, shapes: Sequence[tuple[int, int, int, int]]
) -> NDArray[np.uint8]:
    status = os.fstat(stream.fileno())
    size = status.st_size - _DIGEST_BYTES
    shape = next((shape for shape in shapes if math.prod(shape) == size), None)
    if shape is None:
        raise ValueError(f"it has {format_count(status.st_size, 'byte')}")
    # What others can write, they can have written: their pixels would be trained on.
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise ValueError("others can write it")
    images: NDArray[np.uint8] = np.fromfile(stream, np.uint8, size)
    if hashlib.sha256(images.data).digest() != stream.read():
        raise ValueError("it is damaged")
    return images.reshape(shape)


def _write_cache(cached: Path, images: NDArray[np.uint8]) -> None:
    """Pixels and their sha256, under a temporary name first: nobody may see half a file."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cached.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(images.data)
                stream.write(hashlib.sha256(images.data).digest())
            Path(temporary).replace(cached)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("decoded images are not kept, since %s cannot be written: %s", cached, error)
