"""The images of a campaign that a teacher without a model must answer, as files for any tool."""

from __future__ import annotations

import csv
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdopt.campaign.settings import Campaign
from kdopt.data.datasets import Dataset
from kdopt.data.image_keys import hash_images
from kdopt.data.splits import Splits
from kdopt.errors import DataError

INDEX = "index.csv"


class AskedImages(NamedTuple):
    """Images without labels, each once, whatever number of times the data have it.

    Attributes:
        keys: Hexadecimal, see :func:`kdopt.data.image_keys.hash_images`.
        images: (n, C, H, W), as kdopt reads them.
        needed: (n,) bool: students are distilled on it. The others, of validation and test, only
            say how good the teacher is.
    """

    keys: tuple[str, ...]
    images: NDArray[Any]
    needed: NDArray[np.bool_]


def find_transfer_positions(campaign: Campaign, splits: Sequence[Splits]) -> NDArray[np.int64]:
    """Sorted positions of the training images that any student is distilled on.

    Args:
        campaign: Who learns, and how many public images there are.
        splits: Of its partitions.
    """
    own = [each.train[student] for each in splits for student in campaign.learners]
    public = [each.public[: campaign.transfer.n_public] for each in splits]
    return np.unique(np.concatenate([*own, *public]))


def list_asked_images(
    campaign: Campaign, dataset: Dataset, splits: Sequence[Splits]
) -> AskedImages:
    """The images that students are distilled on, then those of validation and test."""
    needed = find_transfer_positions(campaign, splits)
    validation = np.unique(np.concatenate([each.validation for each in splits]))
    others = np.setdiff1d(validation, needed)
    images = np.concatenate(
        [dataset.train_images[needed], dataset.train_images[others], dataset.test_images]
    )
    first: dict[str, int] = {}
    for number, key in enumerate(hash_images(images)):
        first.setdefault(key.hex(), number)
    kept = np.array(list(first.values()), np.int64)
    return AskedImages(tuple(first), images[kept], kept < len(needed))


def check_output(output: Path) -> None:
    """Refuse to write over what is there: it may be what somebody made of the images.

    Raises:
        DataError: It is there.
    """
    if os.path.lexists(output):
        raise DataError(f"--output {output}: it is there already; give another name, or remove it")


def write_asked_images(asked: AskedImages, output: Path) -> None:
    """Write images to an npz file, or as PNG files with an index to a new folder.

    Args:
        asked: The images.
        output: With the suffix ``.npz`` a file, else a folder.

    Raises:
        DataError: See :func:`check_output`, or these are no images that PNG can hold.
    """
    check_output(output)
    if output.suffix != ".npz" and (
        asked.images.dtype != np.uint8 or asked.images.ndim != 4 or asked.images.shape[1] == 2
    ):
        raise DataError(f"--output {output}: these are no images; give the name of an .npz file")
    # Under another name until all of it is there.
    part = output.with_name(f".{uuid.uuid4().hex}{output.suffix}")
    try:
        if output.suffix == ".npz":
            np.savez(part, keys=np.array(asked.keys), images=asked.images, needed=asked.needed)
        else:
            _write_folder(asked, part)
        part.rename(output)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


def _write_folder(asked: AskedImages, folder: Path) -> None:
    folder.mkdir()
    with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["key", "file", "needed"])
        for key, image, needed in zip(asked.keys, asked.images, asked.needed, strict=True):
            pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
            Image.fromarray(pixels).save(folder / f"{key}.png")
            lines.writerow([key, f"{key}.png", str(bool(needed)).lower()])
