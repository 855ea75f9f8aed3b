from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.studies import Param, StudyPlan
from kdopt.errors import LeaseLostError
from kdopt.store import activity, leases, long_trials, queries
from kdopt.store.database import Store
from kdopt.store.planning import write_plan
from tests.conftest import list_failures, make_campaign, make_outcome, make_record, optuna_study

SPACE = {"temperature": Param("float", 1.0, 2.0), "alpha": Param("float", 0.0, 1.0)}


def make_cell(replicate: int) -> dict[str, float]:
    return {"temperature": 1.0, "alpha": 0.5, "replicate": replicate}


def plan_queue(store: Store, n: int, n_open: int = 0, record: CampaignRecord | None = None) -> int:
    """One study with n planned and n_open open trials; its id."""
    plan = StudyPlan(
        name="tiny/uniform/tune/t00-s01",
        campaign="tiny",
        partition="uniform",
        stage="tune",
        objective="gain",
        space={**SPACE, "replicate": Param("int", 0, max(0, n - 1))},
        cells=tuple(make_cell(i) for i in range(n)),
        teacher=0,
        student=1,
        open_trials=n_open,
    )
    write_plan(store, record or make_record(make_campaign()), lambda campaign: [plan])
    return queries.read_study_counts(store, "tiny")[0].study_id


def states(store: Store) -> Counter[str]:
    return Counter(row.state for row in queries.read_trials(store, "tiny"))


def test_a_claim_takes_the_trials_in_order_until_none_is_left(store):
    study = plan_queue(store, 3)
    taken = [leases.claim_trial(store, study, "me", 60) for _ in range(4)]
    assert [c.params for c in taken[:3]] == [make_cell(i) for i in range(3)]
    assert [c.attempt for c in taken[:3]] == [1, 1, 1]
    assert taken[3] is None
    assert states(store) == {"RUNNING": 3}


def test_several_are_taken_at_once_and_each_is_recorded_and_lost_on_its_own(store):
    study = plan_queue(store, 5)
    taken = leases.claim_trials(store, study, "me", 60, 3)
    assert [(c.number, c.params, c.attempt) for c in taken] == [
        (i, make_cell(i), 1) for i in range(3)
    ]
    leases.finish_trial(store, taken[1], make_outcome(1.0))
    assert leases.requeue_lost_trials(store, lambda worker: True) == 2
    assert states(store) == {"COMPLETE": 1, "WAITING": 4}
    for lost in (taken[0], taken[2]):
        with pytest.raises(LeaseLostError):
            leases.finish_trial(store, lost, make_outcome(1.0))
    rest = leases.claim_trials(store, study, "me", 60, 9)
    assert [(c.number, c.attempt) for c in rest] == [(0, 2)]


@pytest.mark.parametrize("ends", ["finish", "fail"])
def test_one_that_was_claimed_with_others_begins_when_the_one_before_it_ends(store, ends):
    study = plan_queue(store, 4)
    taken = leases.claim_trials(store, study, "me", 60, 3)
    (other,) = leases.claim_trials(store, study, "other", 60, 1)
    an_hour_ago = sa.text(f"UPDATE trials SET datetime_start = {store.utc_before('3600')}")
    with store.write() as connection:
        connection.execute(an_hour_ago)

    def end(claim, then):
        if ends == "finish":
            leases.finish_trial(store, claim, make_outcome(1.0), then=then)
        else:
            leases.fail_trial(store, claim, "no", then=then)
        return {r.number: r.running_s < 600 for r in activity.read_running_trials(store, "tiny")}

    assert end(taken[0], taken[1]) == {1: True, 2: False, 3: False}
    # A trial that is another's by now keeps the time that the other one gave it.
    assert end(taken[1], dataclasses.replace(other, worker="me")) == {2: False, 3: False}


