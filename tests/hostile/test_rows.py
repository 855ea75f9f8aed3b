"""Rows of the store that kdopt did not write: named with study, trial and key, never believed.

Each case changes one thing in a small campaign that was really run. Reading it gives a message or a
value, the doctor names what is off, and nothing ends in a traceback.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.errors import KdoptError, StoreError
from kdopt.service.doctor import check_campaign, check_store
from kdopt.service.repair import drop_leases_of_nothing, repair_campaign
from kdopt.service.status import read_status
from kdopt.store import leases, queries
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from tests.hostile.world import World, copy_world

Change = Callable[[Connection], object]
PRETRAIN, TUNE = "tiny/uniform/pretrain", "tiny/uniform/tune/t00-s01"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="session")
def finished_folder(pretrained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign at its end."""
    done = copy_world(pretrained_folder, tmp_path_factory.mktemp("finished") / "world")
    done.run()
    done.store.close()
    return done.folder


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> World:
    return copy_world(finished_folder, tmp_path / "world")


def find(connection: Connection, study: str = TUNE) -> int:
    sql = "SELECT min(trial_id) FROM trials JOIN studies USING (study_id) WHERE study_name = :name"
    return connection.execute(sa.text(sql), {"name": study}).scalar_one()


def sql(text: str, study: str = TUNE, **values: object) -> Change:
    def change(connection: Connection) -> None:
        trial = {"t": find(connection, study)} if ":t" in text else {}
        connection.execute(sa.text(text), {**trial, **values})

    return change


def write(key: str, text: object, study: str = TUNE) -> Change:
    where = f"trial_id = :t AND key = '{key}'"
    return sql(f"UPDATE trial_user_attributes SET value_json = :v WHERE {where}", study, v=text)


def edit(*path_and_value: Any, study: str = TUNE) -> Change:
    """Replace one value in a trial's record."""
    *path, last, value = path_and_value

    def change(connection: Connection) -> None:
        where = {"t": find(connection, study)}
        select = "FROM trial_user_attributes WHERE trial_id = :t AND key = 'kd:metrics'"
        record = json.loads(
            connection.execute(sa.text(f"SELECT value_json {select}"), where).scalar()
        )
        inner = record
        for name in path:
            inner = inner[name]
        inner[last] = value
        write("kd:metrics", json.dumps(record), study)(connection)

    return change


def add(key: str, text: str, study: str = TUNE) -> Change:
    columns = "trial_user_attributes (trial_id, key, value_json)"
    return sql(f"INSERT INTO {columns} VALUES (:t, :key, :v)", study, key=key, v=text)


def edit_record(*path_and_value: Any) -> Change:
    *path, last, value = path_and_value

    def change(connection: Connection) -> None:
        text = connection.execute(
            sa.text("SELECT value_json FROM study_user_attributes WHERE key = 'kd:record'")
        ).scalar_one()
        record = inner = json.loads(text)
        for name in path:
            inner = inner[name]
        inner[last] = value
        connection.execute(
            sa.text("UPDATE study_user_attributes SET value_json = :v WHERE key = 'kd:record'"),
            {"v": json.dumps(record)},
        )

    return change


OF_TRIAL = "UPDATE trials SET {} WHERE trial_id = :t"
OF_PARAM = "UPDATE trial_params SET {} WHERE trial_id = :t AND param_name = 'alpha'"
TEXTS = ["", "{", "null", "[]", "3", '"x"', "9" * 5000, DEEP]
UNREADABLE = {
    **{f"record of a trial {text[:9]!r}": write("kd:metrics", text) for text in TEXTS},
    "record that is no text": write("kd:metrics", b"\xff"),
    "record without its test": edit("test", None),
    "accuracy that is a text": edit("test", "accuracy", "x"),
    "accuracy of 500": edit("test", "accuracy", 500),
    "classes that are a text": edit("test", "per_class", "abc"),
    "value that is no number": edit("value", float("nan")),
    "checkpoint that is a number": edit("checkpoint", 3, study=PRETRAIN),
    "empty checkpoint": edit("checkpoint", "", study=PRETRAIN),
    "place beyond the line": edit("line_position", 9.0),
    "statistics of a name that is unknown": edit("batch_norm", "x"),
    "negative epochs": edit("epochs", -1),
    "parameter without a number": sql(OF_PARAM.format("param_value = NULL")),
    "parameter out of bounds": sql(OF_PARAM.format("param_value = 99")),
    "parameter that is a text": sql(OF_PARAM.format("param_value = 'x'")),
    "parameter without a name": sql(OF_PARAM.format("param_name = NULL")),
    "broken distribution": sql(OF_PARAM.format("distribution_json = '{'")),
    "deep distribution": sql(OF_PARAM.format("distribution_json = :v"), v=DEEP),
    "lost parameter": sql("DELETE FROM trial_params WHERE trial_id = :t AND param_name = 'alpha'"),
    "lost record": sql("DELETE FROM trial_user_attributes WHERE trial_id = :t"),
    "unknown state": sql(OF_TRIAL.format("state = 'FOO'")),
    "number that is a text": sql(OF_TRIAL.format("number = 'x'")),
    "lost participant": sql("DELETE FROM trial_params WHERE trial_id = :t", PRETRAIN),
    "pruned": sql(OF_TRIAL.format("state = 'PRUNED'")),
    "record of the campaign": sql(
        "UPDATE study_user_attributes SET value_json = '{' WHERE key = 'kd:record'"
    ),
    "seed that is a text": edit_record("campaign", "seed", "x"),
    "another seed": edit_record("campaign", "seed", 77),
    "ten million participants": edit_record("campaign", "participants", 10**7),
    "other splits": edit_record("splits", {"uniform": "0" * 64}),
    "no partitions": edit_record("campaign", "partitions", []),
}
"""Changes after which nothing can be told: every reader refuses."""

