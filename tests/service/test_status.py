from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.service.status import SILENT_S, group_failures, read_status
from kdopt.store import leases, long_trials, queries
from kdopt.store.activity import FailureReason
from kdopt.store.planning import requeue_failed_trials, write_plan
from kdopt.worker.heartbeat import LEASE_S
from kdopt.worker.worker_id import name_worker
from tests.conftest import make_campaign, make_outcome, make_record

SHOW = (
    "from kdopt.worker.worker_id import name_worker; print(name_worker('cpu'), flush=True); input()"
)


@pytest.fixture
def studies(store, campaign):
    write_plan(store, make_record(campaign), plan_studies)
    return [s.study_id for s in queries.read_study_counts(store, "tiny")]


def test_counts_add_up_and_reasons_are_there(store, studies):
    leases.finish_trial(
        store, leases.claim_trial(store, studies[1], "host/1/2/3", 60), make_outcome(1.0)
    )
    leases.fail_trial(
        store, leases.claim_trial(store, studies[1], "host/1/2/3", 60), "out of memory"
    )
    leases.claim_trial(store, studies[2], "host/1/2/3", 60)
    status = read_status(store, "tiny")
    by_stage = {s.stage: s for s in status.stages}
    tune = by_stage["tune"]
    assert (tune.trials, tune.complete, tune.running, tune.waiting, tune.failed) == (8, 1, 1, 5, 1)
    assert (tune.studies, tune.studies_complete) == (2, 0)
    assert by_stage["pretrain"].waiting == 2
    assert (status.trials, status.complete, status.failed, status.left) == (10, 1, 1, 8)
    assert not status.done
    (partition,) = status.partitions
    assert (partition.pairs, partition.pairs_finished, partition.trials) == (2, 0, 10)
    (failure,) = status.failures
    assert (failure.reason, failure.count, failure.number) == ("out of memory", 1, 1)


def test_the_end_is_known_once_every_stage_has_ended_a_trial(store, studies):
    assert read_status(store, "tiny").eta_unknown == "no worker is at work"
    leases.claim_trial(store, studies[0], "host/1/2/3", 60)
    assert read_status(store, "tiny").eta_unknown == "no trial of pretrain has ended lately"
    claim = leases.claim_trial(store, studies[0], "host/1/2/3", 60)
    time.sleep(0.2)
    leases.finish_trial(store, claim, make_outcome(1.0))
    guessed = read_status(store, "tiny")
    assert guessed.eta_guessed and guessed.eta_s > 0
    claim = leases.claim_trial(store, studies[1], "host/1/2/3", 60)
    time.sleep(0.2)
    leases.finish_trial(store, claim, make_outcome(1.0))
    status = read_status(store, "tiny")
    assert status.eta_s > 0
    assert status.eta_unknown == "" and not status.eta_guessed
    # At least 0.2 s for each of seven waiting trials, of two at a time at most.
    assert status.eta_s > 7 * 0.2 / 2
    assert 0 < status.per_minute == sum(s.per_minute for s in status.stages)


def test_a_run_that_goes_on_has_no_pace_of_the_run_before(store, studies):
    claim = leases.claim_trial(store, studies[0], "host/1/2/3", 60)
    time.sleep(0.2)
    leases.finish_trial(store, claim, make_outcome(1.0))
    before = read_status(store, "tiny")
    assert before.per_minute > 0 and not before.idle
    begins = read_status(store, "tiny", since_s=0.0)
    assert begins.per_minute == 0 and begins.idle
    assert begins.eta_unknown == "no worker is at work"


def test_workers_and_what_they_run(store, studies):
    mine = leases.claim_trial(store, studies[1], name_worker("cuda:1"), LEASE_S)
    long_trials.report_values(store, mine, {0: 0.5, 7: 0.6})
    leases.claim_trial(store, studies[2], "far/9/1/elsewhere/cpu", LEASE_S)
    me, far = sorted(read_status(store, "tiny").workers, key=lambda w: w.host == "far")
    assert (me.pid, me.device, me.state) == (
        int(name_worker().split("/")[1]),
        "cuda:1",
        "alive",
    )
    assert (me.study, me.number, me.params) == ("tiny/uniform/tune/t00-s01", 0, mine.params)
    assert (me.attempt, me.step) == (1, 7)
    assert 0 <= me.running_s < 80
    assert 0 <= me.last_sign_s < 80
    assert me.last_sign_s + me.lease_left_s == pytest.approx(LEASE_S)
    assert (far.host, far.pid, far.device, far.state) == ("far", 9, "cpu", "alive")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("device", "at_once"), [("cpu", 1), ("cuda:1", 3)])
