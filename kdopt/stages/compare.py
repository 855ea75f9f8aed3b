"""Comparison: one study per (partition, teacher, student) over method and transfer set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from kdopt.many import TransferName
from kdopt.names import seed_for
from kdopt.outcome import Outcome
from kdopt.plan import (
    METHODS,
    TRANSFER_SETS,
    UNLABELED,
    Campaign,
    Cell,
    MethodName,
    Param,
    StudyPlan,
)
from kdopt.stages.base import pair_studies

if TYPE_CHECKING:
    from kdopt.stages.base import Inputs
    from kdopt.stages.context import Context


def studies(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and ordered pair, one trial per method, transfer set and replicate.

    Every method is planned on every set that has images, also where the paper expects it to fail
    (mutual learning without labels): that it fails is one of its findings.
    """
    compare, transfer = campaign.compare, campaign.transfer
    sets = [s for s in compare.transfer_sets if s == "student" or transfer.size(s)]
    cells = tuple(
        {"method": method, "transfer_set": transfer_set, "replicate": replicate}
        for transfer_set in sets
        for method in compare.methods
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    params = {
        "method": Param("category", choices=METHODS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return pair_studies(campaign, "compare", params, cells)


def run(context: Context, plan: StudyPlan, cell: Cell, inputs: Inputs) -> Outcome:
    """Distil one pair by one method on one transfer set; the student is what is kept.

    For mutual learning this is the rule of section III (of the two models, keep the one whose
    data is the transfer set), extended to public sets.
    """
    from kdopt.train.engine import seeded
    from kdopt.train.fit import fit
    from kdopt.train.methods.base import Material, MethodSettings
    from kdopt.train.methods.registry import method_for
    from kdopt.train.models import Both

    assert plan.teacher is not None and plan.student is not None
    started = time.perf_counter()
    campaign, engine = context.campaign, context.engine
    teacher, student = inputs[plan.teacher], inputs[plan.student]
    transfer_set = cast("TransferName", cell["transfer_set"])
    method = method_for(cast("MethodName", cell["method"]), transfer_set)
    images = context.transfer_set(plan.partition, plan.student, transfer_set)
    place = (plan.partition, plan.student, transfer_set)
    material = Material(
        labels=None if transfer_set in UNLABELED else images.labels,
        teacher=context.logits(teacher, *place),
        initial_student=context.logits(student, *place),
        public=transfer_set != "student",
    )
    settings = MethodSettings(
        campaign.tune.vanilla_temperature,
        campaign.tune.vanilla_alpha,
        campaign.tune.t2_scale,
        campaign.compare.self_teacher_weight,
        campaign.compare.dml_weight,
    )
    seed = seed_for(campaign.seed, plan.partition, "distill", plan.student, int(cell["replicate"]))
    with seeded(seed, engine.device) as generator:
        kept = context.load_model(student)
        model = Both(kept, context.load_peer(teacher)) if method.trains_both else kept
        fitted = fit(
            model,
            images,
            method.loss(material, settings),
            campaign.distill,
            engine,
            generator,
            monitor=lambda _: context.validation_accuracy(kept),
        )
        result = context.evaluate(model, fitted, judged=kept)
    return context.outcome(result, seconds=time.perf_counter() - started, before=student)
