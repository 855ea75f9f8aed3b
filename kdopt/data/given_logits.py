"""Teachers given by their logits: the images that one must answer, and the file of its answers."""

from __future__ import annotations

import csv
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from kdopt.campaign.participants import ABSENT, ParticipantSettings
from kdopt.campaign.settings import Campaign
from kdopt.data.array_files import read_arrays
from kdopt.data.datasets import Dataset
from kdopt.data.image_keys import KEY_BYTES, hash_images
from kdopt.data.sources.base import expand_path
from kdopt.data.splits import Splits
from kdopt.errors import ArtifactError, DataError
from kdopt.shown import format_count

LEAST_PROBABILITY = 1e-13
"""What stands for a probability of 0, whose logarithm no loss can use."""

SUM_TOLERANCE = 0.01
"""By how much probabilities may miss a sum of 1: services round them."""

SEE = "'kdopt images' lists the images and their keys"


class GivenLogits(NamedTuple):
    """The logits of a participant by position in the data set; NaN where it gave none.

    Attributes:
        train: float32 (training images, classes).
        test: float32 (test images, classes).
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32]


def read_logits(
    participant: ParticipantSettings, dataset: Dataset, needed: NDArray[np.int64]
) -> GivenLogits:
    """Read a participant's file, and find the image of each row by its key.

    Rows of images that the campaign does not have are passed over.

    Args:
        participant: With ``logits``.
        dataset: The images.
        needed: Positions of the training images that must have logits.

    Raises:
        DataError: The file cannot be read, or is not of logits, of these classes, or of these
            images.
    """
    where = f"participant '{participant.name}': logits {participant.logits}"
    try:
        keys, rows = _read_rows(participant, dataset)
    except OSError as error:
        raise DataError(
            f"{where}: {error.strerror or 'it cannot be read'}; give the path of the file"
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    row_of = {key: number for number, key in enumerate(keys)}
    if len(row_of) < len(keys):
        twice = next(key for number, key in enumerate(keys) if row_of[key] != number)
        raise DataError(
            f"{where}: it repeats {len(keys) - len(row_of):,} of its "
            f"{format_count(len(keys), 'key')}, such as {twice.hex()}; keep one row of each image"
        )
    found = GivenLogits(
        *(
            _place_rows(images, row_of, rows)
            for images in (dataset.train_images, dataset.test_images)
        )
    )
    _check_complete(where, found, dataset, needed, len(keys))
    return found


def pack_logits(logits: GivenLogits) -> bytes:
    """The content of the artifact that keeps them."""
    return safetensors.numpy.save(logits._asdict())


def parse_logits(content: bytes, dataset: Dataset) -> GivenLogits:
    """Read what :func:`pack_logits` gave.

    Raises:
        ArtifactError: It is no such file, or not of these images and classes.
    """
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"not a safetensors file ({reason})") from error
    sizes = {"train": len(dataset.train_labels), "test": len(dataset.test_labels)}
    for name, size in sizes.items():
        array = arrays.get(name)
        shape = (size, dataset.n_classes)
        if array is None or array.dtype != np.float32 or array.shape != shape:
            raise ArtifactError(f"it lacks '{name}' as float32 {shape}")
        if np.isinf(array).any():
            raise ArtifactError(f"'{name}' holds numbers that are not finite")
    return GivenLogits(arrays["train"], arrays["test"])


def _read_rows(
    participant: ParticipantSettings, dataset: Dataset
) -> tuple[list[bytes], NDArray[np.float32]]:
    """The keys, and the logits of the data set's classes: float32 (n, classes)."""
    assert participant.logits is not None
    arrays = read_arrays(expand_path(participant.logits), ("keys", "logits"))
    if missing := [name for name in ("keys", "logits") if name not in arrays]:
        raise ValueError(
            f"it has no array '{missing[0]}'; save both with "
            f"numpy.savez(FILE, keys=..., logits=...) ({SEE})"
        )
    keys, rows = _read_keys(arrays["keys"]), arrays["logits"]
    classes = _find_classes(participant, dataset)
    if rows.dtype.kind != "f":
        raise ValueError(f"logits are {rows.dtype}; they must be floats, one per class")
    if rows.ndim != 2 or rows.shape[1] != len(classes):
        raise ValueError(
            f"logits are {_format_shape(rows)}; they must be images x "
            f"{format_count(len(classes), 'class')} "
            f"({', '.join(dataset.class_names[c] for c in classes)}): for other classes, or "
            "another order, list the participant's classes"
        )
    if len(rows) != len(keys):
        raise ValueError(
            f"{format_count(len(keys), 'key')} and {format_count(len(rows), 'row')} of logits; "
            "give one per image"
        )
    if not len(rows):
        raise ValueError(f"it has no rows; give one per image ({SEE})")
    with np.errstate(over="ignore"):  # what is too large is infinite then
        rows = rows.astype(np.float32)
    if broken := int((~np.isfinite(rows)).any(axis=1).sum()):
        raise ValueError(
            f"NaN or infinity (as float32) in {broken:,} of {format_count(len(rows), 'row')}, "
            "the first of them row "
            f"{int((~np.isfinite(rows)).any(axis=1).argmax())}; look how they were computed"
        )
    return keys, _spread_classes(_take_logits(participant, rows), classes, dataset.n_classes)


