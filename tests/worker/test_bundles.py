"""Short trials are claimed several at once, run in turn, and end each on its own."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time

import pytest
import sqlalchemy as sa

from kdopt.store import leases, queries
from kdopt.train.engine import make_engine
from kdopt.trials.runners import Runner
from kdopt.worker import scheduling
from kdopt.worker.heartbeat import Heartbeat
from kdopt.worker.scheduling import MOST, LastTrial, choose_bundle
from kdopt.worker.worker import run_trials
from tests.store.test_leases import plan_queue
from tests.worker.test_scheduling import GRID, plans_of
from tests.worker.test_worker import plan, results

ENGINE = make_engine("fp32", "cpu")
PLANS = plans_of(GRID)
PAIR = "tiny/uniform/tune/t00-s01"


@pytest.mark.parametrize(
    ("study", "together", "seconds", "n"),
    [
        (PAIR, 1, None, 1),
        (PAIR, 1, 5.0, 1),
        (PAIR, 1, 0.3, 3),
        (PAIR, 1, 0.0, MOST),
        (PAIR, 8, 5.0, 8),
        ("tiny/uniform/compare/t00-s01", 8, 0.3, 3),
        ("tiny/uniform/pretrain", 1, 0.3, 1),
    ],
)
def test_a_bundle_is_a_second_of_work(study, together, seconds, n):
    pace = None if seconds is None else LastTrial(study, seconds)
    assert choose_bundle(PLANS[study], together, pace) == n


def test_what_another_study_took_says_nothing():
    assert choose_bundle(PLANS[PAIR], 1, LastTrial("tiny/uniform/tune/t01-s00", 0.1)) == 1


@pytest.fixture
def taken(monkeypatch):
    """How many trials each claim took, where all of a study may be taken."""
    monkeypatch.setattr(scheduling, "BUNDLE_S", 1e6)
    claim_trials, sizes = leases.claim_trials, []

    def claim(*args):
        claims = claim_trials(*args)
        sizes.append(len(claims))
        return claims

    monkeypatch.setattr(leases, "claim_trials", claim)
    return sizes


def test_the_campaign_is_that_of_trials_claimed_one_by_one(tmp_path, taken, monkeypatch):
    store, artifacts = plan(tmp_path / "bundles")
    summary = run_trials(store, artifacts, "tiny", ENGINE)
    assert max(taken) == 14 and summary.complete == sum(taken)
    with store.read() as connection:
        spans = connection.exec_driver_sql(
            "SELECT datetime_start, datetime_complete FROM trials WHERE state = 'COMPLETE' "
            "ORDER BY datetime_complete"
        ).all()
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), (
        "one worker ran two at once"
    )
    monkeypatch.setattr(scheduling, "choose_bundle", lambda *_: 1)
    other, artifacts = plan(tmp_path / "single")
    run_trials(other, artifacts, "tiny", ENGINE)
    assert results(store) == results(other)


def test_a_stopped_worker_gives_back_what_it_began_and_what_it_did_not(
    tmp_path, taken, monkeypatch
):
    compute, begun = Runner.compute, []

    def stop_in_third(self, context, plan, *rest):
        begun.append(plan.stage)
        if begun.count("tune") == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return compute(self, context, plan, *rest)

    monkeypatch.setattr(Runner, "compute", stop_in_third)
    store, artifacts = plan(tmp_path)
    summary = run_trials(store, artifacts, "tiny", ENGINE)
    assert (summary.stopped, summary.given_back, summary.complete) == (True, 1, 4)
    left = queries.read_study_counts(store, "tiny")
    assert sum(s.running for s in left) == 0 and sum(s.waiting for s in left) == 28


def test_one_that_was_lost_in_a_bundle_drops_its_result_alone(tmp_path, taken, monkeypatch, caplog):
    compute, lost = Runner.compute, []

    def lose_last(self, context, plan, *rest):
        running = [r for r in queries.read_trials(store, "tiny") if r.state == "RUNNING"]
        if len(running) > 5 and not lost:
            lost.append(running[-1].number)
            with store.write() as connection:
                # Another's from now on, whom no heartbeat prolongs it for.
                connection.exec_driver_sql(
                    "UPDATE kdopt_lease SET worker = 'lost', expires = 0 WHERE trial_id = "
                    "(SELECT max(trial_id) FROM trials WHERE state = 'RUNNING')"
                )
            assert leases.requeue_lost_trials(store, lambda worker: False) == 1
        return compute(self, context, plan, *rest)

    monkeypatch.setattr(Runner, "compute", lose_last)
    store, artifacts = plan(tmp_path)
    with caplog.at_level(logging.WARNING):
        summary = run_trials(store, artifacts, "tiny", ENGINE)
    assert (summary.lost, summary.complete) == (1, 2 + 2 * 15)
    assert f"#{lost[0]}: result dropped" in caplog.text


def test_a_beat_is_given_for_all_that_a_worker_has_in_hand(store):
    claims = leases.claim_trials(store, plan_queue(store, 3), "me", 60.0, 3)
    leases.release_trial(store, claims[1])
    renewed = sa.text(f"SELECT trial_id FROM kdopt_lease WHERE expires > {store.now} + 300")
    beat = Heartbeat(store, claims, 0.01, 600.0)
    with beat:
        ended = time.monotonic() + 600
        while time.monotonic() < ended:
            with store.read() as connection:
                found = set(connection.execute(renewed).scalars())
            if len(found) == 2:
                break
    assert found == {claims[0].trial_id, claims[2].trial_id}
    beat._thread.join(600)  # or the store would be closed in the midst of one
