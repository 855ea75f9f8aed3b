"""Comparison: one study per (partition, teacher, student) over method and transfer set."""

from __future__ import annotations

import time
from typing import cast

from kdopt.campaign.names import seed_for
from kdopt.campaign.stage_settings import UNLABELED, MethodName, TransferName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.train.methods.base import MethodInputs, MethodSettings
from kdopt.train.methods.registry import find_method
from kdopt.train.models import ModelPair
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


def run_compare(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Distil one pair by one method on one transfer set; the student is what is kept.

    For mutual learning this is the rule of section III (of the two models, keep the one whose
    data is the transfer set), extended to public sets.
    """
    assert plan.teacher is not None and plan.student is not None
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    teacher, student = inputs[plan.teacher], inputs[plan.student]
    transfer_set = cast("TransferName", params["transfer_set"])
    method = find_method(cast("MethodName", params["method"]), transfer_set)
    images = context.get_transfer_set(plan.partition, plan.student, transfer_set)
    where = (plan.partition, plan.student, transfer_set)
    method_inputs = MethodInputs(
        labels=None if transfer_set in UNLABELED else images.labels,
        teacher=context.get_logits(teacher, *where),
        initial_student=context.get_logits(student, *where),
        public=transfer_set != "student",
    )
    settings = MethodSettings(
        campaign.tune.vanilla_temperature,
        campaign.tune.vanilla_alpha,
        campaign.tune.t2_scale,
        campaign.compare.self_teacher_weight,
        campaign.compare.dml_weight,
        campaign.compare.dml_temperature,
        campaign.compare.dp_kd_temperature,
        campaign.compare.dp_kd_label_weight,
    )
    seed = seed_for(
        campaign.seed, plan.partition, "distill", plan.student, int(params["replicate"])
    )
    with seeded(seed, engine.device) as generator:
        kept = context.load_model(student)
        model = ModelPair(kept, context.load_peer(teacher)) if method.trains_both else kept
        result = context.train_model(
            model,
            images,
            method.loss(method_inputs, settings),
            campaign.distill,
            generator,
            context.get_validation(plan.partition, plan.student),
            judged=kept,
        )
    return make_outcome(context, result, seconds=time.perf_counter() - started, before=student)