OF_OWN = (
    "UPDATE study_user_attributes SET {} WHERE key = :key AND study_id = "
    "(SELECT study_id FROM studies WHERE study_name = 'tiny/campaign')"
)
KEPT = json.dumps({"of": "pair", "sha256": "a" * 64, "rank": [0, 0, 0]})
FACTS = (
    "INSERT INTO study_user_attributes (study_id, key, value_json) "
    "SELECT study_id, 'kd:facts', :v FROM studies WHERE study_name = 'tiny/campaign'"
)
STUDY = "INSERT INTO studies (study_name) VALUES (:name)"
TAMPERED = {
    "another value": sql("UPDATE trial_values SET value = 7.5 WHERE trial_id = :t"),
    "no value": sql("DELETE FROM trial_values WHERE trial_id = :t"),
    "another gain": edit("validation_gain", 1.25),
    "another learning": edit("learning", 9.0),
    "another accuracy before": edit("test_before", "accuracy", 0.123),
    "classes of wrong number": edit("test", "per_class", [0.5]),
    "participant 99": edit("participant", 99),
    "weights of nobody": edit("checkpoint", "b" * 64, study=PRETRAIN),
    "images that were right": edit("test", "right", "AAAA", study=PRETRAIN),
    "loss that is no number": edit("test", "loss", float("nan")),
    "best epoch": edit("best_epoch", 9),
    "place that was not tried": edit("line_position", 0.5),
    "learning curve that nobody asked for": edit("curve", [0.5, 0.5]),
    "line that nobody asked for": edit("line", [[0.5, 0.0, "gA=="]]),
    "statistics that nobody asked for": edit("batch_norm", "running"),
    "measured students that nobody asked for": edit("measured_line", [[1.0, 0.0, "gA=="]]),
    "waiting with a result": sql(OF_TRIAL.format("state = 'WAITING'")),
    "failed with a result": sql(OF_TRIAL.format("state = 'FAIL'")),
    "running without a lease": sql("UPDATE trials SET state = 'RUNNING' WHERE trial_id = :t"),
    "time that cannot be read": sql(OF_TRIAL.format("datetime_complete = 'x'")),
    "time before kdopt": sql(OF_TRIAL.format("datetime_start = 3")),
    "no time": sql(OF_TRIAL.format("datetime_start = NULL")),
    "times reversed": sql(OF_TRIAL.format("datetime_start = '2199-01-01 00:00:00.000000'")),
    "a number that is taken": sql(OF_TRIAL.format("number = 77")),
    "a step": sql(
        "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
        "intermediate_value_type) VALUES (:t, 1, 0.5, 'FINITE')"
    ),
    "loss below 0": edit("validation", "loss", -0.5),
    "loss before that is no number": edit("test_before", "loss", float("nan")),
    "images beyond the last": edit("test", "right", "/" * 600, study=PRETRAIN),
    "last accuracy": edit("last_test_accuracy", 0.5, study=PRETRAIN),
    "more epochs than the budget": edit("epochs", 10**6),
    "device": edit("device", "meta"),
    "version": edit("versions", "torch", ""),
    "student of its own choice": edit("participant", 1),
    "bytes": edit("start_bytes", 1),
    "line that the campaign has not": edit("line_position", 1.0),
    "taken from a tuning trial": edit("taken_from", f"{TUNE} #0"),
    "column of the dashboard": sql(
        "DELETE FROM trial_user_attributes WHERE trial_id = :t AND key = 'test_gain'"
    ),
    "wider distribution": sql(
        OF_PARAM.format(
            "distribution_json = replace(distribution_json, '\"low\": 0', '\"low\": -1')"
        )
    ),
    "ignored, though it has a result": add("kd:ignored", '"x"'),
    "other weights of pre-training": add("kd:other_weights", "true", study=PRETRAIN),
    "other weights that are a text": add("kd:other_weights", '"x"'),
    "student that is kept of pre-training": add("kd:kept", KEPT, study=PRETRAIN),
    "student that is kept and cannot be read": add("kd:kept", "{}"),
    "student that is kept and not there": add("kd:kept", KEPT),
    "attribute of Optuna": sql(
        "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (:t, 'grid_id', 1)"
    ),
    "heartbeat of Optuna": sql(
        "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (:t, '2026-01-01 00:00:00')"
    ),
    "lease of many runs": sql("UPDATE kdopt_lease SET attempt = 77 WHERE trial_id = :t"),
    "lease until a text": sql("UPDATE kdopt_lease SET expires = 'x' WHERE trial_id = :t"),
    "lease for ever": sql("UPDATE kdopt_lease SET expires = 1e300 WHERE trial_id = :t"),
    "hash with the record": sql(OF_OWN.format("value_json = '\"x\"'"), key="kd:planned_as"),
    "no hash with the record": sql(OF_OWN.format("key = 'x'"), key="kd:planned_as"),
    "versions": sql(FACTS.replace("kd:facts", "kd:versions"), v="[[1]]"),
    "copy of the record": sql("DELETE FROM kdopt_meta WHERE key LIKE 'record:%'"),
    "where its images are": edit_record("campaign", "data", "root", "elsewhere"),
    "direction": sql("UPDATE study_directions SET direction = 'MINIMIZE'"),
    "stage of a study": sql(
        "UPDATE study_user_attributes SET value_json = '{' WHERE key = 'kd:stage'"
    ),
    "hash of the record": sql(
        "UPDATE study_user_attributes SET value_json = '\"x\"' WHERE key = 'kd:planned_as'"
    ),
    "trial without a study": sql(
        "INSERT INTO trials (number, study_id, state) VALUES (0, 999, 'WAITING')"
    ),
    "lease of nothing": sql("INSERT INTO kdopt_lease VALUES (999, 'me', 3, 1)"),
    "measurements that are no table": sql(FACTS, v="[]"),
    "measurements of other types": sql(FACTS, v='{"uniform": {"label_counts": "x"}}'),
    "measurements of one": sql(FACTS, v='{"uniform": {"label_counts": [[1]]}}'),
    "trigger": sql(
        "CREATE TRIGGER more AFTER UPDATE ON trials BEGIN UPDATE trial_values SET value = 9; END"
    ),
    "copied study": sql(STUDY, name=f"{TUNE}-copy"),
    "study of no stage": sql(STUDY, name="tiny/uniform/prune"),
    "study of no pair": sql(STUDY, name="tiny/uniform/tune/t05-s09"),
    "deleted study": sql("DELETE FROM studies WHERE study_name = :name", name=TUNE),
    "deleted campaign study": sql("DELETE FROM studies WHERE study_name = 'tiny/campaign'"),
}
"""Changes that the doctor names; what else is known may still be shown."""


