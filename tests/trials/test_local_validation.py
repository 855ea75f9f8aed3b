"""Validation on each participant's own share."""

from __future__ import annotations

import dataclasses

import torch

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stages import plan_control, plan_tune
from kdopt.data.datasets import read_dataset
from kdopt.trials.control import run_control
from kdopt.trials.tune import run_tune
from tests.conftest import drop_record, make_campaign
from tests.trials.test_context import new_context

CAMPAIGN = make_campaign(
    participants=3,
    control=True,
    partitions=(PartitionSettings("label_dirichlet", concentration=(0.3,)),),
    data=DataSettings("digits", validation_fraction=0.2, validation="local"),
)
PARTITION = "label_dirichlet"


def test_a_student_is_judged_on_images_of_its_own_and_of_its_own_classes(context, trained):
    for who in range(3):
        own, share = context.get_validation(PARTITION, who), context.get_share(PARTITION, who)
        assert len(own) == round(0.2 * (len(own) + len(share)))
        images = torch.bincount(share.labels, minlength=10) + torch.bincount(
            own.labels, minlength=10
        )
        assert (torch.bincount(own.labels, minlength=10) <= torch.ceil(0.2 * images)).all()
        assert trained[who].validation.images == len(own)
    together = context.get_validation(PARTITION)
    assert len(together) == sum(len(context.get_validation(PARTITION, i)) for i in range(3))


def test_a_gain_compares_the_same_images_before_and_after(context, trained):
    plan = next(p for p in plan_tune(CAMPAIGN) if (p.teacher, p.student) == (0, 2))
    params = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    outcome = run_tune(context, plan, params, trained)
    assert outcome.validation_before == drop_record(trained[2].validation)
    assert outcome.validation.images == trained[2].validation.images
    alone = run_control(
        context,
        plan_control(CAMPAIGN)[0],
        {"student": 2, "transfer_set": "student", "replicate": 0},
        trained,
    )
    assert alone.validation.images == outcome.validation.images
    # Test is the data set's own, for everybody.
    assert outcome.test.images == trained[0].test.images


def test_with_one_set_for_all_everybody_is_judged_on_the_same_images(tmp_path):
    campaign = dataclasses.replace(
        CAMPAIGN, data=dataclasses.replace(CAMPAIGN.data, validation="global")
    )
    context = new_context(campaign, read_dataset(campaign.data, campaign.seed), tmp_path)
    first, second = (context.get_validation(PARTITION, who) for who in (0, None))
    assert first is second
    assert torch.equal(first.labels, context.get_validation(PARTITION, 2).labels)
