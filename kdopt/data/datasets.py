"""Data sets by name, in the size that a campaign asks for: numpy only, no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DATA_RULE, GIVEN, HF, TORCHVISION, DataSettings
from kdopt.campaign.names import seed_for
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.shapes import Shape, TokenShape
from kdopt.data.own_images import read_own_images, read_public_images
from kdopt.data.sources.arrays import read_array_set
from kdopt.data.sources.base import RawDataset, list_roots
from kdopt.data.sources.cifar10 import read_cifar10
from kdopt.data.sources.digits import read_digits
from kdopt.data.sources.fashion_mnist import read_fashion_mnist
from kdopt.data.sources.folder import read_cinic10, read_folder
from kdopt.data.sources.hf import read_hf
from kdopt.data.sources.torchvision_sets import read_torchvision
from kdopt.data.splits import NOTHING_GIVEN, GivenSets, draw_stratified
from kdopt.errors import DataError, KdoptError
from kdopt.plugins.code import get_code
from kdopt.plugins.declare import LabelledData
from kdopt.shown import format_count


def refuse_given(settings: DataSettings) -> RawDataset:
    """Say where data are that no file has.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"data.name = '{settings.name}': these data were given to kdopt.tune and are in no file; "
        "call it again with the same models, data and store to go on"
    )