def list_problems(world: World) -> list[str]:
    found = check_campaign(world.store, world.artifacts, "tiny").problems
    return [*found, *check_store(world.store)]


def change_store(world: World, change: Change) -> None:
    with world.store.write() as connection:
        change(connection)


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_refused_by_name_and_the_doctor_goes_on(finished, case):
    change_store(finished, UNREADABLE[case])
    with pytest.raises(StoreError) as refused:
        queries.read_trials(finished.store, "tiny")
    message = str(refused.value)
    assert "tiny" in message and "doctor" in message and len(message) < 2000
    assert list_problems(finished)
    try:
        read_status(finished.store, "tiny")
    except StoreError as error:
        assert "tiny" in str(error)


@pytest.mark.parametrize("case", TAMPERED)
def test_what_kdopt_cannot_have_written_is_named(finished, case):
    assert list_problems(finished) == []
    change_store(finished, TAMPERED[case])
    assert list_problems(finished)
    read_status(finished.store, "tiny")


CURED = {
    *("direction", "stage of a study", "hash of the record", "hash with the record"),
    *("no hash with the record", "copy of the record"),
    *("running without a lease", "waiting with a result", "lease of nothing"),
}


@pytest.mark.parametrize("case", sorted(CURED))
def test_what_kdopt_knows_is_put_back(finished, case):
    change_store(finished, TAMPERED[case])
    drop_leases_of_nothing(finished.store)
    repair_campaign(finished.store, "tiny")
    # What ran without a lease has one now; nobody has to wait for its end.
    leases.requeue_lost_trials(finished.store, lambda worker: True)
    finished.run()
    assert list_problems(finished) == []


@pytest.mark.parametrize("case", [*UNREADABLE, *TAMPERED])
def test_another_store_is_merged_or_refused(finished, empty_store, tmp_path, case):
    change_store(finished, {**UNREADABLE, **TAMPERED}[case])
    shutil.copy(empty_store, tmp_path / "here.db")
    store = open_store(str(tmp_path / "here.db"))
    try:
        merge_campaign(
            Site(store, finished.artifacts), Site(finished.store, finished.artifacts), "tiny"
        )
    except KdoptError as error:
        assert "tiny" in str(error)
    finally:
        store.close()


@pytest.mark.parametrize(
    "change",
    [
        edit("later", {"a": 1}),
        edit("test", "later", [1]),
        edit_record("later", 3),
        edit_record("campaign", "tune", "later", 1),
        sql(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:t, 'kd:x', '')"
        ),
    ],
)
def test_keys_of_a_newer_version_are_kept_and_ignored(finished, change):
    change_store(finished, change)
    assert list_problems(finished) == []
    assert all(row.outcome for row in queries.read_trials(finished.store, "tiny"))
