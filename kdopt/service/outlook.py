"""What a planned campaign will do, before anything is trained: trials, images and time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.settings import Campaign
from kdopt.campaign.shapes import get_kind
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import Dataset
from kdopt.data.image_keys import hash_images
from kdopt.data.sources.base import expand_path
from kdopt.data.sources.folder import list_skipped
from kdopt.data.splits import unpack_splits
from kdopt.outcome import TrialRow
from kdopt.shown import format_count

LEAST_PER_CLASS = 10
"""Images per class below which a model, and what is concluded of it, is mostly luck."""


class ShareSizes(NamedTuple):
    """How many images the participants of one partition train on.

    Attributes:
        partition: Its name.
        sizes: By participant.
        classes: Classes of the data set.
    """

    partition: str
    sizes: tuple[int, ...]
    classes: int

    @property
    def too_small(self) -> list[int]:
        """Participants with fewer than :data:`LEAST_PER_CLASS` images per class of the data.

        One without images can only teach, and needs none.
        """
        least = LEAST_PER_CLASS * self.classes
        return [who for who, size in enumerate(self.sizes) if 0 < size < least]


def describe_skipped(campaign: Campaign) -> list[str]:
    """What lies in a campaign's folders of images and is not read, as far as they are here."""
    notes = []
    if campaign.data.name == "folder" and campaign.data.root is not None:
        notes += list_skipped(expand_path(campaign.data.root))
    for participant in campaign.participant:
        if participant.data is not None:
            notes += list_skipped(expand_path(participant.data), ["."])
    return notes


def describe_unused(campaign: Campaign, dataset: Dataset, splits: Mapping[str, bytes]) -> list[str]:
    """How many training images nobody gets, where all participants bring their own."""
    if any(p.kind != OWN for p in campaign.partitions) or campaign.data.validation == "local":
        return []
    first = unpack_splits(safetensors.numpy.load(next(iter(splits.values()))))
    common = dataset.given.count_dealt(dataset.owned[0][0])
    # What is given already lies behind the common images.
    held_out = np.concatenate([first.validation, first.public])
    unused = common - int((held_out < common).sum())
    if not unused or any(dataset.given.validation):
        return []
    return [
        f"{unused:,} of {common:,} training {get_kind(dataset.shape)} of {campaign.data.name} "
        f"{'is' if unused == 1 else 'are'} used by nobody, as participants bring their own: "
        f"{len(first.validation):,} are for validation (data.validation_fraction = "
        f"{campaign.data.validation_fraction:g}); a larger fraction lets settings be chosen by more"
    ]


def describe_images(campaign: Campaign, dataset: Dataset) -> list[str]:
    """What is odd about the images of a campaign: what is not read, and what is there twice."""
    notes = describe_skipped(campaign)
    twice, kind = count_overlaps(dataset), get_kind(dataset.shape)
    one = kind.removesuffix("s")
    exactly = "pixel by pixel" if kind == "images" else "number by number"
    if twice.test:
        notes.append(
            f"{twice.test:,} of {format_count(len(dataset.test_images), f'test {one}')} "
            f"{'is' if twice.test == 1 else 'are'} among the training {kind} too, {exactly}: "
            "accuracies on test are too high by up to that share"
        )
    if twice.classes:
        found = format_count(twice.classes, f"{one} is", f"{kind} are")
        notes.append(f"{found} in more than one class, {exactly}")
    return notes


def measure_shares(splits: Mapping[str, bytes], dataset: Dataset) -> list[ShareSizes]:
    """The sizes of all shares.

    Args:
        splits: By partition, from :func:`kdopt.service.planner.draw_splits`.
        dataset: The images.
    """
    return [
        ShareSizes(
            name,
            tuple(map(len, unpack_splits(safetensors.numpy.load(content)).train)),
            dataset.n_classes,
        )
        for name, content in splits.items()
    ]


def count_planned_trials(campaign: Campaign) -> dict[str, int]:
    """Trials by stage, in order."""
    counts: Counter[str] = Counter()
    for plan in plan_studies(campaign):
        counts[plan.stage] += plan.n_trials
    return dict(counts)


def estimate_training_seconds(rows: Iterable[TrialRow]) -> float:
    """Seconds of training that are left, summed over workers; NaN where a stage has no example."""
    done: dict[str, list[float]] = defaultdict(list)
    left: Counter[str] = Counter()
    for row in rows:
        if row.state == "COMPLETE" and row.outcome is not None:
            done[row.stage].append(row.outcome.seconds)
        elif row.state in ("WAITING", "RUNNING"):
            left[row.stage] += 1
    return math.fsum(
        n * (math.fsum(done[stage]) / len(done[stage]) if done[stage] else math.nan)
        for stage, n in left.items()
    )


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
