"""Share training images out among participants: the paper's five ways (section III).

Four of the five come down to a table of how many images of each class each participant gets;
:func:`kdopt.data.dealing.deal` then draws which. Every function is pure: labels and a generator
in, indices out. No image goes to two participants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.settings import PartitionSettings
from kdopt.data.dealing import (
    Ints,
    Parts,
    cut_at_random,
    deal,
    redraw,
    specialized_sizes,
    specialized_table,
    split_by_shares,
)
from kdopt.errors import PartitionError


def partition(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Share images out as ``settings.name`` says.

    Args:
        labels: int64 (n,), class of each image, >= 0.
        participants: Number of participants, >= 1.
        settings: The way and its numbers.
        rng: Source of randomness.

    Returns:
        One sorted int64 array of indices into ``labels`` per participant; disjoint, each with at
        least ``settings.min_size`` entries.

    Raises:
        PartitionError: Unknown name, or no such partition of these labels was found.
    """
    if settings.name not in STRATEGIES:
        raise PartitionError(
            f"partition {settings.name!r} is unknown; choose one of {', '.join(STRATEGIES)}"
        )
    least = max(1, settings.min_size)
    if participants < 1 or participants * least > len(labels):
        raise PartitionError(
            f"{settings.name}: {len(labels)} images cannot give {participants} participants at "
            f"least {least} each; take more training images, fewer participants (at least 1) or a "
            "smaller min_size"
        )
    return STRATEGIES[settings.name](labels, participants, settings, rng)


