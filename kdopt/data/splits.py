"""Who trains on which images: validation is held out once, the rest is shared out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdopt.data.partition import partition as share_out
from kdopt.data.stratify import stratified
from kdopt.errors import ArtifactError, PartitionError
from kdopt.names import seed_for
from kdopt.plan import Campaign

_TRAIN_KEY = re.compile(r"^train\.(\d{2,})$")


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into a data set's training images, without overlap.

    Attributes:
        train: One sorted int64 array per participant.
        validation: Sorted int64, common to all participants.
    """

    train: tuple[NDArray[np.int64], ...]
    validation: NDArray[np.int64]


def make_splits(
    campaign: Campaign, partition: str, train_labels: NDArray[np.int64], n_classes: int
) -> Splits:
    """Hold out validation, then share the rest out.

    Validation depends on the campaign seed only, so it is the same images in every partition and
    their results can be compared. What later stages take for everybody (public transfer sets) is
    to come out of ``rest`` before it is shared out.

    Args:
        campaign: Its seed, ``data.validation_fraction``, participants and partitions.
        partition: Name of one of its partitions.
        train_labels: int64 (n,), values in [0, n_classes).
        n_classes: Number of classes.

    Raises:
        PartitionError: Not a partition of the campaign, labels out of range, a validation set
            without images, or no such partition of these labels was found.
    """
    settings = next((p for p in campaign.partitions if p.name == partition), None)
    if settings is None:
        names = ", ".join(p.name for p in campaign.partitions)
        raise PartitionError(
            f"campaign {campaign.name} has no partition {partition!r}, but {names}"
        )
    _check_labels(train_labels, n_classes)
    validation = _hold_out(campaign, train_labels)
    rest = np.setdiff1d(np.arange(len(train_labels)), validation)
    rng = np.random.default_rng(seed_for(campaign.seed, "partition", partition))
    parts = share_out(train_labels[rest], campaign.participants, settings, rng)
    return Splits(tuple(rest[part] for part in parts), validation)


def to_arrays(splits: Splits) -> dict[str, NDArray[np.int64]]:
    """Splits as named arrays, to save: ``train.00``, ``train.01``, ..., ``validation``."""
    train = {f"train.{i:02d}": indices for i, indices in enumerate(splits.train)}
    return {**train, "validation": splits.validation}


def from_arrays(arrays: Mapping[str, NDArray[np.int64]]) -> Splits:
    """Read what :func:`to_arrays` gave.

    Raises:
        ArtifactError: A name is unknown or missing, or an array is not of whole numbers.
    """
    numbers = sorted(int(m[1]) for key in arrays if (m := _TRAIN_KEY.match(key)))
    expected = {f"train.{i:02d}" for i in range(max(1, len(numbers)))} | {"validation"}
    if odd := sorted(expected ^ arrays.keys()):
        raise ArtifactError(
            f"splits: array {odd[0]!r} is {'missing' if odd[0] in expected else 'unknown'}; "
            "expected train.00, train.01, ... and validation. Make the splits again"
        )
    for key, array in arrays.items():
        if array.dtype != np.int64 or array.ndim != 1:
            raise ArtifactError(
                f"splits: {key} is {array.dtype} {array.shape}, expected int64 (n,); make the "
                "splits again"
            )
    return Splits(tuple(arrays[f"train.{i:02d}"] for i in numbers), arrays["validation"])


def counts(
    splits_train: tuple[NDArray[np.int64], ...], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """How many images of each class each participant has: int64 (participants, n_classes)."""
    rows = [np.bincount(labels[part], minlength=n_classes) for part in splits_train]
    return np.stack(rows).astype(np.int64)


def _hold_out(campaign: Campaign, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    fraction = campaign.data.validation_fraction
    size = round(fraction * len(labels))
    if not 0 < size < len(labels):
        raise PartitionError(
            f"validation_fraction = {fraction} of {len(labels)} training images is {size}; it must "
            "leave at least one for validation and one to train on"
        )
    rng = np.random.default_rng(seed_for(campaign.seed, "validation"))
    return stratified(labels, size, rng)


def _check_labels(labels: NDArray[np.int64], n_classes: int) -> None:
    if len(labels) and not (labels.min() >= 0 and labels.max() < n_classes):
        raise PartitionError(
            f"labels run from {labels.min()} to {labels.max()}, but there are {n_classes} classes "
            f"(0..{n_classes - 1}); labels and class names belong to different data sets"
        )