def test_what_took_a_worker_down_is_taken_alone_from_then_on(store):
    """Or three of its workers would give up all that they happened to have in hand besides."""
    study = plan_queue(store, 4)
    first = leases.claim_trials(store, study, "me", 60, 2)
    leases.requeue_lost_trials(store, lambda worker: True)
    again = [leases.claim_trials(store, study, "me", 60, 4) for _ in range(3)]
    assert [[(c.number, c.attempt) for c in claims] for claims in again] == [
        [(first[0].number, 2)],
        [(first[1].number, 2)],
        [(2, 1), (3, 1)],
    ]


@pytest.mark.parametrize("given_back", [False, True])
def test_one_that_was_only_given_back_is_as_new(store, given_back):
    study = plan_queue(store, 3)
    if given_back:
        leases.release_trial(store, leases.claim_trial(store, study, "me", 60))
    assert len(leases.claim_trials(store, study, "me", 60, 3)) == 3


def test_an_open_trial_is_taken_alone(store):
    study = plan_queue(store, 2, n_open=3)
    planned = leases.claim_trials(store, study, "me", 60, 9)
    assert len(planned) == 2 and leases.claim_trials(store, study, "me", 60, 9) == []
    for claim in planned:
        leases.finish_trial(store, claim, make_outcome(1.0))
    (alone,) = leases.claim_trials(store, study, "me", 60, 9)
    assert alone.params == {}


def test_a_finished_trial_is_what_optuna_reads(store, store_url):
    study = plan_queue(store, 1)
    claim = leases.claim_trial(store, study, "me", 60)
    outcome = make_outcome(1.25)
    leases.finish_trial(store, claim, outcome)
    with optuna_study(store_url, "tiny/uniform/tune/t00-s01") as read:
        trial = read.best_trial
    assert trial.value == 1.25
    assert trial.params == make_cell(0)
    assert trial.datetime_start <= trial.datetime_complete
    assert trial.user_attrs["kd:metrics"] == json.loads(json.dumps(outcome.to_json()))
    assert queries.read_trials(store, "tiny")[0].outcome == outcome


def test_a_failure_keeps_its_reason_and_is_not_tried_again(store):
    study = plan_queue(store, 1)
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "the loss became nan")
    assert leases.claim_trial(store, study, "me", 60) is None
    assert list_failures(store, "tiny")[0].error == "the loss became nan"
    assert leases.requeue_lost_trials(store, lambda worker: True) == 0


def test_telling_the_same_result_twice_is_harmless(store):
    """What happens when a commit's answer is lost and the call is repeated."""
    study = plan_queue(store, 1)
    claim = leases.claim_trial(store, study, "me", 60)
    leases.finish_trial(store, claim, make_outcome(1.0))
    leases.finish_trial(store, claim, make_outcome(2.0))
    (row,) = queries.read_trials(store, "tiny")
    assert row.outcome.value == 1.0


def test_a_released_trial_is_free_at_once_and_keeps_its_attempts(store):
    study = plan_queue(store, 1)
    leases.release_trial(store, leases.claim_trial(store, study, "a", 60))
    claim = leases.claim_trial(store, study, "b", 60)
    assert claim.attempt == 1
    assert states(store) == {"RUNNING": 1}


def test_a_lapsed_lease_is_taken_back_in_the_same_row_and_the_late_result_refused(store):
    study = plan_queue(store, 1)
    frozen = leases.claim_trial(store, study, "frozen", 0.05)
    time.sleep(0.1)
    assert leases.requeue_lost_trials(store, lambda worker: False) == 1
    assert leases.requeue_lost_trials(store, lambda worker: False) == 0
    second = leases.claim_trial(store, study, "second", 60)
    assert (second.trial_id, second.attempt) == (frozen.trial_id, 2)
    assert not leases.renew_lease(store, frozen, 60)
    for late in (
        lambda: leases.finish_trial(store, frozen, make_outcome(9.0)),
        lambda: leases.fail_trial(store, frozen, "late"),
    ):
        with pytest.raises(LeaseLostError):
            late()
    leases.release_trial(store, frozen)
    assert states(store) == {"RUNNING": 1}
    leases.finish_trial(store, second, make_outcome(1.0))
    (row,) = queries.read_trials(store, "tiny")
    assert row.outcome.value == 1.0


