"""A worker that takes several trials at once, as on a GPU: each is recorded on its own."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.train.engine import make_engine
from kdopt.trials import runners
from kdopt.trials.context import Context
from kdopt.worker.worker import run_trials
from tests.worker.test_worker import GRID, plan, results

ENGINE = make_engine("fp32", "cpu")
TOGETHER = 4


@pytest.fixture(autouse=True)
def several(monkeypatch):
    monkeypatch.setattr(Context, "together", TOGETHER)


def run(folder, **options):
    store, artifacts = plan(folder, **options)
    return store, run_trials(store, artifacts, "tiny", ENGINE)


def states(store):
    return [row.state for row in queries.read_trials(store, "tiny") if row.stage == "tune"]


def test_the_campaign_is_that_of_a_worker_that_takes_one(tmp_path, monkeypatch):
    asked = []
    whole = runners.Runner.compute_together

    def compute_together(self, context, plan, cells, inputs):
        asked.append(len(cells))
        return whole(self, context, plan, cells, inputs)

    monkeypatch.setattr(runners.Runner, "compute_together", compute_together)
    store, summary = run(tmp_path / "several")
    monkeypatch.setattr(Context, "together", 1)
    other, _ = run(tmp_path / "one")
    assert results(store) == results(other)
    assert (summary.complete, summary.failed, summary.lost) == (len(results(store)), 0, 0)
    assert max(asked) == TOGETHER and sum(asked) > 20


def test_trials_of_several_replicates_may_be_among_them(tmp_path, monkeypatch):
    text = "temperatures = [1]\nalphas = [0.5, 0.9]"
    grown = plan.__globals__["SPEC"].replace(
        'stages = ["tune"]', 'stages = ["tune"]\nreplicates = 3'
    )
    store, _ = run(tmp_path / "several", tune=text, text=grown)
    monkeypatch.setattr(Context, "together", 1)
    other, _ = run(tmp_path / "one", tune=text, text=grown)
    assert results(store) == results(other)


def test_a_trial_that_was_lost_drops_its_result_alone(tmp_path, monkeypatch, caplog):
    whole = runners.Runner.compute_together
    lost = []

    def compute_together(self, context, plan, cells, inputs):
        found = whole(self, context, plan, cells, inputs)
        if not lost:
            running = [s for s in queries.read_trials(store, "tiny") if s.state == "RUNNING"]
            lost.append(running[1].number)
            with store.write() as connection:
                # Another's from now on, whom no heartbeat prolongs it for.
                connection.exec_driver_sql(
                    "UPDATE kdopt_lease SET worker = 'lost', expires = 0 WHERE trial_id = "
                    "(SELECT trial_id FROM trials t JOIN studies s USING (study_id) "
                    f"WHERE s.study_name = '{running[1].study}' AND t.number = {lost[0]})"
                )
            assert leases.requeue_lost_trials(store, lambda worker: False) == 1
        return found

    monkeypatch.setattr(runners.Runner, "compute_together", compute_together)
    store, artifacts = plan(tmp_path)
    with caplog.at_level(logging.WARNING):
        summary = run_trials(store, artifacts, "tiny", ENGINE)
    assert summary.lost == 1
    assert f"#{lost[0]}: result dropped" in caplog.text
    assert set(states(store)) == {"COMPLETE"}


def test_a_stopped_worker_gives_all_of_them_back(tmp_path, monkeypatch):
    def compute_together(self, context, plan, cells, inputs):
        assert states(store).count("RUNNING") == TOGETHER
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not stopped")

    monkeypatch.setattr(runners.Runner, "compute_together", compute_together)
    store, artifacts = plan(tmp_path)
    summary = run_trials(store, artifacts, "tiny", ENGINE)
    assert summary.stopped and summary.failed == 0
    assert set(states(store)) == {"WAITING"}


def test_a_store_that_fails_in_the_midst_of_a_claim_leaves_all_of_them_free(tmp_path, monkeypatch):
    grant_leases = leases.grant_leases

    def failing(store, connection, trials, *rest):
        if len(trials) > 1:
            raise StoreError("the disk is full")
        return grant_leases(store, connection, trials, *rest)

    monkeypatch.setattr(leases, "grant_leases", failing)
    store, artifacts = plan(tmp_path)
    with pytest.raises(StoreError, match="disk"):
        run_trials(store, artifacts, "tiny", ENGINE)
    assert set(states(store)) == {"WAITING"}


def test_a_group_that_breaks_fails_with_its_reason(tmp_path, monkeypatch):
    def compute_together(self, context, plan, cells, inputs):
        raise ValueError("broken")

    monkeypatch.setattr(runners.Runner, "compute_together", compute_together)
    store, summary = run(tmp_path, tune=GRID)
    failed = [r for r in queries.read_trials(store, "tiny") if r.state == "FAIL"]
    assert len(failed) == summary.failed > TOGETHER
    assert all(row.error.startswith("ValueError: broken") for row in failed)


def test_open_trials_are_taken_one_by_one(tmp_path, monkeypatch):
    tune = 'sampler = "random"\nbudget = 4'
    store, _ = run(tmp_path / "several", tune=tune)
    monkeypatch.setattr(Context, "together", 1)
    other, _ = run(tmp_path / "one", tune=tune)
    assert results(store) == results(other)