SOURCES: Mapping[str, Callable[[DataSettings], RawDataset]] = {
    "digits": read_digits,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cinic10": read_cinic10,
    "folder": read_folder,
    "arrays": read_array_set,
    GIVEN: refuse_given,
}
"""How the data of a name are read, but for sets of torchvision, Hugging Face and plugins."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images of a campaign, before validation is held out and the rest is partitioned.

    Feature vectors, float32 (N, numbers), and token ids, int64 (N, length), take their place.

    Attributes:
        name: Data set name.
        train_images: uint8 (N, C, H, W).
        train_labels: int64 (N,), values in [0, n_classes).
        test_images: uint8 (M, C, H, W).
        test_labels: int64 (M,), values in [0, n_classes).
        class_names: One name per class, in label order.
        mean: Per channel, of the training images scaled to [0, 1], or per number of vectors, or
            what the campaign says instead. Empty for what is not normalised.
        std: Likewise; 1 for a channel that never changes, so that it can divide.
        owned: By participant, the positions (first, and one past the last) of the training images
            that it brought along; they come after all others. Equal for one that brought none.
        given: The training images that are set apart before anything is drawn; those that are
            public and without labels have the label -1.
        tokens: What sequences of token ids are like; ``None`` for images and vectors.
    """

    name: str
    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    owned: tuple[tuple[int, int], ...] = ()
    given: GivenSets = NOTHING_GIVEN
    tokens: TokenShape | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def shape(self) -> Shape:
        """Shape of one image, (C, H, W), or of a vector or sequence."""
        return self.tokens or self.train_images.shape[1:]

    def sha256(self) -> str:
        """Digest of all images and labels: equal exactly where the data are."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{plain.dtype.str} {plain.shape};".encode())
            digest.update(plain.data)
        return digest.hexdigest()


def read_dataset(settings: DataSettings, seed: int) -> Dataset:
    """Find, check and read a data set, then draw a stratified sample of it.

    Args:
        settings: Which data set, where, and how many images.
        seed: Campaign seed; decides which images are drawn, together with name and split.

    Raises:
        DataError: Unknown name, files that are missing or damaged, or sizes beyond what is there.
    """
    raw = _find_source(settings.name)(settings)
    train = _draw_subset("train", settings.train_size, raw.train_labels, settings.name, seed)
    test = _draw_subset("test", settings.test_size, raw.test_labels, settings.name, seed)
    train_images, train_labels = raw.train_images[train], raw.train_labels[train]
    # Of the training images alone, before validation images join them.
    mean, std = choose_normalization(settings, train_images)
    given = NOTHING_GIVEN
    if raw.validation_images is not None and raw.validation_labels is not None:
        if settings.validation == "local":
            raise DataError(
                f"data.validation = 'local': {settings.name} has a validation split of its own, on "
                "which all are judged; leave validation out, or the split"
            )
        n = len(train_labels)
        given = GivenSets(validation=(n, n + len(raw.validation_labels)))
        train_images = np.concatenate([train_images, raw.validation_images])
        train_labels = np.concatenate([train_labels, raw.validation_labels])
    return Dataset(
        settings.name,
        train_images,
        train_labels,
        raw.test_images[test],
        raw.test_labels[test],
        raw.class_names,
        mean,
        std,
        given=given,
        tokens=raw.tokens,
    )


def _find_source(name: str) -> Callable[[DataSettings], RawDataset]:
    if name.startswith(TORCHVISION):
        return read_torchvision
    if name.startswith(HF):
        return read_hf
    return SOURCES.get(name, _read_plugin_dataset)


def _read_plugin_dataset(settings: DataSettings) -> RawDataset:
    code = get_code("dataset", settings.name)
    if code is None:
        raise DataError(
            f"data.name = {settings.name!r} is unknown; choose {DATA_RULE} whose file is given by "
            "--plugin"
        )
    try:
        found = LabelledData(*code.function(settings))
        return RawDataset(settings.name, *found[:5], tokens=found.tokens)
    except KdoptError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"data.name = {settings.name!r}: its plugin did not read it as LabelledData of "
            f"kdopt.plugins: {reason}"
        ) from error


def load_dataset(campaign: Campaign) -> Dataset:
    """The images of a campaign: the set in the size that it asks for, and those brought along."""
    dataset = read_dataset(campaign.data, campaign.seed)
    if campaign.transfer.public_data is not None:
        dataset = add_public_images(dataset, campaign)
    return add_own_images(dataset, campaign)


def add_public_images(dataset: Dataset, campaign: Campaign) -> Dataset:
    """A data set with public images without labels, which no participant gets.

    Raises:
        DataError: See :func:`kdopt.data.own_images.read_public_images`, or they are too few.
    """
    path, wanted = campaign.transfer.public_data, campaign.transfer.n_public
    assert path is not None
    images = read_public_images(path, campaign.data, dataset.shape)
    if len(images) < wanted:
        raise DataError(
            f"transfer.public_data = {path!r} has {len(images)}, and the largest public set is to "
            f"have {wanted}; make public_unlabeled_small and public_unlabeled_large smaller"
        )
    start = len(dataset.train_labels)
    return replace(
        dataset,
        train_images=np.concatenate([dataset.train_images, images]),
        train_labels=np.concatenate([dataset.train_labels, np.full(len(images), -1)]),
        given=dataset.given._replace(public=(start, start + len(images))),
    )


def add_own_images(dataset: Dataset, campaign: Campaign) -> Dataset:
    """A data set with the images that the campaign's participants bring along.

    Pixels stay normalised as the data set's are.

    Raises:
        DataError: See :func:`kdopt.data.own_images.read_own_images`.
    """
    if not any(row.data for row in campaign.participant):
        return dataset
    images, labels, owned = [dataset.train_images], [dataset.train_labels], []
    end = len(dataset.train_labels)
    for row in campaign.participant:
        start = end
        if row.data is not None:
            own, classes = read_own_images(row, dataset.class_names, dataset.shape, campaign.data)
            images.append(own)
            labels.append(classes)
            end += len(classes)
        owned.append((start, end))
    return replace(
        dataset,
        train_images=np.concatenate(images),
        train_labels=np.concatenate(labels),
        owned=tuple(owned),
    )


def load_planned_dataset(record: CampaignRecord) -> Dataset:
    """The images of a planned campaign.

    Raises:
        DataError: They are not here, or not those that the campaign was planned with.
    """
    data = record.campaign.data
    root = data.root
    if data.name.startswith(HF):
        root = data.name.removeprefix(HF)
    roots = list_roots(root)
    faults: dict[str, None] = {}
    for root in roots:
        # Only the last is the campaign's own: what it says of downloading does not hold elsewhere.
        own = root is roots[-1]
        settings = replace(data, root=root, download=data.download and own)
        try:
            dataset = load_dataset(replace(record.campaign, data=settings))
        except DataError as error:
            faults[str(error)] = None
            continue
        if dataset.sha256() == record.data_sha256:
            return dataset
        faults[_describe_other_images(data.name, root)] = None
    raise DataError("\n".join(reversed(faults)))


def _describe_other_images(name: str, root: str | None) -> str:
    where = "" if root is None else f" in {root}"
    return (
        f"data set '{name}': these images{where} are not those that the campaign was planned with "
        "(their sha256 differs); bring the same files here, or point $KDOPT_DATA at them"
    )


def measure_channels(
    images: NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images scaled to [0, 1].

    Args:
        images: uint8 (N, C, H, W), N >= 1.

    Returns:
        Two tuples of C floats; the deviation of a constant channel is given as 1.
    """
    # Exact sums of whole numbers: the same on every machine, whatever the order of addition.
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), 4096):  # in blocks: bincount takes 8 bytes per pixel
        block = images[start : start + 4096]
        for channel in range(images.shape[1]):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    values = np.arange(256)
    pixels = counts.sum(axis=1)
    mean = (counts * values).sum(axis=1) / pixels
    variance = (counts * values**2).sum(axis=1) / pixels - mean**2
    constant = np.count_nonzero(counts, axis=1) == 1
    std = np.where(constant, 255.0, np.sqrt(np.maximum(variance, 0.0)))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def measure_numbers(
    vectors: NDArray[np.float32],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each number of feature vectors, (N, numbers), N >= 1.

    Returns:
        Two tuples of floats; the deviation of a number that never changes is given as 1.
    """
    means, stds = [], []
    for column in vectors.T.astype(np.float64):
        # Sums without rounding: the same on every machine, whatever the order of addition.
        mean = math.fsum(column) / len(column)
        variance = math.fsum((column - mean) ** 2) / len(column)
        means.append(mean)
        stds.append(1.0 if column.min() == column.max() else math.sqrt(variance))
    return tuple(means), tuple(stds)


def choose_normalization(
    settings: DataSettings, items: NDArray[Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How training images or vectors are normalised: mean and deviation; none for token ids.

    Raises:
        DataError: The campaign says as many numbers as neither channels nor numbers of a vector.
    """
    if items.dtype == np.int64:
        return (), ()
    n = items.shape[1]
    if settings.mean:
        if len(settings.mean) not in (1, n):
            what = "channels" if items.ndim == 4 else "numbers"
            raise DataError(
                f"data.mean has {format_count(len(settings.mean), 'value')}, and the data {n} "
                f"{what}; give {n}, or one for all"
            )
        repeats = n // len(settings.mean)
        return settings.mean * repeats, settings.std * repeats
    if settings.normalization == "none":
        return (0.0,) * n, (1.0,) * n
    return measure_channels(items) if items.dtype == np.uint8 else measure_numbers(items)


def _draw_subset(
    split: str, size: int | None, labels: NDArray[np.int64], name: str, seed: int
) -> NDArray[np.int64] | slice:
    if size is None:
        return slice(None)
    if not 1 <= size <= len(labels):
        raise DataError(
            f"data.{split}_size = {size}, but {name} has "
            f"{format_count(len(labels), f'{split} image')}; choose 1..{len(labels)}, or leave it "
            "out to take all"
        )
    return draw_stratified(labels, size, np.random.default_rng(seed_for(seed, "data", name, split)))
