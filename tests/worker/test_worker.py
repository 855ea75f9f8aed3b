"""Real worker processes on a real store: sharing, stopping, being killed."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from kdopt.data.datasets import load_dataset
from kdopt.errors import ArtifactError, DataError
from kdopt.store import activity, leases, queries
from kdopt.train.engine import make_engine
from kdopt.trials.runners import Runner
from kdopt.worker import worker as worker_module
from kdopt.worker.summary import Stopwatch
from kdopt.worker.worker import run_trials
from tests.conftest import list_failures
from tests.launch.campaigns import FOR_EVER
from tests.small_campaigns import plan_text
from tests.started import start
from tests.waiting import wait_for, wait_until

SPEC = """
name = "tiny"
participants = 2
model = "mlp"
partitions = ["uniform"]
precision = "fp32"
stages = ["tune"]
control = false
[data]
name = "digits"
validation_fraction = 0.2
[pretrain]
epochs = 2
patience = 0
[distill]
epochs = {epochs}
patience = 0
learning_rate = {rate}
[tune]
{tune}
"""
WORKER = [sys.executable, "-m", "kdopt", "worker"]
GRID = "temperatures = [0.5, 1, 2, 4, 7]\nalphas = [0.1, 0.5, 0.9]"


def plan(folder: Path, epochs=2, tune=GRID, rate=1e-3, text=SPEC):
    """A planned campaign in a folder of its own."""
    store, artifacts, _ = plan_text(text.format(epochs=epochs, tune=tune, rate=rate), folder)
    return store, artifacts


def start_worker(folder: Path):
    return start([*WORKER, "--store", str(folder / "kdopt.db")])


def results(store):
    """What a campaign computed, without how long it took."""
    out = {}
    for row in queries.read_trials(store, "tiny"):
        record = row.outcome.to_json() if row.outcome else row.error
        if row.outcome:
            del record["seconds"]
        out[row.study, row.number] = (row.state, tuple(row.params.items()), record)
    return out


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The campaign as one worker does it without disturbance."""
    store, artifacts = plan(tmp_path_factory.mktemp("unbroken"))
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.complete, summary.failed) == (2 + 2 * 15, 0)
    found = results(store)
    store.close()
    return found


def test_outcomes_are_whole_and_consistent(unbroken):
    for state, params, record in unbroken.values():
        assert state == "COMPLETE"
        if "participant" in dict(params):
            assert len(record["checkpoint"]) == 64
            assert record["value"] == record["validation"]["accuracy"]
            continue
        before, after = record["test_before"]["accuracy"], record["test"]["accuracy"]
        assert record["test_gain"] == pytest.approx(100 * (after - before))
        assert record["value"] == record["validation_gain"]
        assert {"kdopt", "torch", "python", "optuna"} <= record["versions"].keys()
    cells = Counter(params for _, params, _ in unbroken.values())
    assert sorted(cells.values()) == [1] * 2 + [2] * 15


def test_two_workers_share_the_work_and_change_nothing(tmp_path, unbroken):
    said = []
    # A worker that the machine starts late may find everything done: then once more.
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        store, _ = plan(folder)
        workers = [start_worker(folder) for _ in range(2)]
        said += [w.communicate(timeout=600)[0] for w in workers]
        assert [w.returncode for w in workers] == [0, 0]
        assert results(store) == unbroken
        with store.read() as connection:
            leases_of = sa.text("SELECT DISTINCT worker FROM kdopt_lease")
            if len(connection.execute(leases_of).scalars().all()) == 2:
                return
    raise AssertionError(said)


def test_one_command_looks_after_several_workers(tmp_path, unbroken):
    store, _ = plan(tmp_path)
    store_options = ["--store", str(tmp_path / "kdopt.db")]
    group = start([*WORKER, *store_options, "--workers", "2", "--time-limit", "1h"])
    said = group.communicate(timeout=600)[0]
    assert group.returncode == 0, said
    done = [int(n) for n in re.findall(r"tiny: (\d+) trials? complete, 0 failed", said)]
    assert len(done) == 2 and sum(done) == 2 + 2 * 15, said
    assert results(store) == unbroken


