"""Tables of how many images go where, and the drawing of the images that fill them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.settings import PartitionSettings
from kdopt.errors import PartitionError

Ints = NDArray[np.int64]
Parts = tuple[Ints, ...]
"""One sorted array of image indices per participant."""


def split_by_shares(total: int, shares: NDArray[np.float64]) -> Ints:
    """Whole numbers that sum to ``total``, each within one of ``shares * total``."""
    cuts = np.clip(np.round(np.cumsum(shares[:-1]) * total), 0, total).astype(np.int64)
    return np.diff(cuts, prepend=0, append=total)


def cut_at_random(total: int, n_parts: int, rng: np.random.Generator) -> Ints:
    """``n_parts`` whole numbers >= 0 that sum to ``total``, from cuts at random places."""
    cuts = np.sort(rng.integers(0, total, n_parts - 1, endpoint=True))
    return np.diff(cuts, prepend=0, append=total)


def specialized_sizes(available: Ints, participants: int, dominant: float) -> Ints:
    """Sizes among which the largest that fits must be: consecutive, possibly none.

    In real numbers the answer is a division. Rounding moves a count of
    :func:`specialized_table` by less than two, which leaves this narrow range to try.

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


def specialized_table(sizes: Ints, participants: int, n_classes: int, dominant: float) -> Ints:
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


def redraw(
    draw: Callable[[], Ints | None], sizes: Callable[[Ints], Ints], settings: PartitionSettings
) -> Ints:
    """Draw until everybody has ``min_size`` images, at most ``max_draws`` times.

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
        f"{settings.name}: none of {settings.max_draws} draws gave every participant min_size = "
        f"{settings.min_size} images or more; {closest}. Take more training images, fewer "
        "participants, a smaller min_size or chunk_size, or a larger max_draws"
    )


def deal(labels: Ints, table: Ints, rng: np.random.Generator) -> Parts:
    """Draw which images make up a (participants, classes) table of counts."""
    dealt: list[list[Ints]] = [[] for _ in table]
    for label, column in enumerate(table.T):
        shuffled = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(column)
        for hand, start, end in zip(dealt, ends - column, ends, strict=True):
            hand.append(shuffled[start:end])
    return tuple(np.sort(np.concatenate(hand)) for hand in dealt)
