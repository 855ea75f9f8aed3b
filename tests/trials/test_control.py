"""Control: the distillation trial without a teacher."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS, TransferSettings
from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import plan_control, plan_tune
from kdopt.trials.control import run_control
from kdopt.trials.tune import run_tune
from tests.conftest import drop_record, make_campaign

CAMPAIGN = make_campaign(
    participants=2,
    partitions=(PartitionSettings("quantity_skew", concentration=(5.0,)),),
    stages=("tune", "compare"),
    transfer=TransferSettings(60, 200, 60),
    control=True,
)


def control(context, trained, **changes):
    params = {"student": 1, "transfer_set": "student", "replicate": 0, **changes}
    return run_control(context, plan_control(CAMPAIGN)[0], params, trained)


def test_it_is_the_distillation_trial_with_alpha_zero_whoever_teaches(context, trained):
    plan = next(p for p in plan_tune(CAMPAIGN) if p.student == 1)
    for temperature in (1.0, 2.0):
        params = {"temperature": temperature, "alpha": 0.0, "replicate": 0}
        distilled = run_tune(context, plan, params, trained)
        alone = control(context, trained)
        assert alone.validation == distilled.validation
        assert alone.test == distilled.test
        assert (alone.value, alone.test_gain) == (distilled.value, distilled.test_gain)


def test_it_starts_from_the_untouched_student_and_replicates_differ(context, trained):
    outcome = control(context, trained)
    assert outcome.validation_before == drop_record(trained[1].validation)
    assert outcome.value == outcome.validation_gain
    assert control(context, trained, replicate=1).test.loss != outcome.test.loss
    assert control(context, trained, transfer_set="public_labeled").test.loss != outcome.test.loss


def test_every_student_has_one_on_each_labelled_set_that_is_compared():
    (plan,) = plan_control(dataclasses.replace(CAMPAIGN, replicates=2))
    assert {c["transfer_set"] for c in plan.cells} == {"student", "public_labeled"}
    assert plan.n_trials == 2 * 2 * 2
    assert plan.needs == (0, 1)
    own = dataclasses.replace(CAMPAIGN, transfer=NO_PUBLIC_SETS)
    assert plan_control(own)[0].n_trials == 2
    unlabeled = CompareSettings(transfer_sets=("public_unlabeled_small",))
    assert plan_control(dataclasses.replace(CAMPAIGN, compare=unlabeled))[0].n_trials == 2


def test_it_is_planned_wherever_pairs_are_distilled_unless_the_campaign_says_no():
    assert plan_control(dataclasses.replace(CAMPAIGN, stages=("tune",)))
    assert plan_control(dataclasses.replace(CAMPAIGN, stages=("compare",)))
    assert plan_control(dataclasses.replace(CAMPAIGN, stages=("combine", "federate"))) == []
    assert plan_control(dataclasses.replace(CAMPAIGN, control=False)) == []


@pytest.mark.parametrize("sampler", ["grid", "sequential"])
def test_alpha_zero_on_the_grid_is_one_trial_per_student(sampler):
    tune = dataclasses.replace(CAMPAIGN.tune, alphas=(0.0, 0.5, 0.9), sampler=sampler)
    with_zero = dataclasses.replace(CAMPAIGN, tune=tune)
    assert all(cell["alpha"] > 0 for plan in plan_tune(with_zero) for cell in plan.cells)
    without_control = dataclasses.replace(with_zero, control=False)
    assert any(c["alpha"] == 0 for plan in plan_tune(without_control) for c in plan.cells)
