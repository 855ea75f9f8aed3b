"""What finished pairs have to teach: what each gained at the same points, and who it was.

A prior is a plain table. It is written once, when a campaign is planned, and never changes after
that, so the same campaign learns the same from it in any worker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from kdopt.errors import KdoptError
from kdopt.features.definitions import OUTCOME_FEATURES, pair_features
from kdopt.outcome import Outcome

Point = tuple[float, float]
"""Temperature and alpha."""

FEATURES = tuple(feature.name for feature in OUTCOME_FEATURES)
"""What is known of every pair before it is distilled: the pre-training outcomes say it."""

DECIMALS = 2
"""Digits that are kept of numbers in pp. They are shares of a few hundred images."""

LOSS_DECIMALS = 3

SHIPPED = "fashion.json"


class Result(NamedTuple):
    """What one point did to the student. Four numbers tell more of a pair than one: two points of
    equal gain may lie on either side of the best.

    Attributes:
        gain: The objective of tuning, pp.
        learnt: Mean over classes of the rises of accuracy on validation, pp.
        forgotten: Mean over classes of the falls, pp, >= 0.
        loss: Change of the cross-entropy on validation, nats.
    """

    gain: float
    learnt: float
    forgotten: float
    loss: float


def result_of(outcomes: Sequence[Outcome]) -> Result:
    """The mean of a point's replicates.

    A trial whose starting point is not recorded says nothing but its gain: the rest of it is as
    if every class had moved by the gain.
    """
    each = [_result(outcome) for outcome in outcomes]
    means = [math.fsum(values) / len(each) for values in zip(*each, strict=True)]
    digits = (DECIMALS, DECIMALS, DECIMALS, LOSS_DECIMALS)
    return Result(*(round(m, d) for m, d in zip(means, digits, strict=True)))


def _result(outcome: Outcome) -> Result:
    before, after = outcome.validation_before, outcome.validation
    if before is None:
        return Result(outcome.value, max(0.0, outcome.value), max(0.0, -outcome.value), 0.0)
    moves = [
        100 * (b - a)
        for a, b in zip(before.per_class, after.per_class, strict=True)
        if a is not None and b is not None
    ]
    n = max(1, len(moves))
    learnt = math.fsum(max(0.0, m) for m in moves) / n
    forgotten = math.fsum(max(0.0, -m) for m in moves) / n
    return Result(outcome.value, learnt, forgotten, after.loss - before.loss)


@dataclass(frozen=True)
class KnownPair:
    """A pair as far as it is known.

    Attributes:
        teacher: Names the teacher's weights (their sha256); empty when it is like no other.
        student: The same of the student.
        features: The numbers of :data:`FEATURES`, NaN where one is not known.
        results: What came of each point that was measured.
    """

    teacher: str
    student: str
    features: tuple[float, ...]
    results: Mapping[Point, Result]


def known_pair(teacher: Outcome, student: Outcome, results: Mapping[Point, Result]) -> KnownPair:
    """A pair by the pre-training outcomes of both and what was measured of it."""
    features = pair_features(teacher.validation, student.validation)
    return KnownPair(
        teacher.checkpoint or "",
        student.checkpoint or "",
        tuple(round(features[name], LOSS_DECIMALS) for name in FEATURES),
        results,
    )


@dataclass(frozen=True)
class Prior:
    """Pairs whose points were all measured.

    Attributes:
        source: Where they are from, for people.
        t2_scale: Whether their teacher's term was multiplied by temperature squared; without it
            the same point means something else.
        points: The points that every pair has, in a fixed order.
        pairs: The pairs.
    """

    source: str
    t2_scale: bool
    points: tuple[Point, ...]
    pairs: tuple[KnownPair, ...]

    def to_bytes(self) -> bytes:
        """JSON, one line per pair; :meth:`from_bytes` reads it back."""
        head = {
            "source": self.source,
            "t2_scale": self.t2_scale,
            "features": FEATURES,
            "results": Result._fields,
            "points": self.points,
        }
        lines = [
            json.dumps(
                {
                    "teacher": pair.teacher,
                    "student": pair.student,
                    "features": [None if math.isnan(f) else f for f in pair.features],
                    "results": [pair.results[point] for point in self.points],
                },
                separators=(",", ":"),
            )
            for pair in self.pairs
        ]
        return (json.dumps(head)[:-1] + ',\n"pairs": [\n' + ",\n".join(lines) + "\n]}\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Prior:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            KdoptError: It was written by a version that knew pairs by other numbers.
        """
        record = json.loads(content)
        known = (*record["features"], *record["results"])
        if known != (*FEATURES, *Result._fields):
            raise KdoptError(
                f"the prior of '{record['source']}' knows pairs by {', '.join(known)}; this "
                f"version of kdopt by {', '.join((*FEATURES, *Result._fields))}. "
                "Go on with the version that planned the campaign"
            )
        points = tuple((float(t), float(a)) for t, a in record["points"])
        pairs = tuple(
            KnownPair(
                pair["teacher"],
                pair["student"],
                tuple(math.nan if f is None else f for f in pair["features"]),
                dict(zip(points, (Result(*r) for r in pair["results"]), strict=True)),
            )
            for pair in record["pairs"]
        )
        return cls(record["source"], record["t2_scale"], points, pairs)


def shipped() -> Prior:
    """The prior that comes with kdopt (see ``studies/fashion-advice.toml``)."""
    return Prior.from_bytes(files(__package__).joinpath(SHIPPED).read_bytes())
