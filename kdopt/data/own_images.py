"""Images, vectors and token ids beside the data set's: participants' own, and public ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.participants import ParticipantSettings
from kdopt.campaign.shapes import Shape, TokenShape, describe_shape, get_kind
from kdopt.data.array_checks import Part, check_labels, make_items, number_labels
from kdopt.data.array_files import ARRAY_SUFFIXES
from kdopt.data.sources.arrays import NO_SPLIT, fill_up, read_parts
from kdopt.data.sources.base import expand_path, list_roots
from kdopt.data.sources.folder import SUFFIXES, list_class_folders
from kdopt.data.sources.image_files import decode_images
from kdopt.errors import DataError


def read_own_images(
    participant: ParticipantSettings,
    class_names: Sequence[str],
    shape: Shape,
    settings: DataSettings,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The images of a participant's folder, ``<class>/*``, or what its file of arrays holds.

    A participant may lack classes. Images in a folder are resized to the campaign's.

    Args:
        participant: With ``data``.
        class_names: Of the campaign's data set; the folders are called so.
        shape: Of the campaign's images, vectors or sequences.
        settings: How a file of arrays is to be read.

    Returns:
        Inputs like those of the campaign, and int64 (n,) in the order of ``class_names``.

    Raises:
        DataError: The folder or file is missing, or holds other classes or shapes, or nothing.
    """
    assert participant.data is not None
    who = f"participant '{participant.name}'"
    # A worker may be on another machine than the one that planned.
    folder = _find_data(who, participant.data, reversed(list_roots(participant.data)))
    if folder.is_file():
        part = _read_own_file(folder, settings)
        items = _make_alike(part, shape, settings)
        return items, number_labels(part, check_labels(part), class_names)
    if get_kind(shape) != "images":
        raise DataError(
            f"{who}: {folder} is a folder, and the data set has {describe_shape(shape)}; give a "
            f"file of arrays ({', '.join(ARRAY_SUFFIXES)}) with such and 'labels'"
        )
    channels, height, width = shape
    if height != width:
        raise DataError(
            f"participant '{participant.name}': own images are made square, and those of the data "
            f"set are {height}x{width}; choose a data set of square images"
        )
    listed = {name: files for name, files in list_class_folders(folder).items() if files}
    unknown = sorted(listed.keys() - set(class_names))
    if unknown:
        raise DataError(
            f"{folder / unknown[0]}: the data set has no class '{unknown[0]}'; its classes are "
            f"{', '.join(class_names)}. Name the folders of participant '{participant.name}' so"
        )
    if not listed:
        raise DataError(
            f"{folder}: no class folder with images; participant '{participant.name}' needs "
            f"<class>/ with image files, the classes being {', '.join(class_names)}"
        )
    files = [file for paths in listed.values() for file in paths]
    images = decode_images(folder, files, height, channels)
    numbers = [class_names.index(name) for name in listed]
    labels = np.repeat(np.array(numbers, np.int64), [len(paths) for paths in listed.values()])
    return images, labels


def read_public_images(path: str, settings: DataSettings, shape: Shape) -> NDArray[Any]:
    """Public images without labels: all in a folder, whatever its folders are called, or a file.

    Args:
        path: A folder of image files, or a file of arrays.
        settings: How a file of arrays is to be read.
        shape: Of the campaign's images, vectors or sequences.

    Returns:
        Inputs like those of the campaign.

    Raises:
        DataError: There is nothing to read, or it is not like the campaign's.
    """
    # Not all of $KDOPT_DATA, whatever is in it.
    place = _find_data("transfer.public_data", path, [path, *list_roots(path)[:1]])
    if place.is_file():
        return _make_alike(_read_own_file(place, settings), shape, settings)
    if get_kind(shape) != "images":
        raise DataError(
            f"transfer.public_data: {place} is a folder, and the data set has "
            f"{describe_shape(shape)}; give a file of arrays ({', '.join(ARRAY_SUFFIXES)})"
        )
    channels, height, width = shape
    files = sorted(
        file
        for file in place.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(place).parts)
    )
    if not files or height != width:
        fault = f"those of the data set are {height}x{width}, not square" if files else "no image"
        raise DataError(
            f"transfer.public_data: {place}: {fault}; give a folder of square images "
            f"({', '.join(SUFFIXES)}), or a file of arrays ({', '.join(ARRAY_SUFFIXES)})"
        )
    return decode_images(place, files, height, channels)


def _read_own_file(path: Path, settings: DataSettings) -> Part:
    parts = read_parts(path, settings).parts
    if len(parts) > 1 or not parts.keys() <= {NO_SPLIT, "train"}:
        raise DataError(
            f"{path}: it has splits ({', '.join(parts)}), and here it is training data; give one "
            "array of inputs and, where they are needed, 'labels'"
        )
    return next(iter(parts.values()))


def _make_alike(part: Part, shape: Shape, settings: DataSettings) -> NDArray[Any]:
    kind = get_kind(shape)
    if isinstance(shape, TokenShape):
        settings = replace(settings, vocabulary=shape.vocabulary)
    if part.kind not in (None, kind):
        raise DataError(
            f"{part.where}: it holds {part.kind}, and the data set has {describe_shape(shape)}"
            "; give such"
        )
    items = make_items(part, kind, settings)
    if isinstance(shape, TokenShape) and items.shape[1] < shape.length:
        items = fill_up(items, shape.length, shape.padding)
    wanted = (shape.length,) if isinstance(shape, TokenShape) else tuple(shape)
    if items.shape[1:] != wanted:
        raise DataError(
            f"{part.where}: each is {'x'.join(map(str, items.shape[1:]))}, and the data set has "
            f"{describe_shape(shape)}; give such"
        )
    return items


def _find_data(who: str, data: str, roots: Iterable[str | None]) -> Path:
    places = [expand_path(root) for root in dict.fromkeys(roots) if root]
    # $KDOPT_DATA may be the folder that is meant, and never the file.
    fits = Path.is_file if Path(data).suffix in ARRAY_SUFFIXES else Path.is_dir
    found = next((place for place in places if fits(place)), None)
    if found is None:
        looked = ", ".join(map(str, places))
        raise DataError(
            f"{who}: there is no folder {looked}, nor such a file; give the folder of its images "
            "or a file of arrays as its data, or point $KDOPT_DATA at the folder that holds it"
        )
    return found
