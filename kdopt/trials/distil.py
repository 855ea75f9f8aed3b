"""One distillation by any method: what stages ``compare`` and ``tune`` share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from kdopt.campaign.method_studies import get_budget
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign, TrainSettings
from kdopt.campaign.stage_settings import UNLABELED, TransferName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.registry import find_method
from kdopt.train.models import ModelPair
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


def make_budget(campaign: Campaign, params: Params) -> TrainSettings:
    """The budget of a trial: that of ``[distill]``, and what its parameters say besides."""
    return replace(campaign.distill, **dict(get_budget(params)))  # type: ignore[arg-type]


def distil_pair(
    context: Context,
    plan: StudyPlan,
    inputs: Inputs,
    *,
    method: str,
    values: Mapping[str, object],
    transfer_set: TransferName,
    replicate: int,
    budget: TrainSettings,
) -> Outcome:
    """Distil the pair of a study; the student is what is kept and scored.

    For mutual learning this is the rule of section III (of the two models, keep the one whose
    data is the transfer set), extended to public sets.

    Args:
        context: The campaign in this worker.
        plan: The study, which has a pair.
        inputs: The pre-trained participants.
        method: What the loss is called.
        values: The parameters of the loss, by name.
        transfer_set: The images.
        replicate: Part of the seed. Values and teacher are not: all trials of a student see the
            same batches.
        budget: Epochs, rates and batch size.
    """
    assert plan.teacher is not None and plan.student is not None
    started = time.perf_counter()
    campaign = context.campaign
    teacher, student = inputs[plan.teacher], inputs[plan.student]
    found = find_method(method, transfer_set)
    images = context.get_transfer_set(plan.partition, plan.student, transfer_set)
    where = (plan.partition, plan.student, transfer_set)
    # Before the student is loaded: to compute logits fills the same model object.
    material = MethodInputs(
        labels=None if transfer_set in UNLABELED else images.labels,
        teacher=context.get_logits(teacher, *where),
        initial_student=context.get_logits(student, *where),
        public=transfer_set != "student",
        t2_scale=campaign.tune.t2_scale,
    )
    seed = seed_for(campaign.seed, plan.partition, "distill", plan.student, replicate)
    with seeded(seed, context.engine.device) as generator:
        kept = context.load_model(student)
        model = ModelPair(kept, context.load_peer(teacher)) if found.trains_both else kept
        result = context.train_model(
            model,
            images,
            found.loss(material, **values),
            budget,
            generator,
            context.get_validation(plan.partition, plan.student),
            judged=kept,
            from_student=True,
        )
    return make_outcome(context, result, seconds=time.perf_counter() - started, before=student)
