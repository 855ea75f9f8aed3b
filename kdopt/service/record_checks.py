"""Whether the record of a result agrees with itself, with its study and with pre-training.

Also whether the run that it tells of can have been, and whether its student is rightly kept.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kdopt.analysis.verdicts import is_rival, name_rivals, rank_trial
from kdopt.campaign.federated_algorithms import CONSOLIDATED
from kdopt.campaign.participants import ParticipantSettings
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import ParamValue, StudyPlan
from kdopt.outcome import TRAINED, LinePoint, Outcome, Scores, measure_change, measure_gain
from kdopt.shown import format_count
from kdopt.store.attributes import KEPT_KEY, OTHER_WEIGHTS_KEY
from kdopt.store.kept import Kept, parse_kept

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
        yield (
            f"{key}: accuracies of {format_count(len(scores.per_class), 'class')}, where the data "
            f"has {classes}"
        )
    if scores.images and not is_whole(scores.accuracy * scores.images):
        yield f"{key}: an accuracy of {scores.accuracy} on {format_count(scores.images, 'image')}"
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
        yield (
            f"{key}: {right} of {format_count(scores.images, 'image')} right, accuracy "
            f"{scores.accuracy}"
        )


def _check_line(outcome: Outcome, around: Surroundings) -> Iterator[str]:
    """Whether the best student of the line was kept, and each agrees with its images."""
    places = around.campaign.student_line
    for point in outcome.line:
        yield from _check_point(f"student line at {point.position}", point, places, outcome, around)
    for point in outcome.measured_line:
        where = f"measured statistics at {point.position} of the student line"
        yield from _check_point(where, point, (TRAINED, *places), outcome, around)
    kept = TRAINED if outcome.line_position is None else outcome.line_position
    if outcome.batch_norm == "measured":
        tried = {point.position for point in outcome.measured_line}
    else:
        tried = {TRAINED, *(point.position for point in outcome.line)}
    if kept not in tried:
        yield f"it keeps the student at {kept} of its line, which was not tried"


def _check_point(
    where: str,
    point: LinePoint,
    places: Sequence[float],
    outcome: Outcome,
    around: Surroundings,
) -> Iterator[str]:
    if point.position not in places:
        yield f"{where}: the campaign has no such place"
    scores = replace(
        outcome.validation, accuracy=point.validation_accuracy, right=point.right, per_class=()
    )
    yield from _check_scores(where, scores, 0)
    better = point.validation_accuracy > outcome.validation.accuracy
    if better and around.campaign.select_on == "validation":
        yield f"{where}: better on validation than the student that was kept"


def _check_rounds(outcome: Outcome, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    wanted = around.campaign.federate.rounds + 1 if plan.stage == "federate" else 0
    # Records of older versions have none.
    if outcome.rounds and len(outcome.rounds) != wanted:
        yield f"{format_count(len(outcome.rounds), 'round')}, where {wanted} are planned"
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


HAVE_A_LINE = ("control", "tune", "compare", "combine")
"""Stages whose students may be tried on the campaign's student line."""

CHOOSE_A_STUDENT = ("combine", "federate")
"""Stages that choose for themselves from which participant they start."""


