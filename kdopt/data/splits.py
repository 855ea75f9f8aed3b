"""Who trains on which images: validation and public sets are held out, the rest is partitioned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.data.partition import draw_partition
from kdopt.errors import ArtifactError, PartitionError
from kdopt.shown import format_count

_TRAIN_KEY = re.compile(r"^train\.([0-9]{2,9})\Z")


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into a data set's training images, without overlap.

    Attributes:
        train: One sorted int64 array per participant.
        validation: Sorted int64: the set that all participants share, or all of theirs together.
        public: int64 in random order, common to all partitions; a public transfer set is the
            first so many of it.
        local_validation: One sorted int64 array per participant, of its own images; empty where
            all share one set.
    """

    train: tuple[NDArray[np.int64], ...]
    validation: NDArray[np.int64]
    public: NDArray[np.int64]
    local_validation: tuple[NDArray[np.int64], ...] = ()


class GivenSets(NamedTuple):
    """Training images that somebody set apart; each first position, and one past the last.

    They come after all that is dealt out, and are empty where kdopt draws these sets itself.

    Attributes:
        validation: The validation set.
        public: The public images, without labels.
    """

    validation: tuple[int, int] = (0, 0)
    public: tuple[int, int] = (0, 0)

    def count_dealt(self, end: int) -> int:
        """How many images come before those set apart, of ``end`` in all."""
        return min((start for start, stop in self if start < stop), default=end)


NOTHING_GIVEN = GivenSets()


def make_splits(
    campaign: Campaign,
    partition: str,
    train_labels: NDArray[np.int64],
    n_classes: int,
    owned: Sequence[tuple[int, int]] = (),
    given: GivenSets = NOTHING_GIVEN,
) -> Splits:
    """Hold out validation and the public transfer sets, then partition the rest.

    The common validation set and the public sets depend on the campaign seed only, so they are
    the same images in every partition and their results can be compared. A participant's own
    validation images are taken from its share after partitioning.

    Args:
        campaign: Its seed, ``data.validation_fraction``, participants and partitions.
        partition: Name of one of its partitions.
        train_labels: int64 (n,), values in [0, n_classes).
        n_classes: Number of classes.
        owned: Partition ``own``: see :class:`kdopt.data.datasets.Dataset`. These images go to
            nobody else, and into no common set.
        given: What is set apart already.

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
    _check_labels(np.delete(train_labels, slice(*given.public)), n_classes)
    local = campaign.data.validation == "local"
    common = np.arange(given.count_dealt(owned[0][0] if owned else len(train_labels)))
    validation = np.arange(*given.validation)
    if not len(validation) and not local:
        validation = _draw_validation(campaign, train_labels[common])
    rest = np.setdiff1d(common, validation)
    given_public = np.arange(*given.public)
    public = _draw_public(campaign, given_public if len(given_public) else rest)
    if owned:
        shares = tuple(np.arange(start, end) for start, end in owned)
    else:
        rest = np.setdiff1d(rest, public)
        # A generator for each draw: one that went on from the draw before would move with it.
        rng = np.random.default_rng(seed_for(campaign.seed, "partition", partition))
        parts = draw_partition(train_labels[rest], campaign.participants, settings, rng)
        shares = tuple(rest[part] for part in parts)
    if not local:
        return Splits(shares, validation, public)
    own = tuple(
        _draw_local_validation(campaign, partition, who, share, train_labels)
        if len(share)
        else share
        for who, share in enumerate(shares)
    )
    train = tuple(np.setdiff1d(share, held) for share, held in zip(shares, own, strict=True))
    return Splits(train, np.sort(np.concatenate(own)), public, own)


def pack_splits(splits: Splits) -> dict[str, NDArray[np.int64]]:
    """Splits as named arrays, to save: ``train.00``, ..., ``validation``, ``public``.

    Where participants have validation sets of their own, ``validation.00``, ... too.
    """
    train = {f"train.{i:02d}": indices for i, indices in enumerate(splits.train)}
    own = {f"validation.{i:02d}": held for i, held in enumerate(splits.local_validation)}
    return {**train, **own, "validation": splits.validation, "public": splits.public}


def unpack_splits(arrays: Mapping[str, NDArray[np.int64]]) -> Splits:
    """Read what :func:`pack_splits` gave.

    Raises:
        ArtifactError: A name is unknown or missing, or an array is not of whole numbers.
    """
    numbers = sorted(int(m[1]) for key in arrays if (m := _TRAIN_KEY.match(key)))
    expected = {f"train.{i:02d}" for i in range(max(1, len(numbers)))}
    expected |= {"validation", "public"}
    local = sorted(key for key in arrays if key.startswith("validation."))
    if local:
        expected |= {f"validation.{i:02d}" for i in range(max(1, len(numbers)))}
    if odd := sorted(expected ^ arrays.keys()):
        raise ArtifactError(
            f"splits: array {odd[0]!r} is {'missing' if odd[0] in expected else 'unknown'}; "
            "expected train.00, train.01, ..., validation and public. Make the splits again"
        )
    for key, array in arrays.items():
        if array.dtype != np.int64 or array.ndim != 1:
            raise ArtifactError(
                f"splits: {key} is {array.dtype} {array.shape}, expected int64 (n,); make the "
                "splits again"
            )
    train = tuple(arrays[f"train.{i:02d}"] for i in numbers)
    own = tuple(arrays[f"validation.{i:02d}"] for i in numbers) if local else ()
    return Splits(train, arrays["validation"], arrays["public"], own)


def parse_splits(content: bytes, campaign: Campaign, n_images: int) -> Splits:
    """The splits in a safetensors file, if they can be a campaign's.

    Args:
        content: The file.
        campaign: It says how many participants, public images and validation sets there are.
        n_images: Training images before any are held out.

    Raises:
        ArtifactError: It is no such file, or its positions are not those of such splits.
    """
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"not a safetensors file ({reason})") from error
    splits = unpack_splits(arrays)
    local = campaign.data.validation == "local"
    if len(splits.train) != campaign.participants:
        raise ArtifactError(
            f"splits of {format_count(len(splits.train), 'participant')}, the campaign has "
            f"{campaign.participants}"
        )
    if bool(splits.local_validation) != local:
        raise ArtifactError(f"their validation sets are not {campaign.data.validation}")
    if len(splits.public) < campaign.transfer.n_public:
        raise ArtifactError(
            f"{format_count(len(splits.public), 'public image')}, the campaign has "
            f"{campaign.transfer.n_public}"
        )
    parts = [*splits.train, *(splits.local_validation or (splits.validation,))]
    needed = [splits.validation, *(splits.train[i] for i in campaign.learners)]
    if local:
        needed += [splits.local_validation[i] for i in campaign.learners]
    if not all(map(len, needed)):
        raise ArtifactError("a participant or a validation set has no images")
    used = np.concatenate([*parts, splits.public])
    if used.min() < 0 or used.max() >= n_images:
        raise ArtifactError(
            f"positions run from {used.min()} to {used.max()}, the images from 0 to {n_images - 1}"
        )
    if len(np.unique(used)) != len(used):
        raise ArtifactError("an image is in two places at once")
    if local and not np.array_equal(
        splits.validation, np.sort(np.concatenate(parts[-len(splits.train) :]))
    ):
        raise ArtifactError("'validation' is not what the participants hold out together")
    return splits


def count_classes(
    splits_train: tuple[NDArray[np.int64], ...], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """How many images of each class each participant has: int64 (participants, n_classes)."""
    rows = [np.bincount(labels[part], minlength=n_classes) for part in splits_train]
    return np.stack(rows).astype(np.int64)


def compute_quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Split ``size`` in proportion to ``counts`` by the largest remainder.

    Integers throughout, so that no rounding of floats can differ between machines. Ties go to
    the lower class.

    Args:
        counts: int64 (classes,), what is there.
        size: How many to take, in [0, counts.sum()].

    Returns:
        int64 (classes,), sums to ``size``, nowhere more than ``counts``.

    Raises:
        ValueError: ``size`` is out of range.
    """
    total = int(counts.sum())
    if not 0 <= size <= total:
        raise ValueError(f"size {size} is outside 0..{total}")
    if total == 0:
        return counts.copy()
    take, remainder = np.divmod(counts * size, total)
    order = np.argsort(-remainder, kind="stable")
    take[order[: size - int(take.sum())]] += 1
    return take


