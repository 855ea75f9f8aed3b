"""Whether the run that a record tells of can have been: its budget, its machine, what it sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kdopt.campaign.federated_algorithms import CONSOLIDATED
from kdopt.campaign.participants import ParticipantSettings
from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import Outcome

if TYPE_CHECKING:
    from kdopt.service.trial_checks import ExaminedTrial, Surroundings

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
    yield from _check_others_fields(checked, outcome, plan, around)


def _check_epochs(
    checked: ExaminedTrial, outcome: Outcome, plan: StudyPlan, around: Surroundings
) -> Iterator[str]:
    if _brought_weights(checked, plan, around):
        if outcome.epochs or outcome.best_epoch:
            yield f"it trained {outcome.epochs} epochs, and its weights are only to be scored"
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
        yield f"it trained {outcome.epochs} epochs, and its budget is {most}"


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


def _check_last(outcome: Outcome) -> Iterator[str]:
    """The accuracies after the last epoch: those of the kept student, where it is of that epoch."""
    same = outcome.best_epoch == outcome.epochs and outcome.line_position in (None, 1.0)
    for key in ("validation", "test"):
        last, scores = getattr(outcome, f"last_{key}_accuracy"), getattr(outcome, key)
        if same and last != scores.accuracy:
            yield f"{key}: {last} after the last epoch, whose student was kept and has another"
        elif scores.images and not is_whole(last * scores.images):
            yield f"{key}: {last} after the last epoch, on {scores.images} images"


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
