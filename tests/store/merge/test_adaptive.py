"""Studies whose sampler looks back: a past is kept whole, never mixed."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import LeaseLostError
from kdopt.store import leases, queries
from kdopt.store.merge import Parted
from tests.store.merge.sites import (
    PAIR,
    TPE,
    merged_twice,
    only,
    plan,
    sound,
    step,
    table,
    work,
)


def adaptive(site, steps, salt="", campaign=TPE, study=PAIR):
    plan(site, campaign)
    work(site, only("pretrain"))
    for _ in range(steps):
        step(site, study, salt)


@pytest.mark.parametrize(
    ("sampler", "mine", "theirs"),
    [("tpe", 0, 4), ("gp", 3, 2), ("random", 2, 2), ("sequential", 1, 3)],
)
def test_of_two_adaptive_pasts_the_longer_is_kept(places, kind, sampler, mine, theirs):
    campaign = dataclasses.replace(TPE, tune=dataclasses.replace(TPE.tune, sampler=sampler))
    tables = []
    for steps in ((mine, theirs), (theirs, mine)):
        sites = [places.new(kind if tables else "sqlite"), places.new("sqlite")]
        for site, n in zip(sites, steps, strict=True):
            adaptive(site, n, campaign=campaign)
        done = merged_twice(*sites)
        assert done.results == max(0, steps[1] - steps[0])
        assert done.parted == []
        sound(sites[0])
        tables.append(table(sites[0]))
    assert tables[0] == tables[1]
    # And it goes on as if nothing had happened.
    unbroken = places.new("sqlite")
    adaptive(unbroken, 3 if sampler == "sequential" else 4, campaign=campaign)
    while next(
        s for s in queries.read_study_counts(sites[0].store, "tiny") if s.study == PAIR
    ).waiting:
        step(sites[0], PAIR)
    assert table(sites[0]) == table(unbroken)
    assert sound(sites[0]).waiting == 3 if sampler == "sequential" else 4


def test_adaptive_pasts_that_part_are_reported_and_ours_stays(here, there):
    adaptive(here, 2)
    adaptive(there, 4, salt="another processor")
    before = table(here)
    done = merged_twice(here, there)
    assert table(here) == before
    assert done.parted == [Parted(PAIR, 0)]
    assert done.results == 0
    step(here, PAIR)
    sound(here)


def test_an_open_trial_that_runs_is_filled_and_its_worker_refused(here, there):
    adaptive(here, 1)
    adaptive(there, 3)
    study = next(s for s in queries.read_study_counts(here.store, "tiny") if s.study == PAIR)
    held = leases.claim_trial(here.store, study.study_id, "me", 60)
    assert held.params == {}
    done = merged_twice(here, there)
    assert (done.results, done.from_workers) == (2, 1)
    plans = {p.name: p for p in plan_studies(TPE)}
    params = {"temperature": 1.5, "alpha": 0.1, "replicate": 0}
    with pytest.raises(LeaseLostError):
        leases.record_params(here.store, held, params, plans[PAIR].space)
    step(here, PAIR)
    step(there, PAIR)
    assert table(here) == table(there)
    sound(here)


def test_a_failure_at_the_end_of_our_past_is_overtaken(here, there):
    adaptive(here, 1)
    step(here, PAIR, ending="FAIL")
    adaptive(there, 3)
    done = merged_twice(here, there)
    assert (done.results, done.after_failures) == (2, 1)
    assert sound(here).retried == 1
    step(here, PAIR)
    assert sound(here).complete == 2 + 4


def test_a_larger_budget_there_is_ours_too(here, there):
    adaptive(here, 4)
    larger = dataclasses.replace(TPE, tune=dataclasses.replace(TPE.tune, budget=6))
    adaptive(there, 4)
    plan(there, larger)
    step(there, PAIR)
    done = merged_twice(here, there)
    assert (done.new_trials, done.results, done.same) == (4, 1, 6)
    sound(here)
