from __future__ import annotations

import dataclasses

import optuna
import pytest

from kdopt.errors import StoreError
from kdopt.plan import PartitionSettings, TrainSettings
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_outcome, make_record


def plan(store, campaign):
    return write_plan(store, make_record(campaign), all_studies(campaign))


def tuned(campaign, **changes):
    return dataclasses.replace(campaign, tune=dataclasses.replace(campaign.tune, **changes))


def test_planning_twice_adds_nothing(store, campaign):
    first = plan(store, campaign)
    assert (first.new_studies, first.new_trials) == (first.studies, first.trials) == (3, 2 + 2 * 4)
    before = rows.read_trials(store, "tiny")
    again = plan(store, campaign)
    assert (again.new_studies, again.new_trials) == (0, 0)
    assert rows.read_trials(store, "tiny") == before


def test_planned_cells_are_what_optuna_reads(store, store_path, campaign):
    plan(store, campaign)
    study = optuna.load_study(
        study_name="tiny/uniform/tune/t00-s01", storage=f"sqlite:///{store_path}"
    )
    cells = [
        (t.number, t.state.name, t.params["temperature"], t.params["alpha"]) for t in study.trials
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
    study = rows.read_states(store, "tiny")[1].study_id
    claims.finish(store, claims.claim(store, study, "me", 60), make_outcome(3.0))
    grown = tuned(campaign, temperatures=(1.0, 2.0, 4.0))
    grown = dataclasses.replace(
        grown, replicates=2, partitions=(*campaign.partitions, PartitionSettings("specialized"))
    )
    added = plan(store, grown)
    assert added.new_studies == 3
    assert added.new_trials == 2 * (12 - 4) + (2 + 2 * 12)
    table = [r for r in rows.read_trials(store, "tiny") if r.study == "tiny/uniform/tune/t00-s01"]
    assert len({tuple(sorted(r.cell.items())) for r in table}) == len(table) == 12
    assert sorted(r.number for r in table) == list(range(12))
    assert table[0].outcome.value == 3.0
    assert plan(store, grown).new_trials == 0


def test_open_trials_fill_a_budget_once(store, campaign):
    adaptive = tuned(campaign, sampler="tpe", budget=5)
    plan(store, adaptive)
    study = rows.read_states(store, "tiny")[1].study_id
    claims.finish(store, claims.claim(store, study, "me", 60), make_outcome(0.0))
    claim = claims.claim(store, study, "me", 60)
    params = all_studies(adaptive)[1].params
    claims.choose(store, claim, {"temperature": 1.5, "alpha": 0.3, "replicate": 0}, params)
    assert plan(store, adaptive).new_trials == 0
    larger = tuned(adaptive, budget=7)
    assert plan(store, larger).new_trials == 2 * 2
    assert sum(r.study.endswith("t00-s01") for r in rows.read_trials(store, "tiny")) == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"model": "cnn"}, "model"),
        ({"participants": 3}, "participants"),
        ({"distill": TrainSettings(9, 0, 1e-3, 1e-4, 32)}, "distill"),
        ({"partitions": (PartitionSettings("uniform", min_size=40),)}, "partition.uniform"),
    ],
)
def test_a_campaign_that_means_something_else_is_refused_and_nothing_changes(
    store, campaign, change, named
):
    plan(store, campaign)
    before = rows.read_trials(store, "tiny")
    with pytest.raises(StoreError, match=rf"other values of: {named};"):
        plan(store, dataclasses.replace(campaign, **change))
    assert rows.read_trials(store, "tiny") == before
    assert rows.read_record(store, "tiny").campaign == campaign


def test_other_images_are_refused(store, campaign):
    plan(store, campaign)
    other = dataclasses.replace(make_record(campaign), data_sha256="f" * 64)
    with pytest.raises(StoreError, match="the images themselves"):
        write_plan(store, other, all_studies(campaign))


def test_the_record_comes_back_as_it_was(store):
    campaign = make_campaign(name="a.b-c_d")
    plan(store, campaign)
    assert rows.read_record(store, "a.b-c_d") == make_record(campaign)


def test_campaigns_of_one_store_do_not_mix(store):
    # '_' is a wildcard in SQL's LIKE: a_b must not read axb.
    for name in ("a_b", "axb"):
        plan(store, make_campaign(name=name))
    assert rows.campaigns(store) == ["a_b", "axb"]
    assert {r.study.split("/")[0] for r in rows.read_trials(store, "a_b")} == {"a_b"}
    assert {s.name.campaign for s in rows.read_states(store, "a_b")} == {"a_b"}
    with pytest.raises(StoreError, match="which campaign"):
        rows.pick_campaign(store, None)
    with pytest.raises(StoreError, match="no campaign 'c'"):
        rows.pick_campaign(store, "c")
    assert rows.pick_campaign(store, "axb") == "axb"