def check_run(checked: ExaminedTrial, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    """What of a complete trial's run cannot have been, a line each."""
    outcome = checked.outcome
    assert outcome is not None
    if outcome.device not in ("cpu", "cuda"):
        yield f"its device is {outcome.device!r}"
    if outcome.precision not in ("fp32", "bf16"):
        yield f"its precision is {outcome.precision!r}"
    if not all(outcome.versions.values()):
        yield "a version that it ran with is empty"
    yield from _check_epochs(checked, outcome, plan, around)
    yield from _check_last(outcome)
    yield from _check_curve(outcome, plan, around)
    yield from _check_others_fields(checked, outcome, plan, around)


def _check_epochs(
    checked: ExaminedTrial, outcome: Outcome, plan: StudyPlan, around: Surroundings
) -> Iterator[str]:
    if _brought_weights(checked, plan, around):
        if outcome.epochs or outcome.best_epoch:
            yield (
                f"it trained {format_count(outcome.epochs, 'epoch')}, and its weights are only to "
                "be scored"
            )
        return
    if not 1 <= outcome.best_epoch <= outcome.epochs:
        yield f"its best epoch is {outcome.best_epoch} of {outcome.epochs}"
    campaign = around.campaign
    if plan.stage == "pretrain":
        most = campaign.pretrain.epochs
    elif plan.stage == "federate":
        most = campaign.federate.rounds * campaign.federate.local_epochs
    elif plan.stage == "combine" and campaign.combine.epochs is not None:
        most = campaign.combine.epochs
    else:
        most = int(checked.params.get("epochs", campaign.distill.epochs))
    if outcome.epochs > most:
        yield f"it trained {format_count(outcome.epochs, 'epoch')}, and its budget is {most}"


def _brought_weights(checked: ExaminedTrial, plan: StudyPlan, around: Surroundings) -> bool:
    """Whether it is of a participant that brings its weights or logits along."""
    rows: tuple[ParticipantSettings, ...] = around.campaign.participant
    who = checked.params.get("participant")
    return (
        plan.stage == "pretrain"
        and isinstance(who, int)
        and 0 <= who < len(rows)
        and (rows[who].weights is not None or rows[who].logits is not None)
    )


def _check_curve(outcome: Outcome, plan: StudyPlan, around: Surroundings) -> Iterator[str]:
    """The learning curve has a value per epoch, and the last one is known otherwise, too."""
    campaign, curve = around.campaign, outcome.curve
    combined = plan.stage == "combine"  # it may have a patience of its own
    if curve and plan.stage not in HAVE_A_LINE:
        yield "a learning curve, which the campaign did not ask of it"
    # A trial may be older than the setting, which may change: it has a whole curve or none.
    elif curve and len(curve) != outcome.epochs:
        yield (
            f"a learning curve of {format_count(len(curve), 'epoch')}, and it trained "
            f"{outcome.epochs}"
        )
    if not curve or campaign.distill.monitor != "accuracy":
        return
    if campaign.batch_norm != "measured" and not _are_equal(
        curve[-1], outcome.last_validation_accuracy
    ):
        yield (
            f"its learning curve ends at {curve[-1]}, its last validation accuracy is "
            f"{outcome.last_validation_accuracy}"
        )
    if campaign.distill.patience and not combined:
        best = curve.index(max(curve)) + 1
        if best != outcome.best_epoch:
            yield f"its best epoch is {outcome.best_epoch}, and {best} on its learning curve"


def _check_last(outcome: Outcome) -> Iterator[str]:
    """The accuracies after the last epoch: those of the kept student, where it is of that epoch."""
    same = outcome.best_epoch == outcome.epochs and outcome.line_position in (None, TRAINED)
    same &= outcome.batch_norm != "measured"
    for key in ("validation", "test"):
        last, scores = getattr(outcome, f"last_{key}_accuracy"), getattr(outcome, key)
        if same and last != scores.accuracy:
            yield f"{key}: {last} after the last epoch, whose student was kept and has another"
        elif scores.images and not is_whole(last * scores.images):
            yield f"{key}: {last} after the last epoch, on {format_count(scores.images, 'image')}"


def _check_others_fields(
    checked: ExaminedTrial, outcome: Outcome, plan: StudyPlan, around: Surroundings
) -> Iterator[str]:
    """What only trials of some stages record."""
    stage = plan.stage
    has_line = stage in HAVE_A_LINE and bool(around.campaign.student_line)
    if (outcome.line or outcome.line_position is not None) and not has_line:
        yield "a student line, which the campaign did not ask of it"
    if outcome.line_position is None and has_line and stage != "combine":
        yield "no student line, which the campaign asks for"
    if outcome.batch_norm is None and outcome.measured_line:
        yield "measured statistics, and not which the kept student has"
    if outcome.batch_norm is not None and not (
        stage in HAVE_A_LINE and around.campaign.batch_norm == "both"
    ):
        yield "both batch-norm statistics, which the campaign did not ask of it"
    if outcome.participant is not None:
        if stage not in CHOOSE_A_STUDENT:
            yield f"it starts from participant {outcome.participant}, as no trial of {stage} does"
        elif outcome.participant >= around.campaign.participants:
            yield f"it starts from participant {outcome.participant}"
        elif stage == "federate" and checked.params.get("initial_model") != CONSOLIDATED:
            yield f"it starts from participant {outcome.participant}, and nothing was consolidated"
    elif stage == "combine" and checked.params.get("start") != "untrained":
        yield "it names no participant that it starts from"
    if stage != "federate" and (outcome.round_bytes, outcome.start_bytes) != (None, None):
        yield f"bytes that it sent, although trials of {stage} send none"
    if outcome.taken_from is not None:
        study = outcome.taken_from.partition(" #")[0].split("/")
        if stage != "pretrain" or len(study) != 3 or study[-1] != "pretrain":
            yield f"it is taken from {outcome.taken_from!r}, which no trial of {stage} can be"


def is_whole(number: float) -> bool:
    """Whether it is a whole number but for rounding."""
    return abs(number - round(number)) < 1e-6 * max(1.0, number)


def check_kept(
    rows: Sequence[ExaminedTrial], plans: Mapping[str, StudyPlan], campaign: Campaign
) -> Iterator[str]:
    """What is wrong with the students that are kept, a line each.

    Args:
        rows: All trials of a campaign.
        plans: Its studies by name.
        campaign: Its settings.
    """
    holders: dict[object, str] = {}
    for row in rows:
        plan = plans.get(row.trial.study)
        if KEPT_KEY not in row.trial.attributes or plan is None:
            continue
        if row.problems or plan.space.keys() - row.params.keys():
            continue  # said already, and its rank cannot be told
        kept = read_kept(row)
        if kept is None:
            yield f"{row.trial.label}: {KEPT_KEY} cannot be read"
        elif row.trial.state != "COMPLETE" or row.outcome is None:
            yield f"{row.trial.label}: its student is kept, and it has no result"
        elif not is_rival(plan, row.params, row.outcome):
            yield f"{row.trial.label}: its student is kept, and is none to choose from"
        else:
            studies, of = name_rivals(campaign, plan, row.params)
            rank = rank_trial(campaign, row.params, row.outcome, plan.method)
            if (kept.of, kept.rank) != (of, rank):
                yield f"{row.trial.label}: {KEPT_KEY} is not what its result says"
            other = holders.setdefault((studies, of), row.trial.label)
            if other != row.trial.label:
                yield f"{row.trial.label}: its student is kept, and so is that of {other}"


def read_kept(row: ExaminedTrial) -> Kept | None:
    """The student that is kept of a trial; ``None`` where there is none, or it cannot be read."""
    return parse_kept(row.trial.attributes.get(KEPT_KEY), (row.trial.study,))
