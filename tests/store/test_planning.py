from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.search.samplers import choose_params
from kdopt.store import activity, leases, queries
from kdopt.store.activity import read_recent_endings
from kdopt.store.planning import requeue_failed_trials, write_plan
from tests.conftest import list_failures, make_campaign, make_outcome, make_record, optuna_study


def plan(store, campaign):
    return write_plan(store, make_record(campaign), plan_studies)


def tuned(campaign, **changes):
    return dataclasses.replace(campaign, tune=dataclasses.replace(campaign.tune, **changes))


def test_planning_twice_adds_nothing(store, campaign):
    first = plan(store, campaign)
    assert (first.new_studies, first.new_trials) == (first.studies, first.trials) == (3, 2 + 2 * 4)
    before = queries.read_trials(store, "tiny")
    again = plan(store, campaign)
    assert (again.new_studies, again.new_trials) == (0, 0)
    assert queries.read_trials(store, "tiny") == before


def test_planned_cells_are_what_optuna_reads(store, store_url, campaign):
    plan(store, campaign)
    with optuna_study(store_url, "tiny/uniform/tune/t00-s01") as study:
        cells = [
            (t.number, t.state.name, t.params["temperature"], t.params["alpha"])
            for t in study.trials
        ]
        assert cells == [
            (0, "WAITING", 1.0, 0.5),
            (1, "WAITING", 1.0, 0.9),
            (2, "WAITING", 2.0, 0.5),
            (3, "WAITING", 2.0, 0.9),
        ]
        assert study.metric_names == ["gain (pp)"]
        assert study.user_attrs["kd:teacher"] == 0
        assert study.direction.name == "MAXIMIZE"


def test_a_grown_campaign_adds_only_what_is_new_and_keeps_results(store, campaign):
    plan(store, campaign)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    leases.finish_trial(store, leases.claim_trial(store, study, "me", 60), make_outcome(3.0))
    grown = tuned(campaign, temperatures=(1.0, 2.0, 4.0))
    grown = dataclasses.replace(
        grown, replicates=2, partitions=(*campaign.partitions, PartitionSettings("specialized"))
    )
    added = plan(store, grown)
    assert added.new_studies == 3
    assert added.new_trials == 2 * (12 - 4) + (2 + 2 * 12)
    table = [
        r for r in queries.read_trials(store, "tiny") if r.study == "tiny/uniform/tune/t00-s01"
    ]
    assert len({tuple(sorted(r.params.items())) for r in table}) == len(table) == 12
    assert sorted(r.number for r in table) == list(range(12))
    assert table[0].outcome.value == 3.0
    assert plan(store, grown).new_trials == 0


def test_open_trials_fill_a_budget_once(store, campaign):
    adaptive = tuned(campaign, sampler="tpe", budget=5)
    plan(store, adaptive)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    leases.finish_trial(store, leases.claim_trial(store, study, "me", 60), make_outcome(0.0))
    claim = leases.claim_trial(store, study, "me", 60)
    params = plan_studies(adaptive)[1].space
    leases.record_params(store, claim, {"temperature": 1.5, "alpha": 0.3, "replicate": 0}, params)
    assert plan(store, adaptive).new_trials == 0
    larger = tuned(adaptive, budget=7)
    assert plan(store, larger).new_trials == 2 * 2
    assert sum(r.study.endswith("t00-s01") for r in queries.read_trials(store, "tiny")) == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"model": "cnn"}, "model"),
        ({"participants": 3}, "participants"),
        (
            {
                "distill": TrainSettings(
                    epochs=9, patience=0, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
                )
            },
            "distill",
        ),
        (
            # Also where no partition is left whose split could tell.
            {
                "data": DataSettings("digits", validation_fraction=0.4),
                "partitions": (PartitionSettings("specialized"),),
            },
            "data.validation_fraction",
        ),
        ({"tune": TuneSettings((1.0, 2.0), (0.5, 0.9), "tpe", 6)}, "tune.sampler"),
    ],
)
def test_a_campaign_that_means_something_else_is_refused_and_nothing_changes(
    store, campaign, change, named
):
    plan(store, campaign)
    before = queries.read_trials(store, "tiny")
    with pytest.raises(StoreError, match=rf"other values of: {named};"):
        plan(store, dataclasses.replace(campaign, **change))
    assert queries.read_trials(store, "tiny") == before
    assert queries.read_record(store, "tiny").campaign == campaign


def test_other_images_are_refused(store, campaign):
    plan(store, campaign)
    other = dataclasses.replace(make_record(campaign), data_sha256="f" * 64)
    with pytest.raises(StoreError, match="the images are not the same"):
        write_plan(store, other, plan_studies)


