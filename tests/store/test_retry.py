from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.store import activity, leases, queries
from kdopt.store.planning import write_plan
from kdopt.store.retry import requeue_failed_trials
from tests.conftest import make_outcome, make_record, optuna_study

STUDY = "tiny/uniform/tune/t00-s01"


def plan(store, campaign):
    return write_plan(store, make_record(campaign), plan_studies)


def study_id(store, name=STUDY):
    return next(s.study_id for s in queries.read_study_counts(store, "tiny") if s.text == name)


def fail_next(store, reason="out of memory", name=STUDY):
    claim = leases.claim_trial(store, study_id(store, name), "me", 60)
    leases.fail_trial(store, claim, reason)
    return claim


def live(store):
    return [r for r in queries.read_trials(store, "tiny") if r.study == STUDY]


def test_a_failed_cell_is_tried_again_in_a_row_of_its_own(store, store_url, campaign):
    plan(store, campaign)
    failed = fail_next(store)
    assert requeue_failed_trials(store, "tiny") == [STUDY]
    assert requeue_failed_trials(store, "tiny") == []
    table = live(store)
    assert Counter(r.state for r in table) == {"WAITING": 4}
    assert table[-1].params == failed.params
    assert table[-1].number == 4
    assert activity.read_failures(store, "tiny") == []
    with optuna_study(store_url, STUDY) as study:  # the record of what went wrong stays
        states = [(t.number, t.state.name, t.params) for t in study.trials]
    assert states[0][1:] == ("FAIL", failed.params)
    assert states[-1][1:] == ("WAITING", failed.params)


def test_it_may_fail_again_and_then_succeed(store, campaign):
    plan(store, campaign)
    first = fail_next(store)
    requeue_failed_trials(store, "tiny")
    for _ in range(3):
        leases.finish_trial(
            store, leases.claim_trial(store, study_id(store), "me", 60), make_outcome(0.0)
        )
    assert fail_next(store).params == first.params
    assert len(activity.read_failures(store, "tiny")) == 1
    assert requeue_failed_trials(store, "tiny") == [STUDY]
    last = leases.claim_trial(store, study_id(store), "me", 60)
    assert (last.params, last.number, last.attempt) == (first.params, 5, 1)
    leases.finish_trial(store, last, make_outcome(1.0))
    assert Counter(r.state for r in live(store)) == {"COMPLETE": 4}
    assert len({tuple(r.params.items()) for r in live(store)}) == 4


def test_only_failures_of_that_reason(store, campaign):
    plan(store, campaign)
    for reason in ('the loss became "nan"', "out of memory (100%)", "Out of Memory"):
        fail_next(store, reason)
    assert len(requeue_failed_trials(store, "tiny", "out of memory (100%)")) == 1
    assert len(requeue_failed_trials(store, "tiny", "OUT OF")) == 1
    assert requeue_failed_trials(store, "tiny", "_") == []
    assert len(requeue_failed_trials(store, "tiny", 'became "nan"')) == 1
    assert activity.read_failures(store, "tiny") == []


def test_planning_afterwards_adds_nothing_and_budgets_stay_exact(store, campaign):
    adaptive = dataclasses.replace(
        campaign, tune=dataclasses.replace(campaign.tune, sampler="tpe", budget=3)
    )
    plan(store, adaptive)
    fail_next(store)  # the vanilla cell
    requeue_failed_trials(store, "tiny")
    assert plan(store, adaptive).new_trials == 0
    # The open trials come first, by row; one of them fails before it gets a cell.
    leases.fail_trial(store, leases.claim_trial(store, study_id(store), "me", 60), "broken")
    requeue_failed_trials(store, "tiny")
    assert plan(store, adaptive).new_trials == 0
    assert len(live(store)) == 3
    assert sum(s.total for s in queries.read_study_counts(store, "tiny")) == 2 + 2 * 3


@pytest.mark.parametrize("other", ["tiny2", "TINY", "t_ny"])
def test_other_campaigns_are_left_alone(store, campaign, other):
    plan(store, campaign)
    plan(store, dataclasses.replace(campaign, name=other))
    name = STUDY.replace("tiny", other)
    study = next(s.study_id for s in queries.read_study_counts(store, other) if s.text == name)
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "out of memory")
    assert requeue_failed_trials(store, "tiny") == []
    assert len(activity.read_failures(store, other)) == 1
