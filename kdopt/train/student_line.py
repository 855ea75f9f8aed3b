"""The student line: students between the untouched one and the trained one, and somewhat beyond.

``w(s) = w0 + s (w1 - w0)``: each costs an evaluation and no training (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", section 3, call it weight-space ensembling).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kdopt.outcome import LinePoint, Scores
from kdopt.train.fit import DivergedError, copy_state

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
        key: _interpolate_tensor(key, untouched[key], value, position)
        if value.is_floating_point()
        else value.clone()
        for key, value in trained.items()
    }


def _interpolate_tensor(key: str, start: Tensor, end: Tensor, position: float) -> Tensor:
    between = start + position * (end - start)
    return between.clamp_min(0) if key.endswith("running_var") else between


def choose_on_line(
    model: nn.Module,
    untouched: Mapping[str, Tensor],
    best: tuple[Scores, Scores],
    positions: Sequence[float],
    by_test: bool,
    score: Callable[[bool], Scores],
) -> tuple[tuple[Scores, Scores], StudentLine]:
    """Leave a trained model with the best weights of its line.

    Among equals the trained student wins, then the one nearest to it.

    Args:
        model: Trained.
        untouched: What it was before.
        best: Its scores on validation and on test.
        positions: The other places to try.
        by_test: Whether accuracy on test decides, rather than on validation.
        score: Scores the model as it is now, on test or on validation, on validation first. What
            it does to the model then, such as to batch norm's statistics, is kept.

    Returns:
        The scores of the chosen student, and what was tried.
    """
    trained = copy_state(model)
    kept, chosen, points = trained, TRAINED, []
    for position in sorted(positions, key=lambda position: (abs(position - TRAINED), position)):
        model.load_state_dict(interpolate_weights(untouched, trained, position))
        try:
            on_validation = score(False)
            assert on_validation.right is not None
            points.append(LinePoint(position, on_validation.accuracy, on_validation.right))
            # Most positions never need the test set.
            if by_test or on_validation.accuracy > best[0].accuracy:
                scores = on_validation, score(True)
                if scores[by_test].accuracy > best[by_test].accuracy:
                    kept, chosen, best = copy_state(model), position, scores
        except DivergedError:
            continue  # beyond the trained student some weights may be of no use
    model.load_state_dict(kept)
    return best, StudentLine(chosen, tuple(sorted(points)))