def test_a_beat_keeps_the_lease(store):
    study = plan_queue(store, 1)
    claim = leases.claim_trial(store, study, "me", 0.05)
    assert leases.renew_lease(store, claim, 60)
    time.sleep(0.1)
    assert leases.requeue_lost_trials(store, lambda worker: False) == 0


def test_a_lease_from_before_the_clock_stepped_back_is_cut_to_what_any_is_good_for(store):
    """Its worker beats again in that time if it lives; a dead one's trial is free after it."""
    study = plan_queue(store, 2)
    dead, alive = (leases.claim_trial(store, study, w, 5 * 3600) for w in ("dead", "alive"))
    requeue = functools.partial(leases.requeue_lost_trials, store, lambda worker: False)
    assert requeue(lease_s=0.3) == 0  # nobody loses a trial by the step
    assert leases.renew_lease(store, alive, 60)
    time.sleep(0.4)
    assert requeue(lease_s=60) == 1
    assert leases.renew_lease(store, alive, 60) and not leases.renew_lease(store, dead, 60)


def test_a_dead_worker_is_not_waited_for(store):
    study = plan_queue(store, 2)
    leases.claim_trial(store, study, "dead", 3600)
    leases.claim_trial(store, study, "alive", 3600)
    assert leases.requeue_lost_trials(store, lambda worker: worker == "dead") == 1
    assert states(store) == {"RUNNING": 1, "WAITING": 1}


def test_a_trial_that_takes_workers_down_is_failed_in_the_end(store):
    study = plan_queue(store, 1)
    for _ in range(leases.MAX_ATTEMPTS):
        assert leases.claim_trial(store, study, "dead", 60) is not None
        leases.requeue_lost_trials(store, lambda worker: True)
    assert states(store) == {"FAIL": 1}
    assert "lost 3 times" in list_failures(store, "tiny")[0].error


def test_a_trial_that_gets_on_between_its_losses_is_not_given_up(store):
    """Long trials on machines that are taken away again and again (preemption)."""
    study = plan_queue(store, 1)
    for step in range(2 * leases.MAX_ATTEMPTS):
        claim = leases.claim_trial(store, study, "dead", 60)
        long_trials.save_state(store, claim, step, "0" * 64)
        leases.requeue_lost_trials(store, lambda worker: True)
        assert states(store) == {"WAITING": 1}
    for _ in range(leases.MAX_ATTEMPTS):
        leases.claim_trial(store, study, "dead", 60)
        leases.requeue_lost_trials(store, lambda worker: True)
    assert states(store) == {"FAIL": 1}


def test_being_stopped_is_no_free_loss(store):
    study = plan_queue(store, 1)
    stopped = leases.claim_trial(store, study, "stopped", 60)
    long_trials.save_state(store, stopped, 5, "0" * 64)
    leases.release_trial(store, stopped)
    forgotten = []
    for _ in range(leases.MAX_ATTEMPTS):
        assert leases.claim_trial(store, study, "dead", 60) is not None
        leases.requeue_lost_trials(store, lambda worker: True, discard_state=forgotten.append)
    assert states(store) == {"FAIL": 1}
    # The state of a trial that is given up is nobody's any more.
    assert forgotten == ["0" * 64]


def test_a_state_outlives_the_loss_of_its_worker_but_not_the_end_of_its_trial(store):
    study = plan_queue(store, 2)
    first = leases.claim_trial(store, study, "dead", 60)
    assert long_trials.read_state(store, first) is None
    for step in (5, 10):
        long_trials.save_state(store, first, step, f"{step:064d}")
    leases.requeue_lost_trials(store, lambda worker: True)
    second = leases.claim_trial(store, study, "next", 60)
    assert second.trial_id == first.trial_id
    assert long_trials.read_state(store, second) == (10, f"{10:064d}", 1)
    leases.release_trial(store, second)
    third = leases.claim_trial(store, study, "next", 60)
    assert long_trials.read_state(store, third).step == 10
    leases.finish_trial(store, third, make_outcome(1.0))
    assert long_trials.read_state(store, third) is None
    other = leases.claim_trial(store, study, "next", 60)
    long_trials.save_state(store, other, 1, "1" * 64)
    leases.fail_trial(store, other, "diverged")
    assert long_trials.read_state(store, other) is None