def test_they_stop_together_and_give_their_trials_back(tmp_path):
    store, _ = plan(tmp_path, epochs=FOR_EVER)
    group = start([*WORKER, "--store", str(tmp_path / "kdopt.db"), "--workers", "2", "--quiet"])
    wait_until(lambda: sum(s.running for s in queries.read_study_counts(store, "tiny")) >= 2)
    children = psutil.Process(group.pid).children()
    group.terminate()
    said = group.communicate(timeout=600)[0]
    assert group.returncode == 0, said
    assert said.count("(stopped)") == 2
    assert sum(s.running for s in queries.read_study_counts(store, "tiny")) == 0
    assert not any(child.is_running() for child in children)


def test_killed_workers_lose_no_trial_and_change_nothing(tmp_path, unbroken):
    store, _ = plan(tmp_path)
    chance = random.Random(0)
    killed = 0
    for round_ in range(5):
        worker = start_worker(tmp_path)
        wait_for(store, complete=1 + 5 * round_)
        time.sleep(chance.uniform(0, 0.05))
        worker.kill()
        worker.communicate()
        killed += 1
    assert killed == 5
    last = start_worker(tmp_path)
    assert last.communicate(timeout=600) and last.returncode == 0
    assert results(store) == unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_worker_gives_its_trial_back_at_once(tmp_path, number):
    store, _ = plan(tmp_path, epochs=FOR_EVER)
    worker = start_worker(tmp_path)
    wait_for(store, complete=2)
    wait_until(lambda: activity.read_running_trials(store, "tiny"))
    os.kill(worker.pid, number)
    said, _ = worker.communicate(timeout=600)
    assert worker.returncode == 0, said
    assert "stopped" in said
    states = Counter(row.state for row in queries.read_trials(store, "tiny"))
    assert states == {"COMPLETE": 2, "WAITING": 30}


def test_a_worker_stops_when_its_time_is_over_and_gives_its_trial_back(tmp_path):
    """However far it has got by then: on a busy machine it may not have begun a trial."""
    store, _ = plan(tmp_path, text=SPEC.replace("epochs = 2\n", f"epochs = {FOR_EVER}\n"))
    said = subprocess.run(
        [*WORKER, "--time-limit", "5s", "--store", str(tmp_path / "kdopt.db")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "stopped" in said.stdout
    states = Counter(row.state for row in queries.read_trials(store, "tiny"))
    assert states == {"WAITING": 32}


def test_the_trial_that_a_worker_has_when_its_time_is_over_is_given_back(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path)

    def train_for_ever(*_):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # of the rest of its time
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(Runner, "compute", train_for_ever)
    engine = make_engine("fp32", "cpu")
    summary = run_trials(store, artifacts, "tiny", engine, time_limit_s=600.0)
    assert (summary.stopped, summary.given_back, summary.complete) == (True, 1, 0)
    assert {row.state for row in queries.read_trials(store, "tiny")} == {"WAITING"}


def test_a_trial_that_diverges_fails_with_its_reason_and_the_rest_goes_on(tmp_path):
    text = SPEC.replace('stages = ["tune"]', 'stages = ["tune", "federate"]')
    # Plain SGD with such steps is beyond float32 at once.
    text += "[federate]\nrounds = 1\nlearning_rate = 1e6\n"
    tune = "temperatures = [1]\nalphas = [0.5]"
    store, artifacts = plan(tmp_path, text=text, tune=tune)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.complete, summary.failed) == (2 + 2, 2)
    for failure in list_failures(store, "tiny"):
        assert "loss became" in failure.error


def test_adaptive_samplers_give_the_same_campaign_whichever_workers_run_it(tmp_path):
    tune = 'sampler = "tpe"\nbudget = 6'
    found = []
    for name, n in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        store, _ = plan(folder, tune=tune, epochs=1)
        workers = [start_worker(folder) for _ in range(n)]
        for worker in workers:
            worker.communicate(timeout=600)
            assert worker.returncode == 0
        found.append(results(store))
    assert found[0] == found[1]
    assert len(found[0]) == 2 + 2 * 6


def test_a_damaged_checkpoint_stops_the_worker_and_the_trial_is_free(tmp_path):
    store, artifacts = plan(tmp_path, epochs=FOR_EVER)  # so that it is stopped before the end
    worker = start_worker(tmp_path)
    wait_for(store, complete=2)
    worker.terminate()
    worker.communicate(timeout=600)
    before = Counter(row.state for row in queries.read_trials(store, "tiny"))
    outcomes = [r.outcome for r in queries.read_trials(store, "tiny") if r.stage == "pretrain"]
    path = artifacts.path(outcomes[0].checkpoint)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="damaged or altered"):
        run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert Counter(row.state for row in queries.read_trials(store, "tiny")) == before
    said = start_worker(tmp_path)
    text, _ = said.communicate(timeout=600)
    assert said.returncode == 2
    assert "kdopt: error: artifact" in text
    assert "Traceback" not in text


