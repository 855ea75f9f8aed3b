"""Pre-training: each participant trains the model on its own share (paper, section III)."""

from __future__ import annotations

import time

from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.engine import seeded
from kdopt.train.evaluation import Evaluation
from kdopt.train.fit import Fit
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.outcomes import make_outcome


def run_pretrain(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Train one participant's model from random weights and keep it as a checkpoint.

    One that brought weights along is only scored.
    """
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    participant = int(params["participant"])
    given = context.find_given_weights(participant)
    if given is not None:
        result = score_given(context, given, plan.partition, participant)
        return make_outcome(
            context, result, seconds=time.perf_counter() - started, checkpoint=given, before=None
        )
    images = context.get_share(plan.partition, participant)
    seed = seed_for(campaign.seed, plan.partition, "pretrain", participant)
    start = None
    if campaign.initial_weights == "shared":
        start = context.new_model_of_all(plan.partition)
    with seeded(seed, engine.device) as generator:
        model = context.new_model(participant) if start is None else start
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


def score_given(context: Context, sha256: str, partition: str, participant: int) -> Evaluation:
    """Score the weights or logits that a participant brought along; no epoch is trained."""
    if context.campaign.is_given_by_logits(participant):
        validation, test = context.score_given_logits(sha256, partition, participant)
    else:
        model = context.load_checkpoint(sha256)
        images = context.get_validation(partition, participant)
        validation, test = context.score_model(model, images)
    return Evaluation(Fit(0, 0, None), validation, test, validation.accuracy, test.accuracy)
