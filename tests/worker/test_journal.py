"""Long trials in real worker processes: killed, stopped and frozen in mid-run."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from kdopt.errors import ArtifactError, LeaseLostError
from kdopt.store import activity, leases, long_trials, queries
from kdopt.store.artifacts import Artifacts
from kdopt.train.engine import make_engine
from kdopt.worker.journal import StoreJournal
from kdopt.worker.worker import run_trials
from tests.conftest import optuna_study
from tests.freezing import freeze, thaw
from tests.started import start
from tests.worker.test_worker import plan, results, start_worker

SPEC = """
name = "tiny"
participants = 3
model = "mlp"
partitions = ["label_dirichlet"]
precision = "fp32"
stages = ["federate"]
[data]
name = "digits"
validation_fraction = 0.2
[pretrain]
epochs = {epochs}
patience = 0
[distill]
epochs = 2
patience = 0
[federate]
initial_models = ["consolidated"]
rounds = 60
save_every = 4
[partition.label_dirichlet]
concentration = [0.5, 2.0]
"""
STUDY = "tiny/label_dirichlet/federate"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    store, artifacts = plan(folder, text=SPEC)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.complete, summary.failed) == (4, 0)
    found = results(store)
    store.close()
    return found, curve(folder), files(folder)


def curve(folder: Path) -> dict[int, float]:
    with optuna_study(f"sqlite:///{folder / 'kdopt.db'}", STUDY) as study:
        return study.trials[0].intermediate_values


def files(folder: Path) -> set[str]:
    return {p.name for p in (folder / "artifacts").rglob("*.*")}


def start_until(step: int, store, folder: Path):
    """A worker that has reported a step of the long trial, and waits there for ``let_go``."""
    worker = start([sys.executable, "-m", "tests.worker.pausing_worker", str(folder), str(step)])
    end = time.monotonic() + 600
    while not any((r.step or 0) >= step for r in activity.read_running_trials(store, "tiny")):
        assert worker.poll() is None, worker.communicate()
        assert time.monotonic() < end, "no progress"
        time.sleep(0.02)
    return worker


def let_go(folder: Path) -> None:
    (folder / "go-on").touch()


def states_saved(text: str) -> list[int]:
    return [
        int(line.split(" step ")[1].split()[0]) for line in text.splitlines() if "saved" in line
    ]


def test_the_dashboard_sees_the_curve(unbroken):
    found, seen, kept = unbroken
    (record,) = [r for (study, _), (_, _, r) in found.items() if study == STUDY]
    assert seen == {i: pair[0] for i, pair in enumerate(record["rounds"])}
    assert len(seen) == 61
    # Three checkpoints, the federated model and the splits; no state is left over.
    assert len(kept) == 3 + 1 + 1


def test_a_killed_federate_trial_goes_on_where_it_was_and_gives_the_same_curve(tmp_path, unbroken):
    store, _ = plan(tmp_path, text=SPEC)
    steps = []
    for step in (10, 30):
        worker = start_until(step, store, tmp_path)
        worker.kill()  # kill -9
        steps.append(states_saved(worker.communicate()[0]))
    last = start_worker(tmp_path)
    said, _ = last.communicate(timeout=600)
    assert last.returncode == 0, said
    steps.append(states_saved(said))
    # Each went on after the last state of the one before it, and none began again.
    assert steps[0][0] == 4 and steps[0][-1] < steps[1][0] and steps[1][-1] < steps[2][0]
    assert f"goes on after step {steps[1][-1]}" in said
    assert steps[2][-1] == 56
    assert results(store) == unbroken[0]
    assert curve(tmp_path) == unbroken[1]
    assert files(tmp_path) == unbroken[2]


def test_a_stopped_federate_trial_is_given_back_with_its_state(tmp_path, unbroken):
    store, _ = plan(tmp_path, text=SPEC)
    worker = start_until(12, store, tmp_path)
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=600)
    assert worker.returncode == 0 and "given back" in said
    claim_free = queries.read_study_counts(store, "tiny")[-1]
    assert (claim_free.waiting, claim_free.running) == (1, 0)
    last = start_worker(tmp_path)
    said, _ = last.communicate(timeout=600)
    assert "goes on after step" in said
    assert results(store) == unbroken[0]
    assert files(tmp_path) == unbroken[2]


def test_a_frozen_worker_stops_at_its_next_report(tmp_path, unbroken):
    store, _ = plan(tmp_path, text=SPEC)
    frozen = start_until(10, store, tmp_path)
    freeze(frozen.pid, store)
    try:
        assert leases.requeue_lost_trials(store, lambda worker: True) == 1
        other = start_until(20, store, tmp_path)
        let_go(tmp_path)
    finally:
        thaw(frozen.pid)
    said = [w.communicate(timeout=600)[0] for w in (frozen, other)]
    assert [w.returncode for w in (frozen, other)] == [0, 0]
    assert "result dropped" in said[0] and "1 result dropped" in said[0]
    assert states_saved(said[0]) == [4, 8] and states_saved(said[1])[0] == 12
    assert results(store) == unbroken[0]
    assert files(tmp_path) == unbroken[2]


def test_a_lost_state_costs_time_and_nothing_else(tmp_path, unbroken, caplog):
    store, artifacts = plan(tmp_path, text=SPEC)
    worker = start_until(10, store, tmp_path)
    worker.kill()
    worker.communicate()
    leases.requeue_lost_trials(store, lambda worker: True)
    study = queries.read_study_counts(store, "tiny")[-1].study_id
    claim = leases.claim_trial(store, study, "me", 60)
    state = long_trials.read_state(store, claim)
    artifacts.path(state.sha256).write_bytes(b"damaged")
    leases.release_trial(store, claim)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert summary.complete >= 1
    assert "starts again from the beginning" in caplog.text
    assert results(store) == unbroken[0]


def new_journal(store, artifacts, claim):
    from contextlib import nullcontext

    return StoreJournal(store, artifacts, claim, "it", nullcontext)


def test_only_the_last_state_is_kept_and_a_refused_one_is_taken_away(tmp_path):
    store, _ = plan(tmp_path, text=SPEC)
    folder = Artifacts(tmp_path / "states")
    study = queries.read_study_counts(store, "tiny")[0].study_id
    claim = leases.claim_trial(store, study, "me", 60)
    journal = new_journal(store, folder, claim)
    assert journal.saved() is None
    for step in range(3):
        journal.save(step, f"state {step}".encode())
    assert [p.read_bytes() for p in folder.root.rglob("*.safetensors")] == [b"state 2"]
    again = new_journal(store, folder, claim)
    assert again.saved() == b"state 2"
    leases.requeue_lost_trials(store, lambda worker: True)
    with pytest.raises(LeaseLostError):
        journal.save(3, b"late")
    assert [p.read_bytes() for p in folder.root.rglob("*.safetensors")] == [b"state 2"]
    successor = new_journal(store, folder, leases.claim_trial(store, study, "next", 60))
    assert successor.saved() == b"state 2"
    successor.close()
    assert not list(folder.root.rglob("*.safetensors"))


def test_a_state_that_cannot_be_read_now_is_kept_for_later(tmp_path, monkeypatch):
    store, _ = plan(tmp_path, text=SPEC)
    folder = Artifacts(tmp_path / "states")
    study = queries.read_study_counts(store, "tiny")[0].study_id
    first = new_journal(store, folder, leases.claim_trial(store, study, "me", 60))
    first.save(50, b"state 50")
    leases.requeue_lost_trials(store, lambda worker: True)
    second = new_journal(store, folder, leases.claim_trial(store, study, "next", 60))

    def stale(sha256):
        raise ArtifactError("artifact: cannot be read: Stale file handle")

    monkeypatch.setattr(folder, "get", stale)
    with pytest.raises(ArtifactError, match="Stale"):
        second.saved()
    monkeypatch.undo()
    assert second.saved() == b"state 50"


def test_a_state_that_cannot_be_written_stops_the_worker_and_frees_the_trial(tmp_path, monkeypatch):
    store, artifacts = plan(tmp_path, text=SPEC)
    real = artifacts.put

    def full(content):
        if b"so_far" in content:
            raise ArtifactError("artifact folder: cannot be written: disk full")
        return real(content)

    monkeypatch.setattr(artifacts, "put", full)
    with pytest.raises(ArtifactError, match="disk full"):
        run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    free = queries.read_study_counts(store, "tiny")[-1]
    assert (free.waiting, free.running, free.failed) == (1, 0, 0)
