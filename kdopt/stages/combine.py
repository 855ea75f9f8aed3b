"""Combining: all participants distilled into one model, one study per partition (section V-A)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from kdopt.many import STARTS, WEIGHTINGS, StartName, TransferName, WeightingName
from kdopt.names import seed_for
from kdopt.outcome import Outcome
from kdopt.plan import TRANSFER_SETS, UNLABELED, Campaign, Cell, Param, StudyPlan
from kdopt.stages.base import partition_studies

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdopt.stages.base import Inputs
    from kdopt.stages.context import Context, Evaluation
    from kdopt.train.teachers import Mixture


class Way(NamedTuple):
    """One way of combining: a column of Table II."""

    start: StartName
    transfer_set: TransferName
    weighting: WeightingName


class Consolidated(NamedTuple):
    """All participants in one model.

    Attributes:
        model: It, with its best weights.
        result: Its scores and how its training went.
        student: The participant it started from; ``None`` for random weights.
    """

    model: nn.Module
    result: Evaluation
    student: int | None


def ways(campaign: Campaign) -> list[Way]:
    """The grid of Table II: what has images, and no untrained student on its own data."""
    combine = campaign.combine
    return [
        Way(start, transfer_set, weighting)
        for transfer_set in combine.transfer_sets
        if transfer_set == "student" or campaign.transfer.size(transfer_set)
        for start in combine.starts
        if not (start == "untrained" and transfer_set == "student")
        for weighting in combine.weightings
    ]


def studies(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per way and replicate."""
    cells = tuple(
        {**way._asdict(), "replicate": replicate}
        for way in ways(campaign)
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    params = {
        "start": Param("category", choices=STARTS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "weighting": Param("category", choices=WEIGHTINGS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return partition_studies(campaign, "combine", params, cells, needs_all=True)


def run(context: Context, plan: StudyPlan, cell: Cell, inputs: Inputs) -> Outcome:
    """Combine all participants of a partition in one way, and keep the model."""
    started = time.perf_counter()
    way = Way(
        cast("StartName", cell["start"]),
        cast("TransferName", cell["transfer_set"]),
        cast("WeightingName", cell["weighting"]),
    )
    made = consolidate(context, plan.partition, way, int(cell["replicate"]), inputs)
    outcome = context.outcome(
        made.result,
        seconds=time.perf_counter() - started,
        before=None if made.student is None else inputs[made.student],
        checkpoint=context.keep(made.model),
    )
    return replace(outcome, value=made.result.validation.accuracy, participant=made.student)


def starting_student(start: StartName, inputs: Inputs) -> int | None:
    """The participant of least or greatest validation accuracy; ``None`` for random weights.

    Among equals the first.
    """
    if start == "untrained":
        return None
    choose = min if start == "worst" else max
    return choose(sorted(inputs), key=lambda i: inputs[i].validation.accuracy)


def consolidate(
    context: Context, partition: str, way: Way, replicate: int, inputs: Inputs
) -> Consolidated:
    """Distil all other participants into one student, by vanilla distillation (Eq. 2 with Eq. 7).

    On a public set a copy of the untouched student joins the teachers (self-teacher rule of
    section III), unless it starts untrained. Without labels alpha is 1.

    Args:
        context: The campaign's images and models.
        partition: The partition.
        way: Start, transfer set and weighting.
        replicate: Part of the seed.
        inputs: The pre-training outcome of every participant.
    """
    from torch.nn import functional

    from kdopt.train.engine import seeded
    from kdopt.train.fit import fit

    campaign, engine = context.campaign, context.engine
    student = starting_student(way.start, inputs)
    images = context.transfer_set(partition, student or 0, way.transfer_set)
    labels = None if way.transfer_set in UNLABELED else images.labels
    mixture = _mix(context, partition, way, inputs, labels)
    tune = campaign.tune
    scale = tune.vanilla_temperature**2 if tune.t2_scale else 1.0
    alpha = tune.vanilla_alpha

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        soft = mixture.loss(index, logits)
        if labels is None:
            return scale * soft
        hard = functional.cross_entropy(logits.float(), labels[index])
        return (1 - alpha) * hard + alpha * scale * soft

    # As in the stages of pairs: a student sees the same batches in every way of teaching it.
    who = ("combine", "untrained") if student is None else ("distill", student)
    with seeded(seed_for(campaign.seed, partition, *who, replicate), engine.device) as generator:
        model = context.new_model() if student is None else context.load_model(inputs[student])
        fitted = fit(
            model,
            images,
            loss,
            campaign.distill,
            engine,
            generator,
            monitor=context.validation_accuracy,
        )
        return Consolidated(model, context.evaluate(model, fitted), student)


def teachers_of(way: Way, inputs: Inputs) -> list[int]:
    """Who teaches: all others, and last the student's copy where there is one."""
    student = starting_student(way.start, inputs)
    others = [i for i in sorted(inputs) if i != student]
    copied = student is not None and way.transfer_set != "student"
    return [*others, student] if copied and student is not None else others


def _mix(
    context: Context, partition: str, way: Way, inputs: Inputs, labels: Tensor | None
) -> Mixture:
    """Add up the weighted teachers, one at a time."""
    from kdopt.train.teachers import Mixture, class_weights

    student, teachers = starting_student(way.start, inputs), teachers_of(way, inputs)
    weights = class_weights(
        way.weighting,
        [_class_accuracies(inputs[t]) for t in teachers],
        None if student is None else _class_accuracies(inputs[student]),
        with_copy=student in teachers,
    ).to(context.engine.device)
    mixture = Mixture(context.campaign.tune.vanilla_temperature)
    for teacher, weight in zip(teachers, weights, strict=True):
        logits = context.logits(inputs[teacher], partition, student or 0, way.transfer_set)
        by = None
        if context.campaign.combine.weight_terms == "image":
            by = logits.argmax(dim=1) if labels is None else labels
        mixture.add(logits, weight, by)
    return mixture


def _class_accuracies(pretrained: Outcome) -> list[float]:
    """On validation, never on test; a class without validation images counts as unknown."""
    return [accuracy or 0.0 for accuracy in pretrained.validation.per_class]
