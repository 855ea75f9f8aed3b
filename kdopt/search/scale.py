"""The scale on which results are believed, where a Gaussian is not far from the truth.

Gains stay as they are above 0 and count by their logarithm below: that a point loses 10 pp rather
than 20 says little about where the gains are, and would drown all else. What was learnt and what
was forgotten count by their logarithms, the loss by the logarithm of its change on either side.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdopt.search.prior import Result

Floats = NDArray[np.float64]

SQUASH_PP = 2.0
"""Losses well beyond this many pp count by their logarithm."""

LOSS_NATS = 0.5
"""The same for changes of the cross-entropy."""


def squash(gain: ArrayLike, bend: float = SQUASH_PP) -> Floats:
    """A gain on the scale of beliefs: ``g`` above 0, ``-b log(1 - g / b)`` below.

    Smooth at 0 up to the first derivative, and increasing, so it keeps every order.
    """
    g = np.asarray(gain, dtype=np.float64)
    return np.where(g < 0, -bend * np.log1p(np.maximum(-g, 0) / bend), g)


def unsquash(value: ArrayLike, bend: float = SQUASH_PP) -> Floats:
    """The gain that :func:`squash` takes to ``value``."""
    y = np.asarray(value, dtype=np.float64)
    return np.where(y < 0, -bend * np.expm1(np.maximum(-y, 0) / bend), y)


def outputs(results: Iterable[Result]) -> Floats:
    """The four numbers of each result on the scale of beliefs, (results, 4); the gain is first."""
    r = np.array(list(results), dtype=np.float64).reshape(-1, len(Result._fields))
    loss = np.sign(r[:, 3]) * np.log1p(np.abs(r[:, 3]) / LOSS_NATS)
    return np.stack([squash(r[:, 0]), np.log1p(r[:, 1]), np.log1p(r[:, 2]), loss], axis=1)
