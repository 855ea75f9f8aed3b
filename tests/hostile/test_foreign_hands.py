"""Optuna's own tools on a store: what is the campaign's is taken back, the rest is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa

from kdopt.campaign.stages import plan_studies
from kdopt.errors import LeaseLostError, StoreError
from kdopt.service.doctor import check_campaign, check_store
from kdopt.service.repair import drop_leases_of_nothing, repair_campaign
from kdopt.service.status import read_status
from kdopt.store import leases, queries
from kdopt.store.planning import write_plan
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
    assert any("none of its" in note for note in read_status(world.store, "tiny").notes)


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


def test_a_result_of_a_deleted_study_is_no_result(world):
    state = next(s for s in queries.read_study_counts(world.store, "tiny") if s.study == TUNE)
    claim = leases.claim_trial(world.store, state.study_id, "me", 60)
    with tools(world) as storage:
        optuna.delete_study(study_name=TUNE, storage=storage)
    with pytest.raises(LeaseLostError, match="deleted"):
        leases.finish_trial(world.store, claim, make_outcome(1.0))


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
