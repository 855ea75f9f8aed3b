"""Draw a sample that has the classes in the same shares as the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share ``size`` out in proportion to ``counts`` by the largest remainder.

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


def stratified(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
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
        rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(quotas(counts, size))
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))
