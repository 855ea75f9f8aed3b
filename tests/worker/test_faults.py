"""Faults in mid-run on both databases, with real processes: what was planned is done once.

The workers are cheap ones (see ``light_worker``), so that there can be many; the real ones are
killed, stopped and frozen in ``test_worker`` and ``test_journal``, and meet full disks in
``test_full_disks``. What came out is printed as a table (see ``tests.fault_table``).
"""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdopt.errors import LeaseLostError
from kdopt.service.doctor import check_campaign
from kdopt.store import leases, queries
from kdopt.store.planning import requeue_failed_trials
from tests.conftest import list_failures, make_outcome
from tests.crew import LEASE_S
from tests.freezing import thaw
from tests.held_trials import (
    count_losses,
    count_recorded,
    lapse_leases,
    list_first_holders,
    list_held_trials,
    list_holders,
    measure_longest_lease,
)
from tests.link import Link
from tests.waiting import wait_until
from tests.worker.cheap_campaign import ADAPTIVE, GRID, SMALL_GRID, plan_cheap
from tests.worker.fault_proof import only_diverged
from tests.worker.light_worker import DIVERGED

ROOT = Path(__file__).parents[2]
LOST = "its worker was lost 3 times (killed, out of memory, or cut off)"


@pytest.mark.parametrize("tune", [GRID, ADAPTIVE], ids=["grid", "adaptive"])
def test_25_kills_over_5_workers(store, store_url, shelf, tune, prove, crews):
    planned = plan_cheap(store, shelf, tune)
    crew, chance = crews(store_url, 5), random.Random(0)
    for number in range(25):
        # Or those that live might do all of it while the others start, on a busy machine.
        crew.steer(may_end=planned * (number + 1) // 26)
        crew.kill_holders(store, 1, chance)
    crew.finish()
    budget = "TPE budgets" if tune is ADAPTIVE else "grid"
    fault = f"25 kill -9 over 5 workers, {budget}"
    found = prove(fault, store, shelf, planned, crew.count("refused"))
    reasons = [failed.error for failed in list_failures(store, "tiny")]
    assert set(reasons) <= {DIVERGED, LOST}
    # Kills did hit running trials; some hit just after the end of one.
    assert count_losses(store) + reasons.count(LOST) >= 10
    assert requeue_failed_trials(store, "tiny")
    again = check_campaign(store, shelf, "tiny")
    assert again.problems == ()
    assert again.waiting == found.failed


def test_frozen_beyond_their_lease_late_results_are_refused(store, store_url, shelf, prove, crews):
    planned = plan_cheap(store, shelf, GRID)
    crew = crews(store_url, 3, may_end=planned // 2)
    frozen: list[int] = []
    while len(frozen) < 2:
        frozen.append(crew.freeze_holder(store, but=frozen))
    assert lapse_leases(store, frozen)
    crew.steer()
    wait_until(lambda: not list_holders(store) & set(frozen))
    for pid in frozen:
        thaw(pid)
    crew.finish()
    refused = crew.count("refused")
    prove("frozen beyond the lease (SIGSTOP, SIGCONT)", store, shelf, planned, refused)
    assert only_diverged(store)
    assert refused >= len(frozen)
    # Nobody died, so whoever lost a trial came back with it and was refused.
    assert refused == count_losses(store)


REAPER = """
import sys, time
from kdopt.store import leases
from kdopt.store.database import open_store
store = open_store(sys.argv[1])
original = leases._requeue_trial
def slow(connection, trial_id):
    print("taken", flush=True)
    time.sleep(600)
    return original(connection, trial_id)
leases._requeue_trial = slow
leases.requeue_lost_trials(store, lambda worker: True)
"""


def test_a_reaper_killed_while_it_takes_a_trial_back_leaves_it_to_the_next(
    store, store_url, shelf, prove, crews
):
    planned = plan_cheap(store, shelf, GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    lost = leases.claim_trial(store, study, "lost", 60)
    reaper = subprocess.Popen(
        [sys.executable, "-c", REAPER, store_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert reaper.stdout.readline() == "taken\n"
    reaper.kill()  # within its transaction: lease taken, trial not yet requeued
    reaper.communicate()
    assert leases.requeue_lost_trials(store, lambda worker: True) == 1
    assert leases.claim_trial(store, study, "next", 60).trial_id == lost.trial_id
    leases.requeue_lost_trials(store, lambda worker: True)
    crew = crews(store_url, 2)
    crew.finish()
    prove("reaper killed in mid-reap", store, shelf, planned, crew.count("refused"))
    assert only_diverged(store)


def test_clocks_of_workers_never_matter(store, store_url, shelf):
    """A worker whose clock is hours off holds, beats and finishes as any other."""
    plan_cheap(store, shelf, GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    real = time.time
    try:
        for hours in (-5, 5):
            time.time = lambda shift=3600.0 * hours: real() + shift
            claim = leases.claim_trial(store, study, "me", 60)
            assert leases.requeue_lost_trials(store, lambda worker: False) == 0
            assert leases.renew_lease(store, claim, 60)
            time.time = real
            assert leases.requeue_lost_trials(store, lambda worker: False) == 0
            leases.release_trial(store, claim)
    finally:
        time.time = real


def test_clocks_that_jump_in_mid_run(store, store_url, shelf, prove, crews):
    """Hours ahead and back, for all alike: as on one machine, or on the database's."""
    planned = plan_cheap(store, shelf, SMALL_GRID)
    crew = crews(store_url, 4, may_end=12)
    # Every lease lapses at each of the two steps ahead; a third would be the end of some trial.
    for hours, may_end in ((5, 24), (-5, 36), (2, planned)):
        held = crew.freeze_holder(store)
        crew.steer(may_end, hours)
        if hours > 0:
            wait_until(lambda held=held: held not in list_holders(store))
        thaw(held)
        # A lease from before a step back is cut, or renewed, before the next step; else it would
        # outlive that one.
        wait_until(lambda hours=hours: measure_longest_lease(store) < 3600 * hours + 2 * LEASE_S)
    crew.finish()
    refused = crew.count("refused")
    prove("clocks jump by hours, ahead and back", store, shelf, planned, refused)
    assert only_diverged(store)
    # A live worker whose trial was taken away at a jump is refused, and nobody else is.
    assert refused == count_losses(store) >= 2


def test_a_restart_of_the_database_is_outlived(postgres, postgres_url, shelf, prove, opened, crews):
    store = opened(postgres_url)
    planned = plan_cheap(store, shelf, GRID)
    crew = crews(postgres_url, 4)
    for part, mode in enumerate(("fast", "immediate"), start=1):
        # The survivor must not do all of it while the others start.
        crew.steer(may_end=part * planned // 3)
        # Nobody twice: with a second one that restarts are slow enough for it would be the third
        # loss, and the trial's end.
        crew.kill_holders(store, 3, random.Random(1), of=list_first_holders)
        postgres.restart(mode)
    for _ in range(2):
        done = crew.count("finished")
        with postgres.crashing():  # with it the last claims are forgotten
            wait_until(lambda done=done: crew.count("finished") >= done + 3)
    crew.finish()
    fault = "database restarts, shut down and crashed, and 6 kill -9"
    prove(fault, store, shelf, planned, crew.count("refused"))
    assert only_diverged(store)


def test_a_claim_that_a_crashed_server_forgot_counts_for_nothing(
    postgres, postgres_url, shelf, opened
):
    store = opened(postgres_url)
    plan_cheap(store, shelf, SMALL_GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    with postgres.crashing():
        forgotten = leases.claim_trial(store, study, "one", 60)
        assert leases.renew_lease(store, forgotten, 60)
    claim = leases.claim_trial(store, study, "other", 60)
    assert dataclasses.replace(claim, worker="one") == forgotten  # only the worker differs
    assert not leases.renew_lease(store, forgotten, 60)
    leases.release_trial(store, forgotten)
    for record, what in ((leases.finish_trial, make_outcome(1.0)), (leases.fail_trial, "why")):
        with pytest.raises(LeaseLostError):
            record(store, forgotten, what)
    with postgres.crashing():
        leases.finish_trial(store, claim, make_outcome(1.0))
        again = leases.claim_trial(store, study, "one", 60)
    with pytest.raises(LeaseLostError):
        leases.finish_trial(store, again, make_outcome(1.0))
    (counts,) = (s for s in queries.read_study_counts(store, "tiny") if s.study_id == study)
    assert (counts.complete, counts.running) == (1, 0)


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_link_that_is_cut_in_mid_run(postgres, postgres_url, shelf, how, prove, opened, crews):
    """Workers of another machine, over TCP; one of this machine goes on meanwhile."""
    store = opened(postgres_url)
    planned = plan_cheap(store, shelf, GRID)
    link = Link(postgres.port)
    far = crews(postgres_url.replace(f":{postgres.port}/", f":{link.port}/"), 2, may_end=40)
    near = crews(postgres_url, 1, may_end=10)
    away = far.pids
    try:
        wait_until(lambda: count_recorded(store, away) > 5 and list_holders(store) >= away)
        link.silent() if how == "silent" else link.down()
        cut_at = count_recorded(store, away)
        # Of what the far workers hold, all that they are not just about to write.
        taken = lapse_leases(store, away)
        leases.requeue_lost_trials(store, lambda worker: False)
        assert not taken & {held.trial_id for held in list_held_trials(store) if held.pid in away}
        near.steer()
        time.sleep(1.0)
        # What was under way when the link was cut may have arrived.
        assert count_recorded(store, away) - cut_at <= len(away)
        link.heard() if how == "silent" else link.up()
        far.finish()
        near.finish()
    finally:
        link.heard()
        link.close()
    refused = far.count("refused") + near.count("refused")
    found = prove(f"link to far workers cut, {how}", store, shelf, planned, refused)
    assert only_diverged(store)
    done = far.count("finished") + near.count("finished")
    # A worker that could not hear the answer may have recorded its result and not know.
    assert found.complete + found.failed - 2 <= done <= found.complete + found.failed