def draw_stratified(
    labels: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Indices of a stratified random sample without replacement.

    Args:
        labels: int64 (n,), values >= 0.
        size: How many to draw, in [0, n].
        rng: Source of randomness.

    Returns:
        Sorted int64 (size,).

    Raises:
        ValueError: ``size`` is out of range.
    """
    counts = np.bincount(labels).astype(np.int64)
    drawn = [
        rng.permutation(np.flatnonzero(labels == c))[:n]
        for c, n in enumerate(compute_quotas(counts, size))
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))


def _draw_validation(campaign: Campaign, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    fraction = campaign.data.validation_fraction
    size = round(fraction * len(labels))
    if not 0 < size < len(labels):
        raise PartitionError(
            f"validation_fraction = {fraction} of {format_count(len(labels), 'training image')} "
            f"is {size}; it must leave at least one for validation and one to train on"
        )
    rng = np.random.default_rng(seed_for(campaign.seed, "validation"))
    return draw_stratified(labels, size, rng)


def _draw_local_validation(
    campaign: Campaign,
    partition: str,
    participant: int,
    share: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Part of a participant's share, stratified by its own classes."""
    fraction = campaign.data.validation_fraction
    size = max(1, round(fraction * len(share)))
    if size >= len(share):
        raise PartitionError(
            f"{partition}: participant {participant} has {format_count(len(share), 'image')}, and "
            f"a validation set of {fraction} of them leaves it none to train on; make "
            "[partition.*] min_size larger"
        )
    seed = seed_for(campaign.seed, "validation", partition, participant)
    return share[draw_stratified(labels[share], size, np.random.default_rng(seed))]


def _draw_public(campaign: Campaign, rest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Random images of the original set (paper, section IV), in the order they were drawn."""
    size = campaign.transfer.n_public
    if size > len(rest) or (size == len(rest) and campaign.transfer.public_data is None):
        raise PartitionError(
            f"transfer sets of {format_count(size, 'image leaves', 'images leave')} none of the "
            f"{format_count(len(rest), 'training image')} to the participants; make [transfer] "
            "smaller or the data larger"
        )
    # All are shuffled, whatever is taken: a larger set holds the smaller ones.
    rng = np.random.default_rng(seed_for(campaign.seed, "public"))
    return rng.permutation(rest)[:size]


def _check_labels(labels: NDArray[np.int64], n_classes: int) -> None:
    if len(labels) and not (labels.min() >= 0 and labels.max() < n_classes):
        raise PartitionError(
            f"labels run from {labels.min()} to {labels.max()}, but there are "
            f"{format_count(n_classes, 'class')} (0..{n_classes - 1}); labels and class names "
            "belong to different data sets"
        )
