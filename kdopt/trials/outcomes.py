"""The record of a finished trial, made of its evaluation."""

from __future__ import annotations

from dataclasses import replace

from kdopt.outcome import Outcome, measure_change, measure_gain
from kdopt.train.evaluation import Evaluation
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Scored


def make_outcome(
    context: Context,
    result: Evaluation,
    seconds: float,
    before: Scored | None,
    checkpoint: str | None = None,
) -> Outcome:
    """The record of a finished trial; its value is the gain over ``before``, if given."""
    line = result.line
    common = {
        **{key: value for key, value in result._asdict().items() if key not in ("fit", "line")},
        "line_position": line.chosen if line and context.campaign.student_line else None,
        "line": line.points if line else (),
        "batch_norm": line.statistics if line else None,
        "measured_line": line.measured if line else (),
        "epochs": result.fit.epochs,
        "best_epoch": result.fit.best_epoch,
        "curve": result.fit.curve,
        "seconds": seconds,
        "device": context.engine.device.type,
        "precision": context.engine.precision,
        "versions": context.engine.list_versions(),
        "checkpoint": checkpoint,
    }
    if before is None:
        return Outcome(value=result.validation.accuracy, **common)
    change = measure_change(result.test, before.test)
    validation_gain = measure_gain(result.validation, before.validation)
    test_gain = measure_gain(result.test, before.test)
    return Outcome(
        value=validation_gain if context.campaign.select_on == "validation" else test_gain,
        validation_before=replace(before.validation, right=None),
        test_before=replace(before.test, right=None),
        validation_gain=validation_gain,
        test_gain=test_gain,
        learning=change.learning,
        forgetting=change.forgetting,
        **common,
    )
