"""Any data set as folders of images: ``root/train/<class>/*`` and ``root/test/<class>/*``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdopt.campaign.settings import DataSettings
from kdopt.data.sources.decoded import decode
from kdopt.data.sources.places import expand
from kdopt.data.sources.raw import Raw
from kdopt.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read_class_folders(settings: DataSettings) -> Raw:
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
    return read(settings.name, expand(settings.root), settings.image_size)


def read(
    name: str,
    root: Path,
    image_size: int,
    channels: int | None = None,
    skip_prefix: str | None = None,
) -> Raw:
    """Read ``root/train`` and ``root/test``; classes and files in the order of their names.

    Args:
        name: Data set name, for messages.
        root: Folder with ``train`` and ``test``.
        image_size: Side in pixels, >= 1; other images are resized.
        channels: 1, 3, or ``None`` to decide by the images.
        skip_prefix: Leave out files whose name starts so.

    Raises:
        DataError: As :func:`read_class_folders`.
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
        raise DataError(f"{root / 'train'}: {len(train)} class folder; at least 2 are needed")
    splits = [list(split.values()) for split in (train, test)]
    files = [file for split in splits for paths in split for file in paths]
    images = decode(root, files, image_size, channels)
    train_labels, test_labels = (
        np.repeat(np.arange(len(split), dtype=np.int64), [len(paths) for paths in split])
        for split in splits
    )
    n_train = len(train_labels)
    return Raw(name, images[:n_train], train_labels, images[n_train:], test_labels, tuple(train))


def _list_split(split: Path, skip_prefix: str | None) -> dict[str, list[Path]]:
    """Image files by class; sorted, because a file system lists in any order."""
    if not split.is_dir():
        raise DataError(
            f"{split}: no such folder; data.root must have train/<class>/ and test/<class>/ with "
            "image files"
        )
    classes = sorted(p for p in split.iterdir() if p.is_dir() and not p.name.startswith("."))
    listed = {folder.name: _list_images(folder, skip_prefix) for folder in classes}
    empty = next((name for name, files in listed.items() if not files), None)
    if empty is not None:
        raise DataError(
            f"{split / empty}: no image to read ({', '.join(SUFFIXES)}); every class needs at "
            "least one in train and in test, or take the folder away from both"
        )
    return listed


def _list_images(folder: Path, skip_prefix: str | None) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES
        and not file.name.startswith(".")
        and not (skip_prefix and file.name.startswith(skip_prefix))
    )
