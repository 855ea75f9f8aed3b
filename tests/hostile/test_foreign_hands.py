"""Optuna's own tools on a store: what is the campaign's is taken back, the rest is named."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa
import typer

from kdopt.campaign.stages import plan_studies
from kdopt.cli.progress import ProgressBar, follow_workers
from kdopt.cli.run import _report_end
from kdopt.errors import StoreError, TrialGoneError
from kdopt.service.doctor import check_campaign, check_store
from kdopt.service.repair import drop_leases_of_nothing, repair_campaign
from kdopt.service.status import read_status
from kdopt.store import leases, long_trials, queries
from kdopt.store.planning import write_plan
from kdopt.trials.runners import RUNNERS
from kdopt.worker.worker import run_worker
from tests.conftest import make_campaign, make_outcome, make_record
from tests.hostile.world import World

TUNE = "tiny/uniform/tune/t00-s01"


@contextlib.contextmanager
def tools(world: World) -> Iterator[optuna.storages.RDBStorage]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{world.folder / 'kdopt.db'}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def list_problems(world: World) -> list[str]:
    found = check_campaign(world.store, world.artifacts, "tiny").problems
    return [*found, *check_store(world.store)]


def optimize(study: optuna.Study) -> None:
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)


def ask(study: optuna.Study) -> None:
    study.ask()


def enqueue(study: optuna.Study) -> None:
    study.enqueue_trial({"temperature": 1.0, "alpha": 0.3})


@pytest.mark.parametrize("touch", [optimize, ask, enqueue])
def test_what_others_did_to_trials_is_taken_back_and_planned_again(world, touch):
    with tools(world) as storage:
        touch(optuna.load_study(study_name=TUNE, storage=storage))
    assert any("another program" in note for note in read_status(world.store, "tiny").notes)
    world.run()
    assert list_problems(world) == []
    rows = queries.read_trials(world.store, "tiny")
    assert {row.state for row in rows} == {"COMPLETE"} and all(row.outcome for row in rows)
    reason = "SELECT value_json FROM trial_user_attributes WHERE key = 'kd:ignored'"
    assert "another program" in world.store.select_rows(reason)[0][0]


def test_a_copied_study_is_left_out_and_named(world):
    with tools(world) as storage:
        optuna.copy_study(
            from_study_name=TUNE,
            from_storage=storage,
            to_storage=storage,
            to_study_name=f"{TUNE}-copy",
        )
    before = world.states
    world.run()
    assert world.states.total() == before.total()
    (problem,) = list_problems(world)
    assert f"{TUNE}-copy" in problem and "delete it" in problem
    assert any("it did not plan" in note for note in read_status(world.store, "tiny").notes)


def test_the_record_outlives_its_study_and_no_other_spec_takes_its_name(world):
    with tools(world) as storage:
        optuna.delete_study(study_name="tiny/campaign", storage=storage)
    assert queries.list_campaigns(world.store) == ["tiny"]
    record = queries.read_record(world.store, "tiny")
    with pytest.raises(StoreError, match="other values"):
        write_plan(world.store, make_record(make_campaign(seed=77)), plan_studies)
    assert repair_campaign(world.store, "tiny").record
    assert list_problems(world) == [] and queries.read_record(world.store, "tiny") == record


def test_leases_of_deleted_trials_are_swept_before_their_ids_are_used_again(world):
    world.run()
    with tools(world) as storage:
        optuna.delete_study(study_name=TUNE, storage=storage)
    assert any("kdopt_lease" in problem for problem in check_store(world.store))
    assert any("deleted" in note for note in read_status(world.store, "tiny").notes)
    assert drop_leases_of_nothing(world.store) and not check_store(world.store)


@pytest.mark.parametrize("swept", [False, True])
def test_a_result_of_a_deleted_study_is_no_result(world, swept):
    state = next(s for s in queries.read_study_counts(world.store, "tiny") if s.study == TUNE)
    claim = leases.claim_trial(world.store, state.study_id, "me", 60)
    with tools(world) as storage:
        optuna.delete_study(study_name=TUNE, storage=storage)
    if swept:
        drop_leases_of_nothing(world.store)
    for call in (
        lambda: leases.finish_trial(world.store, claim, make_outcome(1.0)),
        lambda: leases.fail_trial(world.store, claim, "why"),
        lambda: long_trials.report_values(world.store, claim, {1: 0.5}),
        lambda: long_trials.save_state(world.store, claim, 1, "0" * 64),
    ):
        with pytest.raises(TrialGoneError, match="its study was deleted"):
            call()
    assert not leases.renew_lease(world.store, claim, 60)
    leases.release_trial(world.store, claim, stopped=True)
    sql = "SELECT count(*) FROM trial_user_attributes WHERE trial_id = :trial"
    assert world.store.select_rows(sql, {"trial": claim.trial_id}) == [(0,)]


def test_a_worker_whose_study_is_deleted_names_the_result_that_is_lost(world, monkeypatch):
    run = RUNNERS["tune"]

    def delete_and_run(context, plan, *rest):
        with tools(world) as storage:
            optuna.delete_study(study_name=plan.name, storage=storage)
        return run.run(context, plan, *rest)

    monkeypatch.setitem(
        RUNNERS, "tune", dataclasses.replace(run, run=delete_and_run, run_together=None)
    )
    with pytest.raises(StoreError) as found:
        run_worker(world.store, world.artifacts, "tiny", "cpu")
    assert "2 results are lost" in str(found.value) and f"{TUNE} #0" in str(found.value)
    assert "plan them again" in str(found.value)


def test_a_run_whose_study_was_deleted_does_not_end_well(world, monkeypatch, capsys):
    progress = ProgressBar(world.store, "tiny", quiet=True)

    def work(*_):
        world.run()
        with tools(world) as storage:
            optuna.delete_study(study_name=TUNE, storage=storage)

    follow_workers(progress, world.store, world.artifacts, work)
    assert progress.gone == 1 and not progress.status.left
    with pytest.raises(typer.Exit) as end:
        _report_end(progress, world.store, world.folder / "report", lambda _: None)
    assert end.value.exit_code == 1
    assert "1 trial was deleted" in capsys.readouterr().err


def test_what_cannot_be_read_is_planned_again_by_the_repair(world):
    world.run()
    with world.store.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'kd:metrics' "
                "AND trial_id = (SELECT max(trial_id) FROM trials)"
            )
        )
    assert repair_campaign(world.store, "tiny").trials == 1
    world.run()
    assert list_problems(world) == []
