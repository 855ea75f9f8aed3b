"""What accuracies on a set tell of its classes, without its labels."""

from __future__ import annotations

import dataclasses
import random

import pytest

from kdopt.outcome import Scores
from kdopt.service.class_counts import ClassCounts
from tests.conftest import make_pretrained

COUNTS = (12, 7, 30)


def score(rng: random.Random) -> Scores:
    right = [rng.randint(0, n) for n in COUNTS]
    shares = tuple(r / n for r, n in zip(right, COUNTS, strict=True))
    return Scores(sum(right) / sum(COUNTS), shares, 1.0, sum(COUNTS))


def count(n: int, wrong: int = 0) -> ClassCounts:
    rng = random.Random(0)
    outcomes = []
    for i in range(n):
        scores = score(rng)
        if i < wrong:
            scores = dataclasses.replace(scores, per_class=(0.123, *scores.per_class[1:]))
        outcomes.append(dataclasses.replace(make_pretrained(0.5), validation=scores, test=scores))
    return ClassCounts(outcomes)


@pytest.mark.parametrize("wrong", [0, 2])
def test_accuracies_of_the_same_classes_are_fine_and_others_are_named(wrong: int) -> None:
    counts, one = count(30, wrong), score(random.Random(1))
    for key in ("validation", "validation_before", "test", "test_before"):
        assert list(counts.check(key, one)) == []
    shares = one.per_class
    for other in ((0.123, *shares[1:]), (shares[0], (shares[1] + 1 / 7) % 1, shares[2])):
        (problem,) = counts.check("test", dataclasses.replace(one, per_class=other))
        assert problem.startswith("test: an accuracy of")


def test_nothing_is_said_where_classes_cannot_be_told() -> None:
    one = dataclasses.replace(score(random.Random(1)), per_class=(0.123, 0.5, 0.5))
    assert list(count(3).check("test", one)) == []
    assert list(ClassCounts().check("test", one)) == []
    assert list(count(30).check("test", dataclasses.replace(one, images=None))) == []
