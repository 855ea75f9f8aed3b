"""Tuning: one study per (partition, teacher, student) over temperature and alpha (section IV-C)."""

from __future__ import annotations

import time

from kdopt.campaign.names import seed_for
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs


def run_tune(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Distil the teacher into a copy of the student on the student's own data."""
    assert plan.teacher is not None and plan.student is not None
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    images = context.get_share(plan.partition, plan.student)
    loss = context.get_distillation_loss(inputs[plan.teacher], plan.partition, plan.student)
    # Params and teacher stay out of the seed: all trials of a student see the same batches.
    seed = seed_for(
        campaign.seed, plan.partition, "distill", plan.student, int(params["replicate"])
    )
    with seeded(seed, engine.device) as generator:
        model = context.load_model(inputs[plan.student])
        result = context.train_model(
            model,
            images,
            loss.set_cell(float(params["temperature"]), float(params["alpha"])),
            campaign.distill,
            generator,
            context.get_validation(plan.partition, plan.student),
        )
    return context.make_outcome(
        result, seconds=time.perf_counter() - started, before=inputs[plan.student]
    )
