"""What is planned of a pair's search, and in which order pairs are tried."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import compares_vanilla, plan_points, plan_studies, round_of_pair
from tests.conftest import make_campaign

VANILLA = (1.0, 0.5)


def tuned(sampler="warm", **changes):
    base = make_campaign(**changes)
    return dataclasses.replace(base, tune=dataclasses.replace(base.tune, sampler=sampler, budget=5))


def studies(campaign):
    return [plan for plan in plan_studies(campaign) if plan.stage == "tune"]


@pytest.mark.parametrize("participants", [2, 3, 4, 7])
def test_in_every_round_each_participant_teaches_once_and_is_taught_once(participants):
    campaign = make_campaign(participants=participants)
    rounds = {}
    for pair in campaign.pairs:
        rounds.setdefault(round_of_pair(campaign, *pair), []).append(pair)
    assert sorted(rounds) == list(range(participants - 1))
    for pairs in rounds.values():
        for side in zip(*pairs, strict=True):
            assert Counter(side) == Counter(range(participants))


def test_a_later_pair_finds_one_of_its_student_and_one_of_its_teacher_finished():
    plans = studies(tuned(participants=5))
    for plan in plans:
        earlier = [p for p in plans if p.round < plan.round]
        assert sum(p.student == plan.student for p in earlier) == plan.round
        assert sum(p.teacher == plan.teacher for p in earlier) == plan.round


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe", "random", "gp"])
def test_searches_that_learn_from_no_other_pair_have_no_rounds(sampler):
    assert {plan.round for plan in studies(tuned(sampler, participants=4))} == {0}


def test_warm_plans_vanilla_and_leaves_the_rest_of_the_budget_open():
    campaign = tuned(participants=3, replicates=2)
    assert plan_points(campaign) == ([VANILLA], 4)
    for plan in studies(campaign):
        assert [c["replicate"] for c in plan.cells] == [0, 1]
        assert {(c["temperature"], c["alpha"]) for c in plan.cells} == {VANILLA}
        assert (plan.open_trials, plan.n_trials) == (2 * 4, 2 * 5)


@pytest.mark.parametrize(
    ("stages", "compare", "runs_it"),
    [
        (("tune", "compare"), CompareSettings(("vanilla", "dml"), ("student",)), True),
        (("tune", "compare"), CompareSettings(), True),
        (("tune", "compare"), CompareSettings(("dml",), ("student",)), False),
        (("tune", "compare"), CompareSettings(("vanilla",), ("public_labeled",)), False),
        (("tune",), CompareSettings(), False),
    ],
)
def test_no_warm_trial_is_spent_on_vanilla_where_compare_runs_it(stages, compare, runs_it):
    campaign = tuned(participants=3, stages=stages, compare=compare)
    assert compares_vanilla(campaign) is runs_it
    assert plan_points(campaign) == (([], 5) if runs_it else ([VANILLA], 4))
    # The budget is what it is either way, and other samplers go on as ever.
    assert {plan.n_trials for plan in studies(campaign)} == {5}
    other = dataclasses.replace(campaign, tune=dataclasses.replace(campaign.tune, sampler="tpe"))
    assert plan_points(other) == ([VANILLA], 4)
