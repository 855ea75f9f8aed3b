"""Data sets that are folders of images, ``train/<class>/*`` and ``test/<class>/*``: CINIC-10, and
your own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.sources.base import RawDataset, expand_path, find_data
from kdopt.data.sources.image_files import decode_images
from kdopt.errors import DataError
from kdopt.shown import format_count

CINIC10_FOLDERS = ("CINIC-10", "cinic-10", "cinic10", "")
CIFAR_PREFIX = "cifar10-"
"""File names of the images that CINIC-10 took from CIFAR-10 start so."""

_CINIC10_FIXES = (
    "fetch CINIC-10.tar.gz from https://datashare.ed.ac.uk/handle/10283/3192 and unpack it",
    "data.root = the folder with its train, valid and test",
)

BOTH = ("train", "test")
VALIDATION_NAMES = ("validation", "valid", "val", "dev")
"""What people call a folder of validation images."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_folder(settings: DataSettings) -> RawDataset:
    """Images of the user, grey when all of them are, else RGB.

    Args:
        settings: Uses ``root`` and ``image_size``.

    Raises:
        DataError: No root, a folder that is missing or empty, or a file that is no image.
    """
    if settings.root is None:
        raise DataError(
            f"data.name = {settings.name!r} without data.root; set data.root to a folder that has "
            "train/<class>/ and test/<class>/ with image files"
        )
    return read_class_folders(settings.name, expand_path(settings.root), settings.image_size)


def read_class_folders(
    name: str,
    root: Path,
    image_size: int,
    channels: int | None = None,
    skip_prefix: str | None = None,
) -> RawDataset:
    """Read ``root/train`` and ``root/test``; classes and files in the order of their names.

    Args:
        name: Data set name, for messages.
        root: Folder with ``train`` and ``test``.
        image_size: Side in pixels, >= 1; other images are resized.
        channels: 1, 3, or ``None`` to decide by the images.
        skip_prefix: Leave out files whose name starts so.

    Raises:
        DataError: As :func:`read_folder`.
    """
    train = _list_split(root / "train", skip_prefix)
    test = _list_split(root / "test", skip_prefix)
    if train.keys() != test.keys():
        odd = sorted(train.keys() ^ test.keys())
        raise DataError(
            f"{root}: class {odd[0]!r} is in only one of train and test; both need the same "
            "class folders"
        )
    if len(train) < 2:
        raise DataError(
            f"{root / 'train'}: {format_count(len(train), 'class folder')}; at least 2 are needed"
        )
    splits = [list(split.values()) for split in (train, test)]
    files = [file for split in splits for paths in split for file in paths]
    images = decode_images(root, files, image_size, channels)
    train_labels, test_labels = (
        np.repeat(np.arange(len(split), dtype=np.int64), [len(paths) for paths in split])
        for split in splits
    )
    n_train = len(train_labels)
    return RawDataset(
        name, images[:n_train], train_labels, images[n_train:], test_labels, tuple(train)
    )


def read_cinic10(settings: DataSettings) -> RawDataset:
    """CINIC-10: CIFAR-10's classes with images of ImageNet added, 90,000 per split, RGB.

    Its valid split is not used. Source: L. N. Darlow et al., CINIC-10 is not ImageNet or
    CIFAR-10, arXiv:1810.03505.

    Args:
        settings: Uses ``root``, ``image_size`` and ``drop_cifar``.

    Raises:
        DataError: The folders are missing or empty, or a file is damaged.
    """
    root = find_data(settings, CINIC10_FOLDERS, _has_all_splits, _CINIC10_FIXES)
    skip = CIFAR_PREFIX if settings.drop_cifar else None
    return read_class_folders(
        settings.name, root, settings.image_size, channels=3, skip_prefix=skip
    )


def _has_all_splits(root: Path) -> bool:
    return all((root / split).is_dir() for split in ("train", "valid", "test"))


def _list_split(split: Path, skip_prefix: str | None) -> dict[str, list[Path]]:
    """Image files by class; sorted, because a file system lists in any order."""
    if not split.is_dir():
        raise DataError(
            f"{split}: no such folder; data.root must have train/<class>/ and test/<class>/ with "
            "image files"
        )
    listed = list_class_folders(split, skip_prefix)
    empty = next((name for name, files in listed.items() if not files), None)
    if empty is not None:
        raise DataError(
            f"{split / empty}: no image to read ({', '.join(SUFFIXES)}); every class needs at "
            "least one in train and in test, or take the folder away from both"
        )
    return listed


def list_class_folders(root: Path, skip_prefix: str | None = None) -> dict[str, list[Path]]:
    """The image files of each folder in ``root``, both in the order of their names."""
    classes = [p for p in _list_entries(root) if p.is_dir()]
    return {folder.name: _list_images(folder, skip_prefix) for folder in classes}


def list_skipped(root: Path, splits: Sequence[str] = BOTH) -> list[str]:
    """What folders hold and nobody reads, a sentence for each reason.

    Hidden files are no part of a data set, and not named.

    Args:
        root: A folder.
        splits: Those in it that hold class folders; ``.`` is itself.
    """
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    notes = [
        f"{root / name} is not read: validation images are drawn from train "
        "(data.validation_fraction); put its images into train, or all into a file of arrays"
        for name in VALIDATION_NAMES
        if tuple(splits) == BOTH and (root / name).is_dir()
    ]
    for split in [root / name for name in splits]:
        for folder in _list_entries(split) if split.is_dir() else []:
            if not folder.is_dir():
                found["file", " beside the class folders"].append(folder)
                continue
            for file in _list_entries(folder):
                if file.is_dir():
                    found["folder", " within class folders"].append(file)
                elif file.suffix.lower() not in SUFFIXES:
                    ending = file.suffix.lower()
                    found["file", f" {ending}" if ending else " without an ending"].append(file)
    return notes + [
        f"{format_count(len(files), f'{what}{which} is', f'{what}s{which} are')} not read, such as "
        f"{files[0]}; images are files in a class folder that end in {', '.join(SUFFIXES)}"
        for (what, which), files in sorted(found.items())
    ]


def _list_images(folder: Path, skip_prefix: str | None) -> list[Path]:
    files = [
        file
        for file in _list_entries(folder)
        if file.suffix.lower() in SUFFIXES
        and not (skip_prefix and file.name.startswith(skip_prefix))
    ]
    lost = next((file for file in files if file.is_symlink() and not file.exists()), None)
    if lost is not None:
        raise DataError(
            f"{lost}: this link leads nowhere (to {lost.readlink()}); bring the file, or remove "
            "the link"
        )
    return files


def _list_entries(folder: Path) -> list[Path]:
    """What is in a folder, in the order of the names, hidden entries left out."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read: {error.strerror}; change its permissions, or take it away"
        ) from error
