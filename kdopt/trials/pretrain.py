"""Pre-training: each participant trains the model on its own share (paper, section III)."""

from __future__ import annotations

import time

from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


def run_pretrain(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Train one participant's model from random weights and keep it as a checkpoint."""
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    participant = int(params["participant"])
    images = context.get_share(plan.partition, participant)
    seed = seed_for(campaign.seed, plan.partition, "pretrain", participant)
    start = None
    if campaign.initial_weights == "shared":
        start = context.new_model_of_all(plan.partition)
    with seeded(seed, engine.device) as generator:
        model = context.new_model() if start is None else start
        result = context.train_model(
            model,
            images,
            lambda index, logits: functional.cross_entropy(logits.float(), images.labels[index]),
            campaign.pretrain,
            generator,
            context.get_validation(plan.partition, participant),
        )
        checkpoint = context.save_model(model)
    return make_outcome(
        context, result, seconds=time.perf_counter() - started, checkpoint=checkpoint, before=None
    )
