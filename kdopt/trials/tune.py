"""Tuning: one study per (partition, teacher, student) over temperature and alpha (section IV-C).

Other methods have studies of their own, over their parameters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import torch

from kdopt.campaign.method_studies import BUDGET_FIELDS
from kdopt.campaign.names import seed_for
from kdopt.campaign.stage_settings import TransferName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.train.fit import DivergedError
from kdopt.trials.context import Context
from kdopt.trials.distil import distil_pair, make_budget
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome

FILLED_UP = 2
"""Places of a group that may be taken by a cell that is there already."""


def run_tune(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Distil the teacher into a copy of the student, by plain distillation on its own data."""
    if plan.method is not None:
        return _run_method(context, plan, params, inputs)
    (result,) = run_tune_together(context, plan, [params], inputs)
    if isinstance(result, DivergedError):
        raise result
    return result


def run_tune_together(
    context: Context, plan: StudyPlan, cells: Sequence[Params], inputs: Inputs
) -> list[Outcome | DivergedError]:
    """The same for several cells at once; each has its share of the time that they took."""
    if plan.method is not None:
        return [_try_method(context, plan, params, inputs) for params in cells]
    assert plan.teacher is not None and plan.student is not None
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    images = context.get_share(plan.partition, plan.student)
    # A group that lacks a few is filled up: to record the steps of another size takes longer.
    lacking = context.together - len(cells)
    filled = [*cells, *([cells[0]] * lacking if lacking <= FILLED_UP else [])]
    # Before the students are loaded: to compute a teacher's logits fills the same model object.
    losses = context.get_distillation_losses(
        inputs[plan.teacher], plan.partition, plan.student, len(filled)
    )
    for loss, params in zip(losses, filled, strict=True):
        loss.set_cell(float(params["temperature"]), float(params["alpha"]))
    # Params and teacher stay out of the seed: all trials of a student see the same batches.
    seeds = [
        seed_for(campaign.seed, plan.partition, "distill", plan.student, int(params["replicate"]))
        for params in filled
    ]
    # Torch's global generator is seeded for the first alone: models that draw from it are never
    # trained together (:func:`kdopt.train.fit.choose_group_size`).
    with seeded(seeds[0], engine.device) as generator:
        results = context.train_models(
            context.load_models(inputs[plan.student], len(filled)),
            images,
            losses,
            campaign.distill,
            [generator, *(torch.Generator().manual_seed(seed) for seed in seeds[1:])],
            context.get_validation(plan.partition, plan.student),
        )[: len(cells)]
    seconds = (time.perf_counter() - started) / len(cells)
    return [
        result
        if isinstance(result, DivergedError)
        else make_outcome(context, result, seconds=seconds, before=inputs[plan.student])
        for result in results
    ]


def _try_method(
    context: Context, plan: StudyPlan, params: Params, inputs: Inputs
) -> Outcome | DivergedError:
    try:
        return _run_method(context, plan, params, inputs)
    except DivergedError as error:
        return error  # the others of its group go on


def _run_method(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Distil by the study's method; what the parameters do not say is as in ``[distill]``."""
    assert plan.method is not None
    apart = {"replicate", "transfer_set", *BUDGET_FIELDS}
    return distil_pair(
        context,
        plan,
        inputs,
        method=plan.method,
        values={name: value for name, value in params.items() if name not in apart},
        transfer_set=cast("TransferName", params.get("transfer_set", "student")),
        replicate=int(params["replicate"]),
        budget=make_budget(context.campaign, params),
    )
