"""Sites for the tests of merging: stores on either database, filled in every way, and compared.

Results come from a function of study and cell, as real ones do; only where and how fast they ran
differs between the sites.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from pathlib import Path

import pytest

from kdopt.campaign.names import parse_study_name
from kdopt.campaign.stage_settings import FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.outcome import RoundScore
from kdopt.search.samplers import choose_params
from kdopt.service.doctor import check_campaign
from kdopt.store import leases, long_trials, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_distilled, make_pretrained, make_record
from tests.store.test_index_studies import contents

GRID = make_campaign(
    stages=("tune", "federate"),
    federate=FederateSettings(initial_models=("random",), rounds=3),
)
TPE = make_campaign(tune=dataclasses.replace(GRID.tune, sampler="tpe", budget=4))
PAIR = "tiny/uniform/tune/t00-s01"
KINDS = ("sqlite", "postgresql")


class Places:
    """Where new stores come from."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.request, self.folder, self.sites = request, folder, []

    def new(self, kind: str) -> Site:
        home = self.folder / f"site{len(self.sites)}"
        if kind == "sqlite":
            url = str(home / "kdopt.db")
        else:
            postgres = self.request.getfixturevalue("postgres")
            template = self.request.getfixturevalue("postgres_template")
            url = postgres.url(postgres.new_database(template))
        store = open_store(url, create=kind == "sqlite")
        self.sites.append(Site(store, Artifacts(home / "artifacts")))
        return self.sites[-1]


def url_of(site):
    return site.store.url.render_as_string(hide_password=False)


def plan(site, campaign):
    record = make_record(campaign)
    splits = {
        p.name: site.artifacts.put(b"splits of " + p.name.encode()) for p in campaign.partitions
    }
    return write_plan(site.store, dataclasses.replace(record, splits=splits), plan_studies)


def digest(*parts):
    return hashlib.sha256(repr(parts).encode())


def key(params):
    return tuple(sorted(params.items()))


def truth(site, study, params, salt=""):
    """The result of a cell, the same wherever it is computed, its bookkeeping aside."""
    name = digest(salt, study, key(params))
    chance = random.Random(name.digest())
    if "tune" in study:
        student = parse_study_name(study).student
        trained = digest(salt, study.partition("/tune")[0], student).digest()
        outcome = make_distilled(
            chance.uniform(-5, 5), make_pretrained(random.Random(trained).uniform(0.2, 0.8))
        )
    else:
        if "pretrain" in study:
            trained = digest(salt, study.partition("/pretrain")[0], params["participant"])
            chance = random.Random(trained.digest())
        outcome = make_pretrained(chance.uniform(0.2, 0.8), site.artifacts.put(name.digest()))
    if "federate" in study:
        last = RoundScore(outcome.validation.accuracy, outcome.test.accuracy)
        rounds = [RoundScore(chance.random(), chance.random()) for _ in range(3)]
        outcome = dataclasses.replace(outcome, rounds=(*rounds, last))
    return dataclasses.replace(outcome, seconds=random.uniform(1, 9))


def end(site, claim, study, ending, salt=""):
    """Let a claimed trial end: 'COMPLETE', 'FAIL', 'RUNNING' (go on) or 'WAITING' (given back)."""
    if ending == "COMPLETE":
        outcome = truth(site, study, claim.params, salt)
        if outcome.rounds:
            steps = {i: r.validation_accuracy for i, r in enumerate(outcome.rounds)}
            long_trials.report_values(site.store, claim, steps)
        leases.finish_trial(site.store, claim, outcome)
    elif ending == "FAIL":
        leases.fail_trial(site.store, claim, f"no memory for {key(claim.params)}")
    elif ending == "WAITING":
        leases.release_trial(site.store, claim)


def claim_all(site, study_id, worker="me"):
    found = []
    while (claim := leases.claim_trial(site.store, study_id, worker, 60)) is not None:
        found.append(claim)
    return found


def work(site, choose, salt=""):
    """End every planned trial as ``choose(study, cell)`` says; the claims by study and cell."""
    found = {}
    for state in queries.read_study_counts(site.store, "tiny"):
        for claim in claim_all(site, state.study_id):
            end(site, claim, state.study, choose(state.study, claim.params), salt)
            found[state.study, key(claim.params)] = claim
    return found


def everything(_study, _cell):
    return "COMPLETE"


def only(*words):
    """Complete what has one of these words in its study's name."""
    return lambda study, _: "COMPLETE" if any(w in study for w in words) else "WAITING"


def table(site, campaign="tiny"):
    """The results, by study and cell, and what else is known of the other cells."""
    return {
        (r.study, key(r.params)): (r.state, r.error, result_of(r))
        for r in queries.read_trials(site.store, campaign)
        if r.params
    }


def result_of(row):
    if row.outcome is None:
        return None
    return dataclasses.replace(row.outcome, seconds=0.0)


def states(site):
    return {place: line[0] for place, line in table(site).items()}


def sound(site, deep=True):
    found = check_campaign(site.store, site.artifacts, "tiny", deep)
    assert found.problems == ()
    return found


def merged_twice(target, other, mix=False):
    """Merge; and once more, which changes no byte of any row."""
    done = merge_campaign(target, other, "tiny", mix)
    before = contents(target.store, indexes=True)
    again = merge_campaign(target, other, "tiny", mix)
    assert contents(target.store, indexes=True) == before
    assert (again.results, again.failures, again.artifacts) == (0, 0, 0)
    assert (again.new_studies, again.new_trials) == (0, 0)
    return done


def step(site, study, salt="", ending="COMPLETE"):
    """Let the real sampler choose the next trial of an adaptive study, and end it."""
    record = queries.read_record(site.store, "tiny")
    state = next(s for s in queries.read_study_counts(site.store, "tiny") if s.study == study)
    of = next(p for p in plan_studies(record.campaign) if p.name == study)
    claim = leases.claim_trial(site.store, state.study_id, "me", 60)
    if not claim.params:
        history = queries.read_trials(site.store, "tiny", state.study_id)
        params = choose_params(record.campaign, of, claim.number, history)
        claim = leases.record_params(site.store, claim, params, of.space)
    end(site, claim, study, ending, salt)
    return claim
