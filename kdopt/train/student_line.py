"""The student line: students between the untouched one and the trained one, and somewhat beyond.

``w(s) = w0 + s (w1 - w0)``: each costs an evaluation and no training (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", section 3, call it weight-space ensembling). At each place there
may be two: with batch norm's statistics along the line, and with measured ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kdopt.outcome import STATISTICS, TRAINED, LinePoint, Scores, Statistics
from kdopt.train.fit import DivergedError, copy_state


@dataclass(frozen=True)
class StudentLine:
    """What came of trying the students on a line.

    Attributes:
        chosen: The position of the one that is kept; :data:`kdopt.outcome.TRAINED` is the end of
            training.
        points: The others that were tried, in order of their positions.
        statistics: Which batch-norm statistics the one that is kept has; ``None`` where not both
            were tried.
        measured: Those with measured statistics where both were tried, that at the end of training
            too.
    """

    chosen: float
    points: tuple[LinePoint, ...]
    statistics: Statistics | None = None
    measured: tuple[LinePoint, ...] = ()


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
    measure: Callable[[], bool] | None = None,
) -> tuple[tuple[Scores, Scores], StudentLine]:
    """Leave a trained model with the best weights of its line.

    Among equals the trained student wins, then the one nearest to it; of two at one place that
    whose batch-norm statistics were not measured.

    Args:
        model: Trained.
        untouched: What it was before.
        best: Its scores on validation and on test.
        positions: The other places to try.
        by_test: Whether accuracy on test decides, rather than on validation.
        score: Scores the model as it is now, on test or on validation, on validation first. What
            it does to the model then, such as to batch norm's statistics, is kept.
        measure: Measures the model's batch-norm statistics on images, and says whether it has any.
            With it every place, that of the trained student too, is tried a second time so.

    Returns:
        The scores of the chosen student, and what was tried.
    """
    trained = copy_state(model)
    kept, chosen = trained, TRAINED
    statistics: Statistics = "running"
    tried: dict[Statistics, list[LinePoint]] = {}
    for position, way in _walk_line(model, untouched, trained, positions, measure):
        points = tried.setdefault(way, [])
        try:
            on_validation = score(False)
            assert on_validation.right is not None
            points.append(LinePoint(position, on_validation.accuracy, on_validation.right))
            # Most positions never need the test set.
            if by_test or on_validation.accuracy > best[0].accuracy:
                scores = on_validation, score(True)
                if scores[by_test].accuracy > best[by_test].accuracy:
                    kept, best = copy_state(model), scores
                    chosen, statistics = position, way
        except DivergedError:
            continue  # beyond the trained student some weights may be of no use
    model.load_state_dict(kept)
    running, measured = (tuple(sorted(tried.get(way, ()))) for way in STATISTICS)
    return best, StudentLine(chosen, running, statistics if "measured" in tried else None, measured)


def _walk_line(
    model: nn.Module,
    untouched: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    positions: Sequence[float],
    measure: Callable[[], bool] | None,
) -> Iterator[tuple[float, Statistics]]:
    """The positions with the model there, the trained student and those nearest to it first."""
    for position in sorted({TRAINED, *positions}, key=lambda p: (abs(p - TRAINED), p)):
        if position != TRAINED:
            model.load_state_dict(interpolate_weights(untouched, trained, position))
            yield position, "running"
        if measure is not None and measure():
            yield position, "measured"
