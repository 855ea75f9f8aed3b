"""What every source hands over: the data set's own two splits, whole and checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdopt.errors import DataError


@dataclass(frozen=True, eq=False)
class Raw:
    """All images of one data set, before a campaign draws its share.

    Attributes:
        name: Data set name, for messages.
        train_images: uint8 (N, C, H, W).
        train_labels: int64 (N,), values in [0, n_classes).
        test_images: uint8 (M, C, H, W), same C, H and W.
        test_labels: int64 (M,), values in [0, n_classes).
        class_names: One name per class, in label order.

    Raises:
        DataError: Shapes, types or labels do not fit together.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_split(f"{self.name} {split}", images, labels, len(self.class_names))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_images.shape[1:]}, test images "
                f"{self.test_images.shape[1:]}; both splits need the same channels and sides"
            )


def _check_split(
    what: str, images: NDArray[np.uint8], labels: NDArray[np.int64], n_classes: int
) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or labels.dtype != np.int64:
        raise DataError(
            f"{what}: images are {images.dtype} {images.shape}, labels {labels.dtype}; "
            "expected uint8 (N, C, H, W) and int64 (N,)"
        )
    if labels.shape != (len(images),):
        raise DataError(
            f"{what}: {len(images)} images but labels of shape {labels.shape}; every image needs "
            "one label, so the two files do not belong together"
        )
    if not len(labels):
        raise DataError(f"{what}: no images; a split needs at least one")
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise DataError(
            f"{what}: label {labels[wrong[0]]} of image {wrong[0]} is outside 0..{n_classes - 1}; "
            "the label file is damaged or belongs to another data set"
        )
