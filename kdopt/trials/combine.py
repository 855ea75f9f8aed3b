"""Combining: all participants distilled into one model, one study per partition (section V-A)."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign, TrainSettings
from kdopt.campaign.stage_settings import UNLABELED, StartName, TransferName, WeightingName
from kdopt.campaign.stages import Combination
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.train.evaluation import Evaluation
from kdopt.train.teachers import Mixture, compute_class_weights
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


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


def run_combine(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Combine all participants of a partition in one way, and keep the model."""
    started = time.perf_counter()
    combination = Combination(
        cast("StartName", params["start"]),
        cast("TransferName", params["transfer_set"]),
        cast("WeightingName", params["weighting"]),
    )
    made = consolidate(context, plan.partition, combination, int(params["replicate"]), inputs)
    outcome = make_outcome(
        context,
        made.result,
        seconds=time.perf_counter() - started,
        before=None if made.student is None else inputs[made.student],
        checkpoint=context.save_model(made.model),
    )
    return replace(outcome, value=made.result.validation.accuracy, participant=made.student)


def make_combine_budget(campaign: Campaign) -> TrainSettings:
    """The budget of ``[distill]`` with what ``[combine]`` says otherwise."""
    epochs, patience = campaign.combine.epochs, campaign.combine.patience
    return replace(
        campaign.distill,
        epochs=campaign.distill.epochs if epochs is None else epochs,
        patience=campaign.distill.patience if patience is None else patience,
    )


def choose_student(
    start: StartName, inputs: Inputs, learners: Collection[int] | None = None
) -> int | None:
    """The participant of least or greatest validation accuracy; ``None`` for random weights.

    Among equals the first.

    Args:
        start: Which.
        inputs: The pre-training outcome of every participant.
        learners: Those that may be a student; ``None`` for all.
    """
    if start == "untrained":
        return None
    choose = min if start == "worst" else max
    able = sorted(inputs if learners is None else set(inputs) & set(learners))
    return choose(able, key=lambda i: inputs[i].validation.accuracy)


def consolidate(
    context: Context, partition: str, combination: Combination, replicate: int, inputs: Inputs
) -> Consolidated:
    """Distil all other participants into one student, by vanilla distillation (Eq. 2 with Eq. 7).

    On a public set a copy of the untouched student joins the teachers (self-teacher rule of
    section III), unless it starts untrained. Without labels alpha is 1.

    Args:
        context: The campaign's images and models.
        partition: The partition.
        combination: Start, transfer set and weighting.
        replicate: Part of the seed.
        inputs: The pre-training outcome of every participant.
    """
    campaign, engine = context.campaign, context.engine
    student = choose_student(combination.start, inputs, campaign.learners)
    images = context.get_transfer_set(partition, student or 0, combination.transfer_set)
    labels = None if combination.transfer_set in UNLABELED else images.labels
    # Before the student is loaded: to compute a teacher's logits fills the same model object.
    mixture = _mix_teachers(context, partition, combination, inputs, student, labels)
    tune = campaign.tune
    scale = tune.vanilla_temperature**2 if tune.t2_scale else 1.0
    alpha = tune.vanilla_alpha

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        soft = mixture.loss(index, logits)
        if labels is None:
            return scale * soft
        hard = functional.cross_entropy(logits.float(), labels[index])
        return (1 - alpha) * hard + alpha * scale * soft

    # As in the stages of pairs: a student sees the same batches however it is taught.
    who = ("combine", "untrained") if student is None else ("distill", student)
    with seeded(seed_for(campaign.seed, partition, *who, replicate), engine.device) as generator:
        model = context.new_model() if student is None else context.load_model(inputs[student])
        validation = context.get_validation(partition, student)
        budget = make_combine_budget(campaign)
        result = context.train_model(
            model, images, loss, budget, generator, validation, from_student=student is not None
        )
        return Consolidated(model, result, student)


def list_teachers(combination: Combination, inputs: Inputs, student: int | None) -> list[int]:
    """The teachers: all other participants, and last the student's copy where there is one."""
    others = [i for i in sorted(inputs) if i != student]
    copied = student is not None and combination.transfer_set != "student"
    return [*others, student] if copied and student is not None else others


def _mix_teachers(
    context: Context,
    partition: str,
    combination: Combination,
    inputs: Inputs,
    student: int | None,
    labels: Tensor | None,
) -> Mixture:
    """Add up the weighted teachers, one at a time."""
    teachers = list_teachers(combination, inputs, student)
    weights = compute_class_weights(
        combination.weighting,
        [_class_accuracies(inputs[t]) for t in teachers],
        None if student is None else _class_accuracies(inputs[student]),
        with_copy=student in teachers,
    ).to(context.engine.device)
    mixture = Mixture(context.campaign.tune.vanilla_temperature)
    for teacher, weight in zip(teachers, weights, strict=True):
        logits = context.get_logits(
            inputs[teacher], partition, student or 0, combination.transfer_set
        )
        by = None
        if context.campaign.combine.weight_terms == "image":
            by = logits.argmax(dim=1) if labels is None else labels
        mixture.add(logits, weight, by)
    return mixture


def _class_accuracies(pretrained: Outcome) -> list[float]:
    """On validation, never on test; a class without validation images counts as unknown."""
    return [accuracy or 0.0 for accuracy in pretrained.validation.per_class]
