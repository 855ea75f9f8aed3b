"""What is believed of one pair: a Gaussian over the results of all points, which each narrows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from kdopt.search.prior import Point, Result
from kdopt.search.scale import Floats, outputs, squash, unsquash

TIE_DECIMALS = 9
"""Scores that differ less are equal: the last bits are rounding, and must not choose."""

JITTER = 1e-6


@dataclass(frozen=True)
class Belief:
    """A Gaussian over what would be measured, on the scale of ``kdopt.search.scale``.

    Attributes:
        points: The points.
        mean: Output by output (gain, learnt, forgotten, loss), point by point, (4 * points,).
        covariance: (4 * points, 4 * points).
    """

    points: tuple[Point, ...]
    mean: Floats
    covariance: Floats

    @property
    def gains(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the gain at each point, on the squashed scale."""
        n = len(self.points)
        sd = np.sqrt(np.maximum(np.diag(self.covariance)[:n], JITTER))
        return self.mean[:n], sd

    def given(self, results: Mapping[Point, Result]) -> Belief:
        """The belief after results; points that it does not know say nothing.

        A measured point is known from then on, the luck of its run included: it is the model of
        this very run that a pair is left with.
        """
        seen = np.array([i for i, p in enumerate(self.points) if p in results], dtype=np.int64)
        if not len(seen):
            return self
        found = outputs(results[self.points[i]] for i in seen)
        where = np.concatenate([seen + j * len(self.points) for j in range(found.shape[1])])
        among = self.covariance[np.ix_(where, where)] + JITTER * np.eye(len(where))
        pull = np.linalg.solve(among, self.covariance[where]).T
        return Belief(
            self.points,
            self.mean + pull @ (found.T.ravel() - self.mean[where]),
            self.covariance - pull @ self.covariance[where],
        )

    def improvement(self, best: float) -> Floats:
        """Expected improvement of each point over a gain of ``best`` pp, on the squashed scale.

        ``E[max(0, y - best)]`` of a Gaussian ``y`` (Mockus et al., 1978).
        """
        mean, sd = self.gains
        ahead = mean - float(squash(best))
        density = np.exp(-0.5 * (ahead / sd) ** 2) / math.sqrt(2 * math.pi)
        below = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in ahead / sd])
        return np.asarray(ahead * below + sd * density, dtype=np.float64)

    def next_point(self, tried: Collection[Point], best: float) -> Point | None:
        """The point to try next; ``None`` when all were tried.

        Args:
            tried: Points that are not to be tried again, whatever came of them.
            best: The greatest gain so far in pp; 0 counts, as the untouched student has it.
        """
        open_points = [i for i, point in enumerate(self.points) if point not in tried]
        if not open_points:
            return None
        scores = np.round(self.improvement(max(0.0, best))[open_points], TIE_DECIMALS)
        return self.points[open_points[int(np.argmax(scores))]]

    def best_point(self) -> tuple[Point, float]:
        """The point of greatest mean, and its gain in pp (the median of what is believed)."""
        mean, _ = self.gains
        index = int(np.argmax(np.round(mean, TIE_DECIMALS)))
        return self.points[index], float(unsquash(mean[index]))

    def within(self, low: Point, high: Point) -> Belief:
        """The belief about the points between two corners, both included."""
        inside = [
            i
            for i, point in enumerate(self.points)
            if all(a <= v <= b for a, v, b in zip(low, point, high, strict=True))
        ]
        n = len(self.points)
        kept = np.array([i + j * n for j in range(len(Result._fields)) for i in inside], np.int64)
        return Belief(
            tuple(self.points[i] for i in inside),
            self.mean[kept],
            self.covariance[np.ix_(kept, kept)],
        )