def test_reports_are_optunas_intermediate_values(store, store_url):
    study = plan_queue(store, 1)
    claim = leases.claim_trial(store, study, "me", 60)
    long_trials.report_values(store, claim, {0: 0.1, 1: 0.4})
    long_trials.report_values(
        store, claim, {1: 0.5, 2: 0.6}
    )  # told again after a loss: the newer counts
    (running,) = activity.read_running_trials(store, "tiny")
    assert running.step == 2
    leases.finish_trial(store, claim, make_outcome(0.6))
    with optuna_study(store_url, "tiny/uniform/tune/t00-s01") as read:
        trial = read.trials[0]
    assert trial.intermediate_values == {0: 0.1, 1: 0.5, 2: 0.6}


def test_nothing_is_taken_from_a_worker_that_lost_its_lease(store):
    study = plan_queue(store, 1)
    frozen = leases.claim_trial(store, study, "frozen", 60)
    long_trials.report_values(store, frozen, {0: 0.1, 1: 0.2})
    leases.requeue_lost_trials(store, lambda worker: True)
    second = leases.claim_trial(store, study, "second", 60)
    with pytest.raises(LeaseLostError):
        long_trials.report_values(store, frozen, {2: 0.3})
    with pytest.raises(LeaseLostError):
        long_trials.save_state(store, frozen, 2, "2" * 64)
    assert long_trials.read_state(store, second) is None
    # What the lost run had reported is void until the next one reports it again.
    assert activity.read_running_trials(store, "tiny")[0].step is None


def test_an_open_trial_waits_until_nothing_of_its_study_runs(store):
    study = plan_queue(store, 1, n_open=2)
    first = leases.claim_trial(store, study, "a", 60)
    assert leases.claim_trial(store, study, "b", 60) is None
    leases.finish_trial(store, first, make_outcome(0.0))
    second = leases.claim_trial(store, study, "b", 60)
    assert second.params == {}
    space = {**SPACE, "replicate": Param("int", 0, 0)}
    filled = leases.record_params(store, second, make_cell(0), space)
    leases.record_params(store, second, make_cell(0), space)
    assert filled.params == make_cell(0)
    assert leases.claim_trial(store, study, "a", 60) is None
    # A lost open trial is tried again at the point that was chosen.
    leases.requeue_lost_trials(store, lambda worker: True)
    assert leases.claim_trial(store, study, "c", 60).params == make_cell(0)


RACER = """
import sys, time
from kdopt.store import leases
from kdopt.store.database import open_store
from tests.conftest import make_outcome
store = open_store(sys.argv[1])
study, name = int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
while (claim := leases.claim_trial(store, study, name, 60)) is not None:
    leases.finish_trial(store, claim, make_outcome(float(claim.params["replicate"])))
    print(claim.trial_id, flush=True)
"""


def test_eight_processes_finish_500_trials_each_exactly_once(store, store_url):
    study = plan_queue(store, 500)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, store_url, str(study), f"racer-{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for i in range(8)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    finished = [int(line) for r in racers for line in r.communicate(timeout=600)[0].split()]
    assert all(r.returncode == 0 for r in racers)
    assert len(finished) == 500
    assert len(set(finished)) == 500
    table = queries.read_trials(store, "tiny")
    assert len(table) == 500
    assert {row.state for row in table} == {"COMPLETE"}
    assert [row.outcome.value for row in table] == [float(i) for i in range(500)]
    assert [row.number for row in table] == list(range(500))
    with store.read() as connection:
        attempts = connection.execute(sa.text("SELECT DISTINCT attempt FROM kdopt_lease"))
        assert attempts.scalars().all() == [1]
