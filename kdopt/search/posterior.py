"""The posterior of one pair: a Gaussian over the results of all points, which each trial narrows.

Results are put on a scale on which a Gaussian fits them well. Gains stay as they are above 0 and
count by their logarithm below: that a point loses 10 pp rather than 20 says little about where the
gains are, and would drown all else. Learning and forgetting count by their logarithms, the loss by
the logarithm of its change on either side.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdopt.analysis.stats import TIE_DECIMALS
from kdopt.search.prior import Point, PointResult

SQUASH_PP = 2.0
"""Losses well beyond this many pp count by their logarithm."""

LOSS_NATS = 0.5
"""The same for changes of the cross-entropy."""

JITTER = 1e-6
"""Least variance, and what is added to variances: keeps covariances of like points invertible."""


@dataclass(frozen=True)
class Posterior:
    """A Gaussian over the results of a pair, on the scale of :func:`scale_results`.

    Attributes:
        points: The points.
        mean: Output by output (gain, learning, forgetting, loss), point by point, (4 * points,).
        covariance: (4 * points, 4 * points).
    """

    points: tuple[Point, ...]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def gains(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the gain at each point, on the squashed scale."""
        n = len(self.points)
        sd = np.sqrt(np.maximum(np.diag(self.covariance)[:n], JITTER))
        return self.mean[:n], sd

    def condition_on(self, results: Mapping[Point, PointResult]) -> Posterior:
        """The posterior after some results of the pair; unknown points are ignored.

        A measured point is known from then on, the luck of its run included: the pair keeps the
        model of this very run.
        """
        seen = np.array([i for i, p in enumerate(self.points) if p in results], dtype=np.int64)
        if not len(seen):
            return self
        found = scale_results(results[self.points[i]] for i in seen)
        where = np.concatenate([seen + j * len(self.points) for j in range(found.shape[1])])
        among = self.covariance[np.ix_(where, where)] + JITTER * np.eye(len(where))
        weights = np.linalg.solve(among, self.covariance[where]).T
        return Posterior(
            self.points,
            self.mean + weights @ (found.T.ravel() - self.mean[where]),
            self.covariance - weights @ self.covariance[where],
        )

    def compute_expected_improvement(self, best: float) -> NDArray[np.float64]:
        """Expected improvement of each point over a gain of ``best`` pp, on the squashed scale.

        ``E[max(0, y - best)]`` of a Gaussian ``y`` (Mockus et al., 1978).
        """
        mean, sd = self.gains
        ahead = mean - float(squash_gain(best))
        density = np.exp(-0.5 * (ahead / sd) ** 2) / math.sqrt(2 * math.pi)
        below = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in ahead / sd])
        return np.asarray(ahead * below + sd * density, dtype=np.float64)

    def choose_next_point(self, tried: Collection[Point], best: float) -> Point | None:
        """The point of greatest expected improvement; ``None`` when all were tried.

        Args:
            tried: Points that are not to be tried again, whatever came of them.
            best: The greatest gain so far in pp. At least 0 counts: the untouched student has it.
        """
        untried = [i for i, point in enumerate(self.points) if point not in tried]
        if not untried:
            return None
        # Rounded: the last bits differ between machines, and must not choose the trial.
        improvements = self.compute_expected_improvement(max(0.0, best))[untried]
        return self.points[untried[int(np.argmax(np.round(improvements, TIE_DECIMALS)))]]

    def find_best_point(self) -> tuple[Point, float]:
        """The point of greatest mean, and its median gain in pp."""
        mean, _ = self.gains
        index = int(np.argmax(np.round(mean, TIE_DECIMALS)))
        return self.points[index], float(unsquash_gain(mean[index]))

    def restrict_to(self, low: Point, high: Point) -> Posterior:
        """The posterior of the points between two corners, both included."""
        inside = [
            i
            for i, point in enumerate(self.points)
            if all(a <= v <= b for a, v, b in zip(low, point, high, strict=True))
        ]
        n = len(self.points)
        outputs = range(len(PointResult._fields))
        kept = np.array([i + j * n for j in outputs for i in inside], np.int64)
        return Posterior(
            tuple(self.points[i] for i in inside),
            self.mean[kept],
            self.covariance[np.ix_(kept, kept)],
        )


def squash_gain(gain: ArrayLike, bend: float = SQUASH_PP) -> NDArray[np.float64]:
    """A gain on the squashed scale: ``g`` above 0, ``-b log(1 - g / b)`` below.

    Smooth at 0 up to the first derivative, and increasing, so it keeps every order.
    """
    g = np.asarray(gain, dtype=np.float64)
    return np.where(g < 0, -bend * np.log1p(np.maximum(-g, 0) / bend), g)


def unsquash_gain(value: ArrayLike, bend: float = SQUASH_PP) -> NDArray[np.float64]:
    """The gain that :func:`squash_gain` takes to ``value``."""
    y = np.asarray(value, dtype=np.float64)
    return np.where(y < 0, -bend * np.expm1(np.maximum(-y, 0) / bend), y)


def scale_results(results: Iterable[PointResult]) -> NDArray[np.float64]:
    """The four numbers of each result on the posterior's scale, (results, 4); gains come first."""
    r = np.array(list(results), dtype=np.float64).reshape(-1, len(PointResult._fields))
    loss = np.sign(r[:, 3]) * np.log1p(np.abs(r[:, 3]) / LOSS_NATS)
    return np.stack([squash_gain(r[:, 0]), np.log1p(r[:, 1]), np.log1p(r[:, 2]), loss], axis=1)
