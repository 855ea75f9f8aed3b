"""Images that a data set has twice: in train and in test, or in two classes."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from kdopt.data.datasets import Dataset
from kdopt.data.image_keys import hash_images


class Overlaps(NamedTuple):
    """How many images are where they should not be.

    Attributes:
        test: Test images that are among the training images too: accuracies on them say nothing.
        classes: Images, of train and test, that are in two classes or more.
    """

    test: int
    classes: int


def count_overlaps(dataset: Dataset) -> Overlaps:
    """Count the images of a data set that are the same, pixel by pixel."""
    train, test = (
        list(hash_images(images)) for images in (dataset.train_images, dataset.test_images)
    )
    labels: dict[bytes, set[int]] = defaultdict(set)
    for digest, label in zip(train, dataset.train_labels.tolist(), strict=True):
        if label >= 0:  # others are public, without labels
            labels[digest].add(label)
    for digest, label in zip(test, dataset.test_labels.tolist(), strict=True):
        labels[digest].add(label)
    known = set(train)
    return Overlaps(
        sum(digest in known for digest in test),
        sum(len(labels[digest]) > 1 for digest in (*train, *test)),
    )
