"""What all sources share: the data set they return, and how its files are found or downloaded.

No other module of the room reads environment variables: ``KDOPT_DATA`` is a folder of data sets,
``KDOPT_CACHE`` keeps decoded images.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.shapes import TokenShape
from kdopt.errors import DataError
from kdopt.shown import format_count

logger = logging.getLogger(__name__)

TorchvisionName = Literal["FashionMNIST", "CIFAR10"]

_FORMS = tuple((np.dtype(kind).str, ndim) for kind, ndim in (("u1", 4), ("f4", 2), ("i8", 2)))
"""Type and dimensions of images, feature vectors and token ids."""


@dataclass(frozen=True, eq=False)
class RawDataset:
    """All images of one data set, before a campaign draws its images.

    Feature vectors, float32 (N, numbers), and token ids, int64 (N, length), take their place.

    Attributes:
        name: Data set name, for messages.
        train_images: uint8 (N, C, H, W).
        train_labels: int64 (N,), values in [0, n_classes).
        test_images: uint8 (M, C, H, W), same C, H and W.
        test_labels: int64 (M,), values in [0, n_classes).
        class_names: One name per class, in label order.
        validation_images: The set's own validation split, if it has one.
        validation_labels: Likewise.
        tokens: What sequences of token ids are like; ``None`` for images and vectors.

    Raises:
        DataError: Shapes, types or labels do not fit together.
    """

    name: str
    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    validation_images: NDArray[Any] | None = None
    validation_labels: NDArray[np.int64] | None = None
    tokens: TokenShape | None = None

    def __post_init__(self) -> None:
        splits = [
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ]
        if self.validation_images is not None and self.validation_labels is not None:
            splits.append(("validation", self.validation_images, self.validation_labels))
        for split, images, labels in splits:
            _check_split(f"{self.name} {split}", images, labels, len(self.class_names))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_images.shape[1:]}, test images "
                f"{self.test_images.shape[1:]}; both splits need the same channels and sides"
            )


def _check_split(
    what: str, images: NDArray[Any], labels: NDArray[np.int64], n_classes: int
) -> None:
    if (images.dtype.str, images.ndim) not in _FORMS or labels.dtype != np.int64:
        raise DataError(
            f"{what}: images are {images.dtype} {images.shape}, labels {labels.dtype}; "
            "expected uint8 (N, C, H, W) and int64 (N,)"
        )
    if labels.shape != (len(images),):
        raise DataError(
            f"{what}: {format_count(len(images), 'image')} but labels of shape "
            f"{labels.shape}; every image needs one label, so the two files do not belong together"
        )
    if not len(labels):
        raise DataError(f"{what}: no images; a split needs at least one")
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise DataError(
            f"{what}: label {labels[wrong[0]]} of image {wrong[0]} is outside 0..{n_classes - 1}; "
            "the label file is damaged or belongs to another data set"
        )


def get_cache_folder() -> Path:
    """The folder of what can be computed again: ``$KDOPT_CACHE`` or ``~/.cache/kdopt``.

    Raises:
        DataError: See :func:`expand_path`.
    """
    return expand_path(os.environ.get("KDOPT_CACHE") or "~/.cache/kdopt")


def get_download_folder(root: str | None) -> Path:
    """The folder that downloads go to: ``root``, ``$KDOPT_DATA`` or ``~/.cache/kdopt/data``."""
    return expand_path(root or os.environ.get("KDOPT_DATA") or "~/.cache/kdopt/data")


def expand_path(path: str) -> Path:
    """A path with ``~`` resolved.

    Raises:
        DataError: The user whose home is meant is not known here, or has none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; write the whole path") from error


def list_roots(root: str | None) -> list[str | None]:
    """Where a worker looks for the images of a planned campaign, best first.

    ``$KDOPT_DATA`` comes before ``data.root``: that is where the files lay on the machine that
    planned, and a worker may be on another one. That they are the same files their digest tells.

    Args:
        root: ``data.root`` of the campaign, or ``None``.
    """
    own = os.environ.get("KDOPT_DATA")
    if root is None or not own:
        return [root]
    # It may be a folder of data sets, or the very folder that data.root is elsewhere.
    return [str(Path(own) / Path(root).name), own, root]


def list_folders(root: str | None, layouts: Sequence[str]) -> list[Path]:
    """Folders to look in, best first.

    Where a root is given, no other folder is searched: falling back silently would train on other
    data than the campaign says.

    Args:
        root: ``data.root`` of the campaign, or ``None``.
        layouts: Subfolders of each folder, ``""`` for the folder itself.
    """
    if root is not None:
        folders = [expand_path(root)]
    else:
        own = os.environ.get("KDOPT_DATA")
        folders = [expand_path(own)] if own else []
        for usual in ("data", "~/.cache/kdopt/data", "/usr/share/datasets"):
            with contextlib.suppress(DataError):  # who has no home has no files there
                folders.append(expand_path(usual))
    return [folder / layout for folder in folders for layout in layouts]


def find_data(
    settings: DataSettings,
    layouts: Sequence[str],
    is_complete: Callable[[Path], bool],
    fixes: Sequence[str],
    torchvision_name: TorchvisionName | None = None,
) -> Path:
    """The first folder that holds all files of a data set; downloads them where that is asked.

    Args:
        settings: Uses ``name``, ``root`` and ``download``.
        layouts: Subfolders of each folder that may hold the files.
        is_complete: Whether a folder holds all files.
        fixes: What the user can do, for the message.
        torchvision_name: torchvision's class that can fetch the files, if there is one.

    Raises:
        DataError: Not found and not to be downloaded, or the download failed.
    """
    folders = list_folders(settings.root, layouts)
    found = next((f for f in folders if is_complete(f)), None)
    if found is None and settings.download and torchvision_name is not None:
        target = get_download_folder(settings.root)
        _download_files(torchvision_name, target)
        folders = [target / layout for layout in layouts]
        found = next((f for f in folders if is_complete(f)), None)
    if found is None:
        looked = "\n".join(f"    {f}" for f in folders)
        options = "\n".join(f"    {fix}" for fix in fixes)
        raise DataError(
            f"{settings.name}: no folder with all of its files. Looked in\n{looked}\n"
            f"  What you can do:\n{options}"
        )
    return found


def _download_files(torchvision_name: TorchvisionName, folder: Path) -> None:
    """Download into a temporary folder, then move file by file.

    Workers may download at the same time. A move is atomic, so each file is whole when it can be
    seen; the last worker replaces it by the same content.
    """
    logger.warning("downloading %s to %s", torchvision_name, folder)
    try:
        import torchvision.datasets  # only here: it imports torch

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            # stdout carries kdopt's results only; a progress bar goes back in its line, which the
            # guarded stderr of the command line (`kdopt.cli.process`) lets no text do.
            bar = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
            with contextlib.redirect_stdout(bar), contextlib.redirect_stderr(bar):
                getattr(torchvision.datasets, torchvision_name)(temporary, download=True)
            for file in Path(temporary).rglob("*"):
                if file.is_file():
                    target = folder / file.relative_to(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(target)
    except Exception as error:  # a network library may raise anything; all of it means "failed"
        raise DataError(
            f"{torchvision_name}: the download to {folder} failed ({type(error).__name__}: "
            f"{error}); fetch the files on a machine with network access and point data.root or "
            "$KDOPT_DATA at them"
        ) from error
