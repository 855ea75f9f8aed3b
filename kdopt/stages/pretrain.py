"""Pre-training: each participant trains the model on its own share (paper, section III)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kdopt.names import seed_for, study_name
from kdopt.outcome import Outcome
from kdopt.plan import Campaign, Cell, Param, StudyPlan

if TYPE_CHECKING:
    from kdopt.stages.base import Inputs
    from kdopt.stages.context import Context


def studies(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per participant."""
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, "pretrain"),
            campaign=campaign.name,
            partition=partition.name,
            stage="pretrain",
            objective="validation accuracy",
            params={"participant": Param("int", low=0, high=campaign.participants - 1)},
            cells=tuple({"participant": i} for i in range(campaign.participants)),
        )
        for partition in campaign.partitions
    ]


def run(context: Context, plan: StudyPlan, cell: Cell, inputs: Inputs) -> Outcome:
    """Train one participant's model from random weights and keep it as a checkpoint."""
    from torch.nn import functional

    from kdopt.train.engine import seeded
    from kdopt.train.fit import fit

    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    participant = int(cell["participant"])
    images = context.share(plan.partition, participant)
    seed = seed_for(campaign.seed, plan.partition, "pretrain", participant)
    with seeded(seed, engine.device) as generator:
        model = context.new_model()
        fitted = fit(
            model,
            images,
            lambda index, logits: functional.cross_entropy(logits.float(), images.labels[index]),
            campaign.pretrain,
            engine,
            generator,
            monitor=context.validation_accuracy,
        )
        result = context.evaluate(model, fitted)
        checkpoint = context.keep(model)
    return context.outcome(
        result, seconds=time.perf_counter() - started, checkpoint=checkpoint, before=None
    )
