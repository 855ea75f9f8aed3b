"""Control: a student trains on without a teacher, one study per partition.

What distillation gains beyond this is what the teacher gave. Seeds, batches and budget are those
of the distillation trials, of which this is the one with alpha = 0.
"""

from __future__ import annotations

import time
from typing import cast

from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.stage_settings import TransferName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.trials.context import Context
from kdopt.trials.distil import make_budget
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


def run_control(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Train a copy of one student on the labels of a transfer set."""
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    student, transfer_set = int(params["student"]), cast("TransferName", params["transfer_set"])
    images = context.get_transfer_set(plan.partition, student, transfer_set)
    seed = seed_for(campaign.seed, plan.partition, "distill", student, int(params["replicate"]))
    with seeded(seed, engine.device) as generator:
        model = context.load_model(inputs[student])
        result = context.train_model(
            model,
            images,
            lambda index, logits: functional.cross_entropy(logits.float(), images.labels[index]),
            make_budget(campaign, params),
            generator,
            context.get_validation(plan.partition, student),
            from_student=True,
        )
    return make_outcome(
        context, result, seconds=time.perf_counter() - started, before=inputs[student]
    )