def test_a_partition_keeps_its_split_also_when_it_was_dropped_in_between(store, campaign):
    both = dataclasses.replace(
        campaign, partitions=(*campaign.partitions, PartitionSettings("specialized"))
    )
    plan(store, both)
    kept = plan(store, campaign)  # without it: what was planned stays planned
    assert (kept.studies, kept.new_trials) == (6, 0)
    assert {p.name for p in queries.read_record(store, "tiny").campaign.partitions} == {
        "uniform",
        "specialized",
    }
    record = make_record(both)
    other = dataclasses.replace(record, splits={**record.splits, "specialized": "2" * 64})
    with pytest.raises(StoreError, match=r"partition.specialized \(the participants' images"):
        write_plan(store, other, plan_studies)
    assert plan(store, both).new_trials == 0


def test_a_smaller_spec_removes_nothing_and_the_record_keeps_the_whole(store, campaign):
    plan(store, campaign)
    narrow = tuned(campaign, temperatures=(1.0, 8.0), alphas=(0.9,))
    assert plan(store, narrow).new_trials == 2 * 2
    merged = queries.read_record(store, "tiny").campaign
    assert set(merged.tune.temperatures) == {1.0, 2.0, 8.0}
    assert set(merged.tune.alphas) == {0.5, 0.9}
    assert plan_studies(merged)[1].n_trials == 6
    assert plan(store, campaign).new_trials == 0


def test_an_open_trial_that_failed_without_a_cell_is_planned_again(store, campaign):
    adaptive = tuned(campaign, sampler="tpe", budget=3)
    plan(store, adaptive)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    leases.finish_trial(store, leases.claim_trial(store, study, "me", 60), make_outcome(0.0))
    leases.fail_trial(
        store, leases.claim_trial(store, study, "me", 60), "its worker was lost 3 times"
    )
    assert plan(store, adaptive).new_trials == 1
    assert plan(store, adaptive).new_trials == 0


def test_sequential_plans_no_cell_twice_when_vanilla_lies_on_its_line(store, campaign):
    line = tuned(
        campaign,
        sampler="sequential",
        temperatures=(1.0, 2.0, 4.0),
        alphas=(0.5,),
        vanilla_temperature=4.0,
    )
    assert plan(store, line).trials == 2 + 2 * 3
    study = queries.read_study_counts(store, "tiny")[1].study_id
    studies = {p.name: p for p in plan_studies(line)}
    seen = []
    while (claim := leases.claim_trial(store, study, "me", 60)) is not None:
        if not claim.params:
            history = queries.read_trials(store, "tiny", study)
            chosen = studies["tiny/uniform/tune/t00-s01"]
            params = choose_params(line, chosen, claim.number, history)
            claim = leases.record_params(store, claim, params, chosen.space)
        seen.append((claim.params["temperature"], claim.params["alpha"]))
        leases.finish_trial(store, claim, make_outcome(0.0))
        assert plan(store, line).new_trials == 0
    assert sorted(seen) == [(1.0, 0.5), (2.0, 0.5), (4.0, 0.5)]


def test_the_record_comes_back_as_it_was(store):
    campaign = make_campaign(name="a.b-c_d")
    plan(store, campaign)
    assert queries.read_record(store, "a.b-c_d") == make_record(campaign)


def test_campaigns_of_one_store_do_not_mix(store):
    # In SQL's LIKE '_' is any character and, in SQLite, 'A' is 'a'.
    names = ["A_b", "a_b", "axb"]
    for name in names:
        plan(store, make_campaign(name=name))
    assert queries.list_campaigns(store) == names
    other = queries.read_study_counts(store, "axb")[0].study_id
    leases.finish_trial(store, leases.claim_trial(store, other, "me", 60), make_outcome(1.0))
    leases.fail_trial(store, leases.claim_trial(store, other, "me", 60), "no")
    leases.claim_trial(store, queries.read_study_counts(store, "A_b")[0].study_id, "me", 60)
    for name in names:
        assert {r.study.split("/")[0] for r in queries.read_trials(store, name)} == {name}
        assert {s.name.campaign for s in queries.read_study_counts(store, name)} == {name}
        assert len(read_recent_endings(store, name, 60, 9, 3600)) == 2 * (name == "axb")
        assert len(list_failures(store, name)) == (name == "axb")
        assert len(activity.read_running_trials(store, name)) == (name == "A_b")
    assert {r.study for r in queries.read_trials(store, "axb", other)} == {"axb/uniform/pretrain"}
    with pytest.raises(StoreError, match="which campaign"):
        queries.pick_campaign(store, None)
    with pytest.raises(StoreError, match="no campaign 'c'"):
        queries.pick_campaign(store, "c")
    assert queries.pick_campaign(store, "axb") == "axb"


STUDY = "tiny/uniform/tune/t00-s01"


def study_id(store, name=STUDY):
    return next(s.study_id for s in queries.read_study_counts(store, "tiny") if s.study == name)


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
    assert list_failures(store, "tiny") == []
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
    assert len(list_failures(store, "tiny")) == 1
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
    assert list_failures(store, "tiny") == []


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
    study = next(s.study_id for s in queries.read_study_counts(store, other) if s.study == name)
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "out of memory")
    assert requeue_failed_trials(store, "tiny") == []
    assert len(list_failures(store, other)) == 1
