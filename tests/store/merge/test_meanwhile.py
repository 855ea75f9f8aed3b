"""Merging while workers work, when files are damaged, and when it is killed."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdopt.errors import ArtifactError, LeaseLostError, StoreError
from kdopt.service.doctor import check_campaign
from kdopt.store import leases, long_trials, queries
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.queries import read_record
from tests.conftest import optuna_study
from tests.store.merge.sites import (
    GRID,
    end,
    everything,
    key,
    merged_twice,
    only,
    plan,
    sound,
    states,
    table,
    truth,
    url_of,
    work,
)
from tests.store.test_index_studies import contents


def test_a_running_trial_is_taken_from_its_worker_by_a_result(here, there):
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    work(there, only("tune", "federate"))
    held = work(here, lambda *_: "RUNNING")
    fed = next(c for (study, _), c in held.items() if "federate" in study)
    long_trials.report_values(here.store, fed, {0: 0.1, 9: 0.1})
    state = here.artifacts.put(b"half way")
    long_trials.save_state(here.store, fed, 9, state)
    done = merged_twice(here, there)
    assert (done.results, done.from_workers) == (9, 9)
    assert table(here) == table(there)
    assert not here.artifacts.has(state)
    for (study, _), claim in held.items():
        assert not leases.renew_lease(here.store, claim, 60)
        with pytest.raises(LeaseLostError):
            long_trials.report_values(here.store, claim, {1: 0.5})
        with pytest.raises(LeaseLostError):
            leases.finish_trial(here.store, claim, truth(here, study, claim.params, "late"))
        leases.release_trial(here.store, claim)
    assert leases.requeue_lost_trials(here.store, lambda worker: True) == 0
    assert table(here) == table(there)
    with optuna_study(url_of(here), "tiny/uniform/federate") as study:
        assert sorted(study.trials[0].intermediate_values) == [0, 1, 2, 3]
    sound(here)


def test_a_running_trial_is_left_to_its_worker_by_a_failure(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, lambda *_: "FAIL")
    held = work(here, lambda *_: "RUNNING")
    done = merged_twice(here, there)
    assert (done.results, done.failures) == (0, 0)
    for (study, _), claim in held.items():
        leases.finish_trial(here.store, claim, truth(here, study, claim.params))
    assert set(states(here).values()) == {"COMPLETE"}


def test_a_state_that_a_lost_worker_left_goes_with_the_trial(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    study = next(
        s for s in queries.read_study_counts(here.store, "tiny") if s.name.stage == "federate"
    )
    claim = leases.claim_trial(here.store, study.study_id, "lost", 60)
    state = here.artifacts.put(b"half way")
    long_trials.save_state(here.store, claim, 1, state)
    leases.requeue_lost_trials(here.store, lambda worker: True)
    merged_twice(here, there)
    assert not here.artifacts.has(state)
    attributes = contents(here.store)["trial_user_attributes"]
    assert "kd:state" not in {a["key"] for a in attributes}
    sound(here)


def test_an_artifact_that_is_missing_or_altered_stops_it_before_any_row_refers_to_it(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    place = next(r for r in queries.read_trials(there.store, "tiny") if "federate" in r.study)
    sha256 = place.outcome.checkpoint
    path = there.artifacts.path(sha256)
    content = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(b"other")):
        damage()
        with pytest.raises(ArtifactError, match=rf"federate #0: artifact .*{sha256[:8]}"):
            merge_campaign(here, there, "tiny")
        assert states(here)[place.study, key(place.params)] == "WAITING"
        sound(here)
    path.write_bytes(content)
    assert merged_twice(here, there).results > 0
    assert table(here) == table(there)
    sound(here)


def test_artifacts_that_our_place_lacks_are_copied_though_we_have_all_results(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    first = merge_campaign(here, there, "tiny")
    named = set(read_record(here.store, "tiny").artifacts)
    named |= {
        row.outcome.checkpoint
        for row in queries.read_trials(here.store, "tiny")
        if row.outcome is not None and row.outcome.checkpoint is not None
    }
    for sha256 in named:
        here.artifacts.discard(sha256)
    again = merge_campaign(here, there, "tiny")
    assert (again.results, again.artifacts) == (0, len(named)) and first.results > 0
    sound(here)


ROOT = Path(__file__).parents[3]


SLOW = """
import logging, sys, time
from kdopt.store import merge as module
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
module.BATCH = 1
original = module.end_rows
def slow(*arguments):
    original(*arguments)
    print("written, not committed", flush=True)
    time.sleep(0.05)
module.end_rows = slow
sites = [module.Site(open_store(u), Artifacts(a)) for u, a in zip(sys.argv[1::2], sys.argv[2::2])]
module.merge_campaign(*sites, "tiny")
"""


def test_killed_at_any_moment_it_is_simply_done_again(here, there):
    for site in (here, there):
        plan(site, dataclasses.replace(GRID, participants=3))
    work(there, lambda _, params: "FAIL" if params.get("alpha") == 0.9 else "COMPLETE")
    arguments = [x for site in (here, there) for x in (url_of(site), str(site.artifacts.root))]
    chance = random.Random(0)
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(chance.randint(2, 3)):  # within the transaction of a batch
            said = process.stdout.readline()
        if not said:
            process.communicate()
            assert process.returncode == 0
            break
        process.kill()
        process.communicate()
        kills += 1
        assert sound(here).duplicates == 0
        half = states(here)
        assert all(half[place] in ("WAITING", state) for place, state in states(there).items())
    assert kills >= 3
    assert table(here) == table(there)
    sound(here)
    assert merge_campaign(here, there, "tiny").results == 0


def test_workers_go_on_in_both_stores_meanwhile(here, across):
    """Real claims and leases race the merge for the same rows; nothing is lost or done twice."""
    for site in (here, across):
        plan(site, dataclasses.replace(GRID, participants=3))
        work(site, only("pretrain"))
    errors, finished, refused = [], [], []

    def keep_working(site, seed):
        chance = random.Random(seed)
        own = Site(open_store(url_of(site)), site.artifacts)
        try:
            while ready := [s for s in queries.read_study_counts(own.store, "tiny") if s.waiting]:
                study = chance.choice(ready)
                claim = leases.claim_trial(own.store, study.study_id, f"worker{seed}", 60)
                if claim is None:
                    continue
                try:
                    threading.Event().wait(chance.uniform(0, 0.02))
                    end(own, claim, study.study, "FAIL" if chance.random() < 0.1 else "COMPLETE")
                    finished.append(claim)
                except LeaseLostError:
                    refused.append(claim)
        except (StoreError, sa.exc.SQLAlchemyError) as error:
            errors.append(error)
        finally:
            own.store.close()

    threads = [
        threading.Thread(target=keep_working, args=(site, seed), daemon=True)
        for seed, site in enumerate((here, here, across, across))
    ]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        taken += merge_campaign(here, across, "tiny").results
        assert check_campaign(here.store, here.artifacts, "tiny").duplicates == 0
    for thread in threads:
        thread.join()
    assert errors == []
    merged_twice(here, across)
    merged_twice(across, here)
    found = sound(here)
    assert (found.running, found.waiting, found.duplicates) == (0, 0, 0)
    assert found.rows == found.planned == 3 + 6 * 4 + 1
    assert taken + len(finished) > 0
    results = [{p: line[2] for p, line in table(s).items() if line[2]} for s in (here, across)]
    assert results[0] == results[1]
