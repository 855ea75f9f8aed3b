"""Students that are kept: those of their trials, one of each pair, and there."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from kdopt.service.doctor import check_campaign
from kdopt.store.attributes import KEPT_KEY
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.worker.test_keeping import SPEC
from tests.worker.test_worker import plan

CHANGES = {
    "of": (("of", "s09"), "not what its result says"),
    "rank": (("rank", [-99.0, 0, 0]), "not what its result says"),
    "no rank": (("rank", []), "cannot be read"),
    "no hash": (("sha256", "x"), "cannot be read"),
    "another hash": (("sha256", "a" * 64), "missing"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("kept")
    store, artifacts = plan(path, epochs=1, text=SPEC.replace("{keep}", "best"))
    run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert check_campaign(store, artifacts, "tiny", deep=True).problems == ()
    store.close()
    return path, artifacts


@pytest.fixture
def kept(folder):
    """The store, the artifacts, and a row with a student, which is put back at the end."""
    path, artifacts = folder
    store = open_store(str(path / "kdopt.db"))
    where = f"FROM trial_user_attributes WHERE key = '{KEPT_KEY}' ORDER BY trial_id LIMIT 1"
    ((trial, text),) = store.select_rows(f"SELECT trial_id, value_json {where}")
    yield store, artifacts, trial, json.loads(text)
    write(store, trial, json.loads(text))
    store.close()


def write(store, trial, value):
    sql = sa.text(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, :key, :v) "
        "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"
    )
    with store.write() as connection:
        connection.execute(sql, {"trial": trial, "key": KEPT_KEY, "v": json.dumps(value)})


@pytest.mark.parametrize("case", CHANGES)
def test_another_student_than_that_of_the_result_is_named(kept, case):
    store, artifacts, trial, value = kept
    (key, new), expected = CHANGES[case]
    write(store, trial, {**value, key: new})
    (problem,) = check_campaign(store, artifacts, "tiny").problems
    assert expected in problem


def test_two_students_of_a_pair_are_named(kept):
    store, artifacts, trial, value = kept
    sql = (
        "SELECT o.trial_id FROM trials o JOIN trials t ON t.study_id = o.study_id "
        "WHERE t.trial_id = :t AND o.trial_id <> :t ORDER BY o.trial_id LIMIT 1"
    )
    ((other,),) = store.select_rows(sql, {"t": trial})
    write(store, other, value)
    problems = check_campaign(store, artifacts, "tiny").problems
    with store.write() as connection:
        drop = "DELETE FROM trial_user_attributes WHERE trial_id = :t AND key = :key"
        connection.execute(sa.text(drop), {"t": other, "key": KEPT_KEY})
    assert any("its student is kept" in p or "not what its result says" in p for p in problems)
