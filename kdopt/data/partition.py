"""The paper's five partitions: which participant gets which training images (section III).

Four of the five make a table of how many images of each class each participant gets;
:func:`draw_indices` then draws which. Every function is pure: labels and a generator in, indices
out. No image goes to two participants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.errors import PartitionError
from kdopt.shown import format_count

Ints = NDArray[np.int64]
Parts = tuple[Ints, ...]
"""One sorted array of image indices per participant."""


def draw_partition(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Partition images as ``settings.kind`` says.

    Args:
        labels: int64 (n,), class of each image, >= 0.
        participants: Number of participants, >= 1.
        settings: The partition and its numbers.
        rng: Source of randomness.

    Returns:
        One sorted int64 array of indices into ``labels`` per participant; disjoint, each with at
        least ``settings.min_size`` entries.

    Raises:
        PartitionError: Unknown name, or no such partition of these labels was found.
    """
    if settings.kind not in STRATEGIES:
        raise PartitionError(
            f"partition {settings.kind!r} is unknown; choose one of {', '.join(STRATEGIES)}"
        )
    least = max(1, settings.min_size)
    if participants < 1 or participants * least > len(labels):
        raise PartitionError(
            f"{settings.name}: {format_count(len(labels), 'image')} cannot give "
            f"{format_count(participants, 'participant')} at least {least} each; take more "
            "training images, fewer participants (at least 1) or a smaller min_size"
        )
    return STRATEGIES[settings.kind](labels, participants, settings, rng)