def _read_keys(keys: NDArray[Any]) -> list[bytes]:
    if keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == KEY_BYTES:
        return [row.tobytes() for row in keys]
    texts: list[Any] = keys.tolist() if keys.dtype.kind in "US" and keys.ndim == 1 else []
    try:
        found = [bytes.fromhex(t.decode() if isinstance(t, bytes) else t) for t in texts]
    except ValueError:
        found = []
    if len(found) != keys.size or not all(len(key) == KEY_BYTES for key in found):
        raise ValueError(
            f"keys are {keys.dtype} {_format_shape(keys)}; they must be those of 'kdopt images', "
            f"{2 * KEY_BYTES} hexadecimal digits each (or uint8, images x {KEY_BYTES})"
        )
    return found


def _find_classes(participant: ParticipantSettings, dataset: Dataset) -> list[int]:
    names = dataset.class_names
    unknown = [name for name in participant.classes if name not in names]
    if unknown:
        raise ValueError(
            f"classes = ... '{unknown[0]}' ...: the data set has no such class; its classes are "
            f"{', '.join(names)}"
        )
    return [names.index(name) for name in participant.classes or names]


def _take_logits(
    participant: ParticipantSettings, rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    # Added up in double precision: a thousand classes rounded one by one miss 1 by more.
    sums = rows.sum(axis=1, dtype=np.float64)
    are_shares = (rows >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE)
    if participant.outputs == "probabilities":
        if not are_shares.all():
            worst = int((~are_shares).argmax())
            raise ValueError(
                f"outputs = 'probabilities': row {worst} has values from {rows[worst].min():g} to "
                f"{rows[worst].max():g} and the sum {sums[worst]:g}; probabilities are 0 or more "
                "and have the sum 1. Leave outputs out if these are logits"
            )
        return np.log(np.maximum(rows, np.float32(LEAST_PROBABILITY)))
    if are_shares.all():
        raise ValueError(
            "all rows are 0 or more and have the sum 1, as probabilities have: as logits they "
            'would say almost nothing. Add outputs = "probabilities", or give logits'
        )
    return rows


def _spread_classes(
    rows: NDArray[np.float32], classes: list[int], n_classes: int
) -> NDArray[np.float32]:
    if classes == list(range(n_classes)):
        return rows
    whole = np.repeat(rows.min(axis=1, keepdims=True) + np.float32(ABSENT), n_classes, axis=1)
    whole[:, classes] = rows
    return whole


def _place_rows(
    images: NDArray[Any], row_of: dict[bytes, int], rows: NDArray[np.float32]
) -> NDArray[np.float32]:
    numbers = np.array([row_of.get(key, -1) for key in hash_images(images)], np.int64)
    placed = np.full((len(images), rows.shape[1]), np.nan, np.float32)
    placed[numbers >= 0] = rows[numbers[numbers >= 0]]
    return placed


def _check_complete(
    where: str, found: GivenLogits, dataset: Dataset, needed: NDArray[np.int64], n_rows: int
) -> None:
    known = ~np.isnan(found.train[:, 0])
    if not known.any() and np.isnan(found.test[:, 0]).all():
        raise DataError(
            f"{where}: none of its {format_count(n_rows, 'key')} is of an image of this campaign: "
            f"they are of another data set, size or version of the images; {SEE}"
        )
    lacking = needed[~known[needed]]
    if len(lacking):
        image = dataset.train_images[lacking[:1]]
        label = int(dataset.train_labels[lacking[0]])
        shown = "no label" if label < 0 else f"class {dataset.class_names[label]}"
        raise DataError(
            f"{where}: it lacks {len(lacking):,} of the {format_count(len(needed), 'image')} that "
            f"students are distilled on, such as {next(hash_images(image)).hex()} ({shown}); add "
            f"their rows ({SEE})"
        )


def _format_shape(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape)) or "one value"


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
