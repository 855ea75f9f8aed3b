"""Augmented trials: what the teacher is asked is what the student sees."""

from __future__ import annotations

import dataclasses

import torch

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stages import plan_combine, plan_compare, plan_control, plan_tune
from kdopt.train.evaluation import predict_logits
from kdopt.trials.combine import run_combine
from kdopt.trials.compare import run_compare
from kdopt.trials.control import run_control
from kdopt.trials.tune import run_tune
from tests.conftest import make_campaign

BASE = make_campaign(
    participants=2,
    partitions=(PartitionSettings("uniform"),),
    stages=("tune", "compare", "combine"),
    transfer=TransferSettings(60, 200, 60),
    control=True,
)
CAMPAIGN = dataclasses.replace(
    BASE, data=dataclasses.replace(BASE.data, augment=("crop_flip",), views=3)
)


def tune(context, trained, alpha):
    plan = next(p for p in plan_tune(CAMPAIGN) if p.student == 1)
    return run_tune(context, plan, {"temperature": 2.0, "alpha": alpha, "replicate": 0}, trained)


def test_the_teacher_answers_on_every_view(context, trained):
    images = context.get_share("uniform", 1)
    logits = context.get_logits(trained[0], "uniform", 1)
    assert images.views == 3 and len(logits) == images.positions == 3 * len(images)
    whole = predict_logits(context.load_model(trained[0]), images, context.engine)
    assert torch.equal(logits, whole)
    assert not torch.equal(logits[: len(images)], logits[len(images) : 2 * len(images)])


def test_a_trial_twice_gives_the_same_bits_and_without_the_teacher_it_is_the_control(
    context, trained
):
    assert tune(context, trained, 0.5).test == tune(context, trained, 0.5).test
    params = {"student": 1, "transfer_set": "student", "replicate": 0}
    alone = run_control(context, plan_control(CAMPAIGN)[0], params, trained)
    assert tune(context, trained, 0.0).test == alone.test


def test_images_count_once_and_are_judged_as_they_are(context):
    assert sum(context.count_labels("uniform", 0)) == len(context.get_share("uniform", 0))
    assert context.test.views == context.get_validation("uniform").views == 1
    assert len(context.get_transfer_set("uniform", 0, "public_labeled")) == 60


def test_public_sets_and_many_teachers_go_the_same_way(context, trained):
    (compared, *_) = plan_compare(CAMPAIGN)
    for method in ("vanilla", "dml", "dp_kd"):
        params = {"method": method, "transfer_set": "public_labeled", "replicate": 0}
        assert run_compare(context, compared, params, trained).epochs >= 1
    (combined,) = plan_combine(CAMPAIGN)
    assert run_combine(context, combined, dict(combined.cells[0]), trained).epochs >= 1