def draw_uniform(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Every participant gets the same number of images of each class (paper: Uniform).

    What is left of a class that does not divide is left out, so that all are equal. Arguments,
    result and errors as :func:`draw_partition`.
    """
    each = _count_classes(labels) // participants
    _require_every_class(labels, participants, settings.name)
    if each.sum() < settings.min_size:
        raise PartitionError(
            f"uniform: {format_count(participants, 'equal participant')} get {each.sum()} images "
            f"each, fewer than min_size = {settings.min_size}; take more training images, fewer "
            "participants or a smaller min_size"
        )
    return draw_indices(labels, np.tile(each, (participants, 1)), rng)


def draw_quantity_skew(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Sizes are Dirichlet, classes are mixed at random (paper: Quantity Skew). Exhaustive.

    Redrawn until every participant has at least ``min_size``. Arguments, result and errors as
    :func:`draw_partition`.
    """
    if len(settings.concentration) != 1:
        raise PartitionError(
            f"quantity_skew: concentration = {list(settings.concentration)}; it takes one number"
        )
    vector = _repeat_concentrations(settings, participants)

    def draw() -> Ints:
        return split_by_fractions(len(labels), rng.dirichlet(vector))

    sizes = draw_until_large_enough(draw, lambda drawn: drawn, settings)
    shuffled = rng.permutation(len(labels))
    return tuple(np.sort(part) for part in np.split(shuffled, np.cumsum(sizes)[:-1]))


def draw_specialized(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Participant i has mostly class i, the rest even over the others (paper: Specialized).

    Class i modulo the number of classes, where there are more participants. All participants get
    the same number of images, the largest that the classes allow; images that do not fit are left
    out. With as many participants as balanced classes nothing is left out: 91 % of one class and
    1 % of each of nine others tile ten classes exactly. Arguments, result and errors as
    :func:`draw_partition`.
    """
    available = _count_classes(labels)
    if len(available) < 2 or not 0 < settings.dominant_fraction < 1:
        raise PartitionError(
            f"specialized: {format_count(len(available), 'class')}, dominant_fraction = "
            f"{settings.dominant_fraction}; it takes at least 2 classes and a fraction in (0, 1)"
        )
    sizes = list_specialized_sizes(available, participants, settings.dominant_fraction)
    table = make_specialized_tables(sizes, participants, len(available), settings.dominant_fraction)
    fitting = np.flatnonzero((table.sum(axis=1) <= available).all(axis=1))
    largest = int(sizes[fitting[-1]]) if len(fitting) else 0
    if largest < max(1, settings.min_size):
        raise PartitionError(
            f"specialized: the classes have {available.tolist()} images, enough for {largest} per "
            f"participant, fewer than min_size = {settings.min_size}; take more training images, "
            "fewer participants, a smaller dominant_fraction or a smaller min_size"
        )
    return draw_indices(labels, table[fitting[-1]], rng)


def draw_label_chunks(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """A random number of classes each, in random chunks (paper: Label Skew Random Chunks).

    Participant i holds k_i ~ U{1..classes} classes, or ``classes`` of them where that is set. The
    holders of a class split it at random cuts, or evenly, each chunk >= ``chunk_size``; a class
    without a holder goes to a random participant. Exhaustive. Redrawn when a class is too small
    for its holders or a participant has fewer than ``min_size``. Arguments, result and errors as
    :func:`draw_partition`.
    """
    available = _count_classes(labels)
    chunk = settings.chunk_size
    if chunk < 1 or available.min() < chunk or (available // chunk).sum() < participants:
        raise PartitionError(
            f"label_chunks: the classes have {available.tolist()} images, which cannot be cut "
            f"into chunks of at least {chunk} for {format_count(participants, 'participant')}; "
            "take more training images, fewer participants or a smaller chunk_size (at least 1)"
        )

    if settings.classes is not None and settings.classes > len(available):
        raise PartitionError(
            f"label_chunks: classes = {settings.classes}, and the images have {len(available)}; "
            "give at most so many, or leave it out for a random number"
        )

    def draw() -> Ints | None:
        holds = np.zeros((participants, len(available)), np.bool_)
        for row in holds:
            n_classes = settings.classes or rng.integers(1, len(available), endpoint=True)
            row[rng.choice(len(available), n_classes, replace=False)] = True
        for orphan in np.flatnonzero(~holds.any(axis=0)):
            holds[rng.integers(participants), orphan] = True
        if (holds.sum(axis=0) * chunk > available).any():
            return None
        table = np.zeros(holds.shape, np.int64)
        for label, total in enumerate(available):
            holders = np.flatnonzero(holds[:, label])
            cut = cut_at_random if settings.cuts == "random" else cut_evenly
            table[holders, label] = chunk + cut(total - chunk * len(holders), len(holders), rng)
        return table

    return draw_indices(
        labels, draw_until_large_enough(draw, lambda table: table.sum(axis=1), settings), rng
    )


def draw_label_dirichlet(
    labels: Ints, participants: int, settings: PartitionSettings, rng: np.random.Generator
) -> Parts:
    """Each class is split by its own Dirichlet draw (paper: Label Skew Dirichlet). Exhaustive.

    The concentrations repeat over the participants ([0.1, 0.5] gives 0.1, 0.5, 0.1, ...). Nothing
    is done to balance sizes; redrawn until every participant has at least ``min_size``.
    Arguments, result and errors as :func:`draw_partition`.
    """
    available = _count_classes(labels)
    vector = _repeat_concentrations(settings, participants)

    def draw() -> Ints:
        return np.stack(
            [split_by_fractions(total, rng.dirichlet(vector)) for total in available], axis=1
        )

    return draw_indices(
        labels, draw_until_large_enough(draw, lambda table: table.sum(axis=1), settings), rng
    )


Strategy = Callable[[Ints, int, PartitionSettings, np.random.Generator], Parts]
STRATEGIES: Mapping[str, Strategy] = {
    "uniform": draw_uniform,
    "quantity_skew": draw_quantity_skew,
    "specialized": draw_specialized,
    "label_chunks": draw_label_chunks,
    "label_dirichlet": draw_label_dirichlet,
}
"""The partitions by name."""


def _count_classes(labels: Ints) -> Ints:
    """Images per class, in class order, for classes up to the highest label."""
    return np.bincount(labels).astype(np.int64)


def _require_every_class(labels: Ints, participants: int, name: str) -> None:
    available = _count_classes(labels)
    scarce = np.flatnonzero((available > 0) & (available < participants))
    if len(scarce):
        raise PartitionError(
            f"{name}: class {scarce[0]} has {format_count(available[scarce[0]], 'image')} for "
            f"{format_count(participants, 'participant')} and each needs one; take more training "
            "images or fewer participants"
        )


def _repeat_concentrations(settings: PartitionSettings, participants: int) -> NDArray[np.float64]:
    values = np.asarray(settings.concentration, np.float64)
    if not len(values) or not np.isfinite(values).all() or (values <= 0).any():
        raise PartitionError(
            f"{settings.name}: concentration = {list(settings.concentration)}; every value must be "
            "a number above 0"
        )
    return np.resize(values, participants)


def split_by_fractions(total: int, shares: NDArray[np.float64]) -> Ints:
    """Whole numbers that sum to ``total``, each within one of ``shares * total``."""
    cuts = np.clip(np.round(np.cumsum(shares[:-1]) * total), 0, total).astype(np.int64)
    return np.diff(cuts, prepend=0, append=total)


def cut_at_random(total: int, n_parts: int, rng: np.random.Generator) -> Ints:
    """``n_parts`` whole numbers >= 0 that sum to ``total``, from random cuts."""
    cuts = np.sort(rng.integers(0, total, n_parts - 1, endpoint=True))
    return np.diff(cuts, prepend=0, append=total)


def cut_evenly(total: int, n_parts: int, rng: np.random.Generator) -> Ints:
    """``n_parts`` whole numbers that differ by 1 at most, the greater ones at random."""
    parts = np.full(n_parts, total // n_parts, dtype=np.int64)
    parts[rng.permutation(n_parts)[: total % n_parts]] += 1
    return parts


def list_specialized_sizes(available: Ints, participants: int, dominant: float) -> Ints:
    """Sizes among which the largest that fits must be: consecutive, possibly none.

    In real numbers the answer is a division. Rounding moves a count of
    :func:`make_specialized_tables` by less than two, which leaves this narrow range to try.

    Args:
        available: int64 (classes,), images of each class.
        participants: Number of participants, >= 1.
        dominant: Share of the dominant class, in (0, 1).
    """
    n_classes = len(available)
    owners = np.bincount(np.arange(participants) % n_classes, minlength=n_classes)
    need = owners * dominant + (participants - owners) * (1 - dominant) / (n_classes - 1)
    low = int(((available - 2 * participants) / need).min())
    high = int(((available + 2 * participants) / need).min())
    return np.arange(max(1, low), high + 1)


def make_specialized_tables(
    sizes: Ints, participants: int, n_classes: int, dominant: float
) -> Ints:
    """Images of each class for each participant, for each size: (sizes, participants, classes).

    What does not divide evenly over the other classes goes to the classes that follow the
    dominant one. This rule is what keeps the tiling exact for every size: as each participant
    looks at the classes from its own, each class gets as many of these images as any other.
    """
    major = np.round(dominant * sizes).astype(np.int64)
    even, extra = np.divmod(sizes - major, n_classes - 1)
    table = np.empty((len(sizes), participants, n_classes), np.int64)
    for participant in range(participants):
        table[:, participant, participant % n_classes] = major
        for step in range(1, n_classes):
            table[:, participant, (participant + step) % n_classes] = even + (step <= extra)
    return table


def draw_until_large_enough(
    draw: Callable[[], Ints | None], sizes: Callable[[Ints], Ints], settings: PartitionSettings
) -> Ints:
    """Draw until every participant has ``min_size`` images, at most ``max_draws`` times.

    Args:
        draw: Gives a table, or ``None`` when the draw itself failed.
        sizes: Images per participant of a table.
        settings: The bounds.

    Raises:
        PartitionError: No draw was good enough.
    """
    best = -1
    for _ in range(settings.max_draws):
        drawn = draw()
        if drawn is not None:
            smallest = int(sizes(drawn).min())
            if smallest >= max(1, settings.min_size):
                return drawn
            best = max(best, smallest)
    closest = (
        f"in the best one the smallest has {best}"
        if best >= 0
        else f"every time a class was too small for its holders (chunk_size {settings.chunk_size})"
    )
    raise PartitionError(
        f"{settings.name}: none of {format_count(settings.max_draws, 'draw')} gave every "
        f"participant min_size = {format_count(settings.min_size, 'image')} or more; {closest}. "
        "Take more training images, fewer participants, a smaller min_size or chunk_size, or a "
        "larger max_draws"
    )


def draw_indices(labels: Ints, table: Ints, rng: np.random.Generator) -> Parts:
    """Draw which images make up a (participants, classes) table of counts."""
    dealt: list[list[Ints]] = [[] for _ in table]
    for label, column in enumerate(table.T):
        shuffled = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(column)
        for part, start, end in zip(dealt, ends - column, ends, strict=True):
            part.append(shuffled[start:end])
    return tuple(np.sort(np.concatenate(part)) for part in dealt)
