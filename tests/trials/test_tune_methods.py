"""Trials of methods with parameters of their own."""

from __future__ import annotations

import dataclasses
import math

import pytest

from kdopt.campaign.method_spaces import TUNED_METHODS, BudgetSpace
from kdopt.campaign.settings import PartitionSettings, TransferSettings
from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import plan_studies
from kdopt.trials.compare import run_compare
from kdopt.trials.control import run_control
from kdopt.trials.tune import run_tune, run_tune_together
from tests.conftest import make_campaign
from tests.trials.test_context import without_time


def with_methods(campaign, **changes):
    return dataclasses.replace(campaign, tune=dataclasses.replace(campaign.tune, **changes))


CAMPAIGN = with_methods(
    make_campaign(
        model="mlp",
        participants=2,
        partitions=(PartitionSettings("quantity_skew", concentration=(5.0,)),),
        stages=("tune", "compare"),
        control=True,
        transfer=TransferSettings(60, 200, 60),
        compare=CompareSettings(dml_weight=0.5),
    ),
    methods=TUNED_METHODS,
    search=BudgetSpace(epochs=(1, 2), batch_size=(16, 32), learning_rate=(1e-3, 1e-2)),
)


def find_plan(stage, method=None):
    plans = [p for p in plan_studies(CAMPAIGN) if p.stage == stage and p.method == method]
    return plans[0]


@pytest.mark.parametrize("method", TUNED_METHODS)
def test_every_method_trains_at_its_published_setting(method, context, trained):
    plan = find_plan("tune", method)
    found = run_tune(context, plan, plan.cells[0], trained)
    assert found.value == found.validation_gain and math.isfinite(found.value)
    assert found.epochs == CAMPAIGN.distill.epochs
    # Alone, in a group, and again: the same trial.
    (again,) = run_tune_together(context, plan, [plan.cells[0]], trained)
    assert without_time(again) == without_time(found)


def test_at_the_same_values_a_tuned_method_is_the_fixed_one(context, trained):
    compare = find_plan("compare")
    for method, fixed, transfer_set in (
        ("kd", "vanilla", "student"),
        ("dml", "dml", "student"),
        ("dp_kd", "dp_kd", "student"),
        ("public_kd", "vanilla", "public_unlabeled_large"),
    ):
        plan = find_plan("tune", method)
        cell = {"method": fixed, "transfer_set": transfer_set, "replicate": 0}
        expected = run_compare(context, compare, cell, trained)
        found = run_tune(context, plan, plan.cells[0], trained)
        assert without_time(found) == without_time(expected), method


def test_epochs_batch_size_and_learning_rate_of_a_trial_are_its_own(context, trained):
    plan = find_plan("tune", "kd")
    base = {**plan.cells[0], "epochs": 1}
    losses = set()
    for change in ({}, {"epochs": 2}, {"batch_size": 16}, {"learning_rate": 1e-2}):
        found = run_tune(context, plan, {**base, **change}, trained)
        assert found.epochs == change.get("epochs", 1)
        losses.add(found.validation.loss)
    assert len(losses) == 4


def test_the_control_of_a_budget_is_the_method_without_its_teacher(context, trained):
    plan, control = find_plan("tune", "kd"), find_plan("control")
    budget = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2}
    cell = {"student": plan.student, "transfer_set": "student", **budget, "replicate": 0}
    alone = run_control(context, control, cell, trained)
    untaught = {"temperature": 4.0, "alpha": 0.0, **budget, "replicate": 0}
    assert without_time(run_tune(context, plan, untaught, trained)) == without_time(alone)
    assert alone.epochs == 2