def test_other_images_than_planned_are_refused(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path)
    from kdopt.data import datasets

    altered = load_dataset(queries.read_record(store, "tiny").campaign)
    pixels = altered.train_images.copy()
    pixels[0, 0, 0, 0] ^= 1
    changed = datasets.Dataset(**{**vars(altered), "train_images": pixels})
    monkeypatch.setattr(datasets, "read_dataset", lambda settings, seed: changed)
    with pytest.raises(DataError, match="not those that the campaign was planned with"):
        run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))


def test_one_lost_pretraining_blocks_only_the_pairs_that_need_it(tmp_path):
    spec = SPEC.replace("participants = 2", "participants = 3")
    store, artifacts = plan(tmp_path, tune="temperatures = [1]\nalphas = [0.5]", text=spec)
    pretraining = queries.read_study_counts(store, "tiny")[0]
    leases.fail_trial(
        store, leases.claim_trial(store, pretraining.study_id, "me", 60), "out of memory"
    )
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert summary.complete == 2 + 2
    assert len(summary.blocked) == 4
    assert all("t00" in name or "s00" in name for name in summary.blocked)


def test_a_worker_follows_a_campaign_that_grows_while_it_runs(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path, tune="temperatures = [1]\nalphas = [0.5]")
    original = leases.finish_trial
    grown = []

    def finish(*arguments):
        dropped = original(*arguments)
        if not grown:
            grown.append(True)
            wider = SPEC.replace('["uniform"]', '["uniform", "quantity_skew"]')
            plan(tmp_path, tune="temperatures = [1, 2]\nalphas = [0.5]", text=wider)
        return dropped

    monkeypatch.setattr(leases, "finish_trial", finish)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert summary.blocked == []
    assert summary.complete == 2 * (2 + 2 * 2)


def test_a_failure_after_the_lease_was_lost_is_dropped_quietly(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path, tune="temperatures = [1]\nalphas = [0.5]")
    first = []

    def lose_then_fail(context, plan, params, inputs):
        if not first:
            first.append(True)
            leases.requeue_lost_trials(store, lambda worker: True)
            raise RuntimeError("too late")
        return original(context, plan, params, inputs)

    original = worker_module.RUNNERS["pretrain"].run
    monkeypatch.setitem(
        worker_module.RUNNERS,
        "pretrain",
        dataclasses.replace(worker_module.RUNNERS["pretrain"], run=lose_then_fail),
    )
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.lost, summary.failed, summary.complete) == (1, 0, 4)


def test_a_sampler_that_breaks_stops_the_worker_and_fails_no_trial(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path, tune='sampler = "tpe"\nbudget = 2')

    def broken(*_):
        raise RuntimeError("sampler broke")

    monkeypatch.setattr(worker_module, "choose_params", broken)
    with pytest.raises(RuntimeError, match="sampler broke"):
        run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    states = Counter(row.state for row in queries.read_trials(store, "tiny"))
    assert set(states) == {"COMPLETE", "WAITING"}


def test_seconds_add_up_by_name_also_when_a_block_fails(monkeypatch):
    times = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(worker_module.time, "perf_counter", lambda: next(times))
    watch = Stopwatch()
    with watch.timing("store"):
        pass
    with watch.timing("store"):
        pass
    with pytest.raises(ZeroDivisionError), watch.timing("waiting"):
        1 / 0  # noqa: B018
    watch.add("training", 0.5)
    watch.add("training", 0.25)
    assert watch.seconds == {"store": 3.0, "waiting": 4.0, "training": 0.75}