def uniform(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Everybody gets the same number of images of each class (paper: Uniform).

    What is left of a class that does not divide is left out, so that all are equal. Arguments,
    result and errors as :func:`partition`.
    """
    each = _class_counts(labels) // participants
    _require_every_class(labels, participants, settings.name)
    if each.sum() < settings.min_size:
        raise PartitionError(
            f"uniform: {participants} equal participants get {each.sum()} images each, fewer than "
            f"min_size = {settings.min_size}; take more training images, fewer participants or a "
            "smaller min_size"
        )
    return deal(labels, np.tile(each, (participants, 1)), rng)


def quantity_skew(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Sizes are Dirichlet, classes are mixed at random (paper: Quantity Skew). Exhaustive.

    Redrawn until nobody has fewer than ``min_size``. Arguments, result and errors as
    :func:`partition`.
    """
    if len(settings.concentration) != 1:
        raise PartitionError(
            f"quantity_skew: concentration = {list(settings.concentration)}; it takes one number"
        )
    vector = _concentrations(settings, participants)

    def draw() -> Ints:
        return split_by_shares(len(labels), rng.dirichlet(vector))

    sizes = redraw(draw, lambda drawn: drawn, settings)
    shuffled = rng.permutation(len(labels))
    return tuple(np.sort(part) for part in np.split(shuffled, np.cumsum(sizes)[:-1]))


def specialized(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Participant i has mostly class i, the rest even over the others (paper: Specialized).

    Class i modulo the number of classes, where there are more participants. All participants get
    the same number of images, the largest that the classes allow; images that do not fit are left
    out. With as many participants as balanced classes nothing is left out: 91 % of one class and
    1 % of each of nine others tile ten classes exactly. Arguments, result and errors as
    :func:`partition`.
    """
    available = _class_counts(labels)
    if len(available) < 2 or not 0 < settings.dominant_fraction < 1:
        raise PartitionError(
            f"specialized: {len(available)} classes, dominant_fraction = "
            f"{settings.dominant_fraction}; it takes at least 2 classes and a fraction in (0, 1)"
        )
    sizes = specialized_sizes(available, participants, settings.dominant_fraction)
    table = specialized_table(sizes, participants, len(available), settings.dominant_fraction)
    fitting = np.flatnonzero((table.sum(axis=1) <= available).all(axis=1))
    largest = int(sizes[fitting[-1]]) if len(fitting) else 0
    if largest < max(1, settings.min_size):
        raise PartitionError(
            f"specialized: the classes have {available.tolist()} images, enough for {largest} per "
            f"participant, fewer than min_size = {settings.min_size}; take more training images, "
            "fewer participants, a smaller dominant_fraction or a smaller min_size"
        )
    return deal(labels, table[fitting[-1]], rng)


def label_chunks(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """A random number of classes each, in random chunks (paper: Label Skew Random Chunks).

    Participant i holds k_i ~ U{1..classes} classes; the holders of a class split it at random
    cuts, each chunk >= ``chunk_size``; a class without a holder goes to a random participant.
    Exhaustive. Redrawn when a class is too small for its holders or somebody has fewer than
    ``min_size``. Arguments, result and errors as :func:`partition`.
    """
    available = _class_counts(labels)
    chunk = settings.chunk_size
    if chunk < 1 or available.min() < chunk or (available // chunk).sum() < participants:
        raise PartitionError(
            f"label_chunks: the classes have {available.tolist()} images, which cannot be cut into "
            f"chunks of at least {chunk} for {participants} participants; take more training "
            "images, fewer participants or a smaller chunk_size (at least 1)"
        )

    def draw() -> Ints | None:
        holds = np.zeros((participants, len(available)), np.bool_)
        for row in holds:
            n_classes = rng.integers(1, len(available), endpoint=True)
            row[rng.choice(len(available), n_classes, replace=False)] = True
        for orphan in np.flatnonzero(~holds.any(axis=0)):
            holds[rng.integers(participants), orphan] = True
        if (holds.sum(axis=0) * chunk > available).any():
            return None
        table = np.zeros(holds.shape, np.int64)
        for label, total in enumerate(available):
            holders = np.flatnonzero(holds[:, label])
            table[holders, label] = chunk + cut_at_random(
                total - chunk * len(holders), len(holders), rng
            )
        return table

    return deal(labels, redraw(draw, lambda table: table.sum(axis=1), settings), rng)


def label_dirichlet(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Each class is shared out by its own Dirichlet draw (paper: Label Skew Dirichlet). Exhaustive.

    The concentrations repeat over the participants ([0.1, 0.5] gives 0.1, 0.5, 0.1, ...). Nothing
    is done to balance sizes; redrawn until nobody has fewer than ``min_size``. Arguments, result
    and errors as :func:`partition`.
    """
    available = _class_counts(labels)
    vector = _concentrations(settings, participants)

    def draw() -> Ints:
        return np.stack(
            [split_by_shares(total, rng.dirichlet(vector)) for total in available], axis=1
        )

    return deal(labels, redraw(draw, lambda table: table.sum(axis=1), settings), rng)


Strategy = Callable[[Ints, int, PartitionSettings, np.random.Generator], Parts]
STRATEGIES: Mapping[str, Strategy] = {
    "uniform": uniform,
    "quantity_skew": quantity_skew,
    "specialized": specialized,
    "label_chunks": label_chunks,
    "label_dirichlet": label_dirichlet,
}
"""What ``partitions.name`` may be."""


def _class_counts(labels: Ints) -> Ints:
    """Images per class, in class order, for classes up to the highest label."""
    return np.bincount(labels).astype(np.int64)


def _require_every_class(labels: Ints, participants: int, name: str) -> None:
    available = _class_counts(labels)
    scarce = np.flatnonzero((available > 0) & (available < participants))
    if len(scarce):
        raise PartitionError(
            f"{name}: class {scarce[0]} has {available[scarce[0]]} images for {participants} "
            "participants and everybody needs one; take more training images or fewer participants"
        )


def _concentrations(settings: PartitionSettings, participants: int) -> NDArray[np.float64]:
    values = np.asarray(settings.concentration, np.float64)
    if not len(values) or not np.isfinite(values).all() or (values <= 0).any():
        raise PartitionError(
            f"{settings.name}: concentration = {list(settings.concentration)}; every value must be "
            "a number above 0"
        )
    return np.resize(values, participants)
