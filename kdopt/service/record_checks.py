"""Whether the record of a result agrees with itself, with its study and with pre-training."""

from __future__ import annotations

import base64
import binascii
import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from kdopt.campaign.studies import ParamValue, StudyPlan
from kdopt.outcome import Outcome, Scores, measure_change, measure_gain
from kdopt.service.run_checks import check_run, is_whole
from kdopt.store.attributes import OTHER_WEIGHTS_KEY

if TYPE_CHECKING:
    from kdopt.service.trial_checks import ExaminedTrial, Surroundings

_TOLERANCE = 1e-9
"""Relative; what is computed again may differ in the last digits on another machine."""

BY_GAIN = ("control", "tune", "compare")
"""Stages whose value is a gain; that of the others is the accuracy on validation."""

KEEPS_WEIGHTS = ("pretrain", "combine", "federate")
"""Stages whose trials keep the weights that they made."""


def check_outcome(checked: ExaminedTrial, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    """What of a complete trial's record cannot be, a line each."""
    outcome = checked.outcome
    assert outcome is not None
    yield from _check_value(outcome, plan, around)
    for key in ("validation", "test", "validation_before", "test_before"):
        scores = getattr(outcome, key)
        if scores is not None:
            yield from _list_score_faults(key, scores, around.classes)
            yield from around.class_counts.check(key, scores)
    yield from check_run(checked, plan, around)
    if plan.stage in KEEPS_WEIGHTS and outcome.checkpoint is None:
        yield "it kept no weights"
    if plan.stage not in KEEPS_WEIGHTS and outcome.checkpoint is not None:
        yield f"it kept weights, which trials of {plan.stage} do not"
    yield from _check_line(outcome, around)
    yield from _check_rounds(outcome, plan, around)
    yield from _check_change(outcome)
    if OTHER_WEIGHTS_KEY not in checked.trial.attributes:
        yield from _check_before(checked, outcome, plan, around)


def _check_value(outcome: Outcome, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    if plan.stage not in BY_GAIN:
        wanted: float | None = outcome.validation.accuracy
    elif around.campaign.select_on == "validation":
        wanted = outcome.validation_gain
    else:
        wanted = outcome.test_gain
    if wanted != outcome.value:
        yield f"its value is {outcome.value}, and {plan.objective} is {wanted}"


@functools.lru_cache(maxsize=4096)  # all trials of a student begin with the same scores
def _list_score_faults(key: str, scores: Scores, classes: int) -> tuple[str, ...]:
    return tuple(_check_scores(key, scores, classes))


def _check_scores(key: str, scores: Scores, classes: int) -> Iterator[str]:
    if classes and len(scores.per_class) != classes:
        yield f"{key}: accuracies of {len(scores.per_class)} classes, where the data has {classes}"
    if scores.images and not is_whole(scores.accuracy * scores.images):
        yield f"{key}: an accuracy of {scores.accuracy} on {scores.images} images"
    if scores.images != 0 and not 0 <= scores.loss < math.inf:
        yield f"{key}: a loss of {scores.loss}: the model diverged, and its scores say nothing"
    known = [accuracy for accuracy in scores.per_class if accuracy is not None]
    if known and not min(known) - _TOLERANCE <= scores.accuracy <= max(known) + _TOLERANCE:
        yield f"{key}: an accuracy of {scores.accuracy}, beyond that of every class"
    if scores.right is None or scores.images is None:
        return
    try:
        bits = base64.b64decode(scores.right, validate=True)
    except (binascii.Error, ValueError):
        yield f"{key}: which images were right cannot be read"
        return
    right = int.from_bytes(bits, "big").bit_count()
    unused = 8 * len(bits) - scores.images
    if (
        not 0 <= unused < 8
        or (bits and bits[-1] % (1 << unused))
        or not _are_equal(right, scores.accuracy * scores.images)
    ):
        yield f"{key}: {right} of {scores.images} images right, accuracy {scores.accuracy}"


def _check_line(outcome: Outcome, around: Surroundings) -> Iterator[str]:
    """Whether the best student of the line was kept, and each agrees with its images."""
    planned = around.campaign.student_line
    for point in outcome.line:
        where = f"student line at {point.position}"
        if point.position not in planned:
            yield f"{where}: the campaign has no such place"
        scores = replace(
            outcome.validation, accuracy=point.validation_accuracy, right=point.right, per_class=()
        )
        yield from _check_scores(where, scores, 0)
        better = point.validation_accuracy > outcome.validation.accuracy
        if better and around.campaign.select_on == "validation":
            yield f"{where}: better on validation than the student that was kept"
    if outcome.line_position not in (None, 1.0, *(point.position for point in outcome.line)):
        yield f"it keeps the student at {outcome.line_position} of its line, which was not tried"


def _check_rounds(outcome: Outcome, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    wanted = around.campaign.federate.rounds + 1 if plan.stage == "federate" else 0
    # Records of older versions have none.
    if outcome.rounds and len(outcome.rounds) != wanted:
        yield f"{len(outcome.rounds)} rounds, where {wanted} are planned"
    elif outcome.rounds:
        last = outcome.rounds[-1]
        if last != (outcome.validation.accuracy, outcome.test.accuracy):
            yield "its last round is not what its model scores"


def _check_change(outcome: Outcome) -> Iterator[str]:
    """Gains, learning and forgetting, from the scores before and after."""
    found: dict[str, float | None] = dict.fromkeys(
        ("validation_gain", "test_gain", "learning", "forgetting")
    )
    if outcome.validation_before is not None:
        found["validation_gain"] = measure_gain(outcome.validation, outcome.validation_before)
    if outcome.test_before is not None:
        found["test_gain"] = measure_gain(outcome.test, outcome.test_before)
        if len(outcome.test.per_class) == len(outcome.test_before.per_class):
            found |= measure_change(outcome.test, outcome.test_before)._asdict()
    for key, value in found.items():
        recorded = getattr(outcome, key)
        if (recorded is None) != (value is None) or (
            value is not None and not _are_equal(recorded, value)
        ):
            yield f"{key} is {recorded}, and from its scores {value}"


def _check_before(
    checked: ExaminedTrial, outcome: Outcome, plan: StudyPlan, around: Surroundings
) -> Iterator[str]:
    """The untouched student is what pre-training gave."""
    if plan.stage == "combine":
        student: ParamValue | None = outcome.participant
    elif plan.stage in BY_GAIN:
        student = plan.student if plan.student is not None else checked.params.get("student")
    else:
        return
    before = around.pretrained.get((plan.partition, int(student))) if student is not None else None
    if before is None:
        return
    for key in ("validation", "test"):
        scores: Scores = getattr(before, key)
        recorded = getattr(outcome, f"{key}_before")
        if recorded is not None and recorded != _with_right(scores, recorded.right):
            yield f"{key}_before is not what pre-training of participant {student} recorded"


@functools.lru_cache(maxsize=4096)
def _with_right(scores: Scores, right: str | None) -> Scores:
    return replace(scores, right=right)


def _are_equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-7)