def test_a_worker_with_a_bundle_is_one_worker(store, studies, device, at_once, n):
    """On a GPU a bundle runs at once; elsewhere in turn, and what is not begun waits."""
    claims = leases.claim_trials(store, studies[1], f"far/9/1/elsewhere/{device}", LEASE_S, n)
    leases.claim_trial(store, studies[2], "far/8/1/elsewhere/cpu", LEASE_S)
    status = read_status(store, "tiny")
    bundle, single = sorted(status.workers, key=lambda worker: -worker.pid)
    at_once = min(at_once, n)
    assert (bundle.number, bundle.at_once, bundle.claimed) == (0, at_once, n - at_once)
    assert (single.at_once, single.claimed) == (1, 0)
    tune = status.stages[1]
    assert (tune.running, tune.waiting) == (at_once + 1, 8 - at_once - 1)
    (partition,) = status.partitions
    assert (partition.running, partition.waiting) == (at_once + 1, 10 - at_once - 1)
    if n > 1:
        leases.finish_trial(store, claims[0], make_outcome(1.0), then=claims[1])
        bundle = max(read_status(store, "tiny").workers, key=lambda worker: worker.pid)
        assert bundle.number == 1 and bundle.at_once + bundle.claimed == n - 1


def test_workers_in_trouble_are_flagged_and_come_first(store, studies):
    """Leases of other lengths stand for the time that passed since the last sign of life."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    here = process.stdout.readline().strip()
    lengths = {
        "a/1/1/x": LEASE_S - SILENT_S + 40,
        "b/1/1/x": LEASE_S - SILENT_S - 1,
        "c/1/1/x": -1.0,
        here: LEASE_S,
    }
    for worker, lease_s in lengths.items():
        leases.claim_trial(store, studies[1], worker, lease_s)
    found = {w.host[:1]: w.state for w in read_status(store, "tiny").workers}
    name = here[:1]
    assert found == {"a": "alive", "b": "silent", "c": "lapsed", name: "alive"}
    process.kill()
    process.communicate()
    workers = read_status(store, "tiny").workers
    assert [w.state for w in workers] == ["gone", "lapsed", "silent", "alive"]
    assert workers[0].pid == process.pid
    # Those who are gone or lapsed do no work.
    assert {s.stage: s.running for s in read_status(store, "tiny").stages}["tune"] == 4


def test_what_waits_for_a_lost_participant_can_never_start(store):
    """Participant 1 of the first partition: each pair has it as teacher or student."""
    base = make_campaign(
        participants=3,
        partitions=(PartitionSettings("uniform"), PartitionSettings("quantity_skew")),
    )
    write_plan(store, make_record(base), plan_studies)
    states = {s.study: s for s in queries.read_study_counts(store, "tiny")}
    pretrain = states["tiny/uniform/pretrain"]
    leases.claim_trial(store, pretrain.study_id, "far/9/1/elsewhere", 60)
    lost = leases.claim_trial(store, pretrain.study_id, "far/9/1/elsewhere", 60)
    assert lost.params["participant"] == 1
    assert read_status(store, "tiny").blocked == 0
    leases.fail_trial(store, lost, "no images")
    with_it = [s for s in states.values() if 1 in (s.name.teacher, s.name.student)]
    expected = sum(s.waiting for s in with_it if s.name.partition == "uniform")
    assert read_status(store, "tiny").blocked == expected == 4 * 4
    requeue_failed_trials(store, "tiny")
    assert read_status(store, "tiny").blocked == 0


def test_done_means_that_nothing_can_be_done_any_more(store, studies):
    for _ in range(2):
        leases.fail_trial(store, leases.claim_trial(store, studies[0], "me", 60), "no images")
    status = read_status(store, "tiny")
    assert (status.left, status.blocked, status.done) == (8, 8, True)
    assert (status.eta_s, status.eta_unknown) == (None, "")


def test_a_campaign_without_trials_is_no_division_by_zero(store, studies):
    with store.write() as connection:
        connection.execute(sa.text("DELETE FROM trial_params"))
        connection.execute(sa.text("DELETE FROM trials"))
    status = read_status(store, "tiny")
    assert (status.trials, status.eta_s, status.done) == (0, None, True)
    with pytest.raises(StoreError, match="no campaign 'none'"):
        read_status(store, "none")


def test_reasons_that_differ_in_numbers_are_one():
    a = FailureReason("the loss became nan in epoch 3\nTraceback 1", 2, "s", 4)
    b = FailureReason("the loss became nan in epoch 12", 3, "t", 5)
    c = FailureReason("out of memory", 4, "u", 6)
    first, second = group_failures([c, b, a])
    assert (first.reason, first.count) == ("the loss became nan in epoch N", 5)
    assert (first.example, first.study, first.number) == (b.text, "t", 5)
    assert (second.reason, second.count) == ("out of memory", 4)
    # With one text there is nothing to leave out.
    assert group_failures([a])[0].reason == "the loss became nan in epoch 3"
    same = dataclasses.replace(group_failures([a])[0], count=7)
    assert group_failures([a, a._replace(n=5)]) == (same,)


def test_an_empty_reason_is_a_group_too():
    assert group_failures([FailureReason("", 1, "s", 0)])[0].reason == ""
