"""The student line: students between the untouched one and the trained one, and somewhat beyond.

``w(s) = w0 + s (w1 - w0)``: each costs an evaluation and no training (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", section 3, call it weight-space ensembling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from kdopt.outcome import LinePoint, Scores

TRAINED = 1.0
"""The position of the trained student."""


@dataclass(frozen=True)
class StudentLine:
    """What came of trying the students on a line.

    Attributes:
        chosen: The position of the one that is kept; :data:`TRAINED` is the end of training.
        points: The others that were tried, in order of their positions.
    """

    chosen: float
    points: tuple[LinePoint, ...]


def interpolate_weights(
    untouched: Mapping[str, Tensor], trained: Mapping[str, Tensor], position: float
) -> dict[str, Tensor]:
    """The weights and batch-norm statistics of the student at a position.

    Args:
        untouched: Those at 0.
        trained: Those at 1; counts, which are whole numbers, are taken from here.
        position: Where, beyond 1 too: a variance is at least 0 there.
    """
    return {
        key: _interpolate(key, untouched[key], value, position)
        if value.is_floating_point()
        else value.clone()
        for key, value in trained.items()
    }


def _interpolate(key: str, start: Tensor, end: Tensor, position: float) -> Tensor:
    between = start + position * (end - start)
    return between.clamp_min(0) if key.endswith("running_var") else between


def make_line_point(position: float, validation: Scores) -> LinePoint:
    """What is recorded of a student on the line."""
    assert validation.right is not None
    return LinePoint(position, validation.accuracy, validation.right)


def sort_positions(positions: Sequence[float]) -> list[float]:
    """The nearest to the trained student first, so that it wins among equals."""
    return sorted(positions, key=lambda position: (abs(position - TRAINED), position))
