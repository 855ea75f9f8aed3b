from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from kdopt.campaign.stages import plan_studies
from kdopt.store import activity, leases, queries
from kdopt.store.activity import read_failure_reasons, read_recent_endings
from kdopt.store.planning import requeue_failed_trials, write_plan
from tests.conftest import make_campaign, make_outcome, make_record


def end_one(store, study_id, reason=None):
    claim = leases.claim_trial(store, study_id, "me", 60)
    if reason is None:
        leases.finish_trial(store, claim, make_outcome(1.0))
    else:
        leases.fail_trial(store, claim, reason)
    return claim


def move_back(store, claim, seconds, took_s=1.0):
    """Let a trial have ended so many seconds ago."""
    sql = (
        f"UPDATE trials SET datetime_complete = {store.utc_before(':ended')}, "
        f"datetime_start = {store.utc_before(':began')} WHERE trial_id = :trial"
    )
    with store.write() as connection:
        connection.execute(
            sa.text(sql), {"ended": seconds, "began": seconds + took_s, "trial": claim.trial_id}
        )


@pytest.fixture
def studies(store, campaign):
    """Study ids by name, without the campaign."""
    write_plan(store, make_record(campaign), plan_studies)
    return {
        s.study.removeprefix("tiny/uniform/"): s.study_id
        for s in queries.read_study_counts(store, "tiny")
    }


def test_ages_are_those_of_the_databases_clock(store, studies):
    claim = end_one(store, studies["tune/t00-s01"])
    move_back(store, claim, 40.0, took_s=2.5)
    (found,) = read_recent_endings(store, "tiny", 60, 1, 3600)
    assert found.stage == "tune"
    assert found.ended_ago_s == pytest.approx(40.0, abs=5.0)
    assert found.began_ago_s - found.ended_ago_s == pytest.approx(2.5, abs=0.02)


def test_all_of_late_and_the_last_of_each_stage(store, studies):
    for stage, study in (("pretrain", "pretrain"), ("tune", "tune/t00-s01")):
        for ago in (5000.0, 30.0 if stage == "tune" else 4000.0):
            move_back(store, end_one(store, studies[study]), ago)
    failed = end_one(store, studies["tune/t01-s00"], "no")
    move_back(store, failed, 50.0)

    def seen(within, least, at_most):
        found = read_recent_endings(store, "tiny", within, least, at_most)
        return [(e.stage, round(e.ended_ago_s, -1)) for e in found]

    assert seen(60, 0, 90_000) == [("tune", 30), ("tune", 50)]
    assert seen(1, 1, 90_000) == [("pretrain", 4000), ("tune", 30)]
    assert seen(60, 1, 90_000) == [("pretrain", 4000), ("tune", 30), ("tune", 50)]
    assert seen(1, 9, 4500) == [("pretrain", 4000), ("tune", 30), ("tune", 50)]
    assert seen(1, 9, 20) == []


def test_other_campaigns_and_running_trials_are_left_out(store, studies):
    write_plan(store, make_record(make_campaign(name="tinx")), plan_studies)
    other = queries.read_study_counts(store, "tinx")[0].study_id
    end_one(store, other)
    end_one(store, other, "no")
    leases.claim_trial(store, studies["pretrain"], "me", 60)
    assert read_recent_endings(store, "tiny", 60, 9, 3600) == []
    assert read_failure_reasons(store, "tiny") == []
    assert len(read_recent_endings(store, "tinx", 60, 9, 3600)) == 2


def test_reasons_are_counted_with_the_first_of_each(store):
    base = make_campaign(participants=3)
    write_plan(store, make_record(base), plan_studies)
    tune = [s for s in queries.read_study_counts(store, "tiny") if s.name.stage == "tune"]
    for study, reason in ((0, "b"), (1, "a"), (2, "a"), (2, "a\nsecond line")):
        end_one(store, tune[study].study_id, reason)
    assert read_failure_reasons(store, "tiny") == [
        ("a", 2, tune[1].study, 0),
        ("b", 1, tune[0].study, 0),
        ("a\nsecond line", 1, tune[2].study, 1),
    ]
    requeue_failed_trials(store, "tiny", "b")
    assert [(r.text, r.n) for r in read_failure_reasons(store, "tiny")] == [
        ("a", 2),
        ("a\nsecond line", 1),
    ]


def test_what_runs_comes_with_its_cell_and_its_age(store, campaign):
    budget = dataclasses.replace(campaign.tune, sampler="tpe", budget=3)
    write_plan(store, make_record(dataclasses.replace(campaign, tune=budget)), plan_studies)
    study = next(s for s in queries.read_study_counts(store, "tiny") if s.name.stage == "tune")
    claim = leases.claim_trial(store, study.study_id, "me", 60)
    (running,) = activity.read_running_trials(store, "tiny")
    assert running.params == claim.params
    assert 0 <= running.running_s < 600
    leases.finish_trial(store, claim, make_outcome(1.0))
    while claim.params:  # the vanilla cell comes first, then those that a sampler fills
        claim = leases.claim_trial(store, study.study_id, "me", 60)
        if claim.params:
            leases.finish_trial(store, claim, make_outcome(1.0))
    assert activity.read_running_trials(store, "tiny")[0].params == {}
