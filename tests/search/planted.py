"""Pairs whose results follow a rule, so that what there is to learn from them is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations, product

import numpy as np

from kdopt.search.prior import PRIOR_FEATURES, PairResults, Point, PointResult, Prior

POINTS: tuple[Point, ...] = tuple(product((0.5, 1.0, 2.0, 4.0), (0.1, 0.5, 0.9)))
SKILLS = (48.0, 70.0, 55.0, 82.0, 61.0, 75.0)
"""Accuracies of the participants in percent."""


def result(gain: float) -> PointResult:
    """A result that is all of a piece: who gains has learnt more and forgotten less."""
    return PointResult(gain, 1 + max(0.0, gain), 1 + max(0.0, -gain), -gain / 10)


def features(teacher: float, student: float) -> tuple[float, ...]:
    """The features of a pair by the skills of both."""
    gap = teacher - student
    found = (gap, teacher, student, max(0.0, gap), max(0.0, -gap), 3 - teacher / 40)
    assert len(found) == len(PRIOR_FEATURES)
    return found


def gain(gap: float, point: Point) -> float:
    """A hill that is higher and hotter for stronger teachers."""
    temperature, alpha = point
    return gap / 6 - (math.log(temperature) - gap / 20) ** 2 - 4 * (alpha - 0.5) ** 2


def planted_prior(
    skills: Sequence[float] = SKILLS,
    bonus: Callable[[int], float] = lambda student: 0.0,
    luck: float = 0.1,
    seed: int = 0,
) -> Prior:
    """Every ordered pair of participants with these skills.

    Args:
        skills: One for each participant.
        bonus: What every point of a student gains on top, whoever teaches.
        luck: Standard deviation of what nobody can learn, pp.
        seed: Of the luck.
    """
    rng = np.random.default_rng(seed)
    pairs = [
        PairResults(
            f"model {teacher}",
            f"model {student}",
            features(skills[teacher], skills[student]),
            {
                point: result(
                    gain(skills[teacher] - skills[student], point)
                    + bonus(student)
                    + luck * rng.normal()
                )
                for point in POINTS
            },
        )
        for teacher, student in permutations(range(len(skills)), 2)
    ]
    return Prior("planted", True, POINTS, tuple(pairs))
