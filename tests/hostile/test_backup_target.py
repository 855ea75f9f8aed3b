"""A backup replaces an earlier copy of the same store, and nothing else that lies in its way."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store
from tests.conftest import make_outcome
from tests.hostile.test_store_file import look_at, make_diary, make_newer_store, make_optuna_store
from tests.hostile.world import World, kdopt
from tests.worker.test_worker import plan


def finish_one(folder):
    """Record a result that only the store in this folder has."""
    store = open_store(str(folder / "kdopt.db"))
    study = next(s for s in queries.read_study_counts(store, "tiny") if s.waiting)
    claim = leases.claim_trial(store, study.study_id, "w", 60)
    leases.finish_trial(store, claim, make_outcome(1.0))
    store.close()


def plan_another(folder):
    """A store with the same campaign, in which nothing was done."""
    store, _ = plan(folder, epochs=1, tune="temperatures = [1]\nalphas = [0.5]")
    store.close()


def go_on_with_a_copy(world):
    def make(folder):
        back_up_store(world.store, world.artifacts, folder)
        finish_one(folder)

    return make


def make_older_store(folder):
    """As another store of an older version: it has no number."""
    plan_another(folder)
    finish_one_pretraining(folder)
    with closing(sqlite3.connect(folder / "kdopt.db")) as file, file:
        file.execute("PRAGMA user_version = 0")


def finish_one_pretraining(folder):
    store = open_store(str(folder / "kdopt.db"))
    study = next(s for s in queries.read_study_counts(store, "tiny") if s.name.stage == "pretrain")
    claim = leases.claim_trial(store, study.study_id, "w", 60)
    leases.finish_trial(store, claim, make_outcome(1.0))
    store.close()


def in_file(make):
    return lambda folder: make(folder / "kdopt.db")


IN_THE_WAY = {
    "a diary": (in_file(make_diary), "not a kdopt store"),
    "a diary in WAL mode": (in_file(lambda p: make_diary(p, "wal")), "not a kdopt store"),
    "text": (in_file(lambda p: p.write_text("Dear diary")), "not SQLite"),
    "an empty file": (in_file(lambda p: p.touch()), "not a kdopt store"),
    "a folder": (in_file(lambda p: p.mkdir()), "not a plain file"),
    "a link": (in_file(lambda p: p.symlink_to("nowhere")), "not a plain file"),
    "Optuna's studies": (in_file(make_optuna_store), "Optuna database without kdopt's tables"),
    "a newer kdopt's store": (in_file(make_newer_store), "kdopt schema 99"),
    "another store of this campaign": (plan_another, "it is of another store"),
    "such a store of an older version": (make_older_store, "it has 1 result that this lacks"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_not_an_earlier_copy_is_left_as_it_is(world, tmp_path, case):
    make, reason = IN_THE_WAY[case]
    folder = tmp_path / "backup"
    folder.mkdir()
    make(folder)
    before = look_at(folder)
    ended = kdopt(world.folder, "backup", folder, "--store", "kdopt.db")
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "this is not an earlier copy of store kdopt.db" in ended.stderr
    assert reason in ended.stderr and "give another folder" in ended.stderr
    assert look_at(folder) == before


def test_a_copy_that_went_on_is_left_as_it_is(world, tmp_path):
    folder = tmp_path / "backup"
    go_on_with_a_copy(world)(folder)
    before = look_at(folder)
    with pytest.raises(StoreError, match="it has 1 result that this lacks"):
        back_up_store(world.store, world.artifacts, folder)
    assert look_at(folder) == before


def test_an_earlier_copy_is_brought_up_to_date_also_of_a_store_without_a_number(world, tmp_path):
    for numbered in (True, False):
        if not numbered:
            with closing(sqlite3.connect(world.folder / "kdopt.db")) as file, file:
                file.execute("PRAGMA user_version = 0")
            world.store.close()
            world = world._replace(store=open_store(str(world.folder / "kdopt.db")))
        folder = tmp_path / f"backup{numbered}"
        back_up_store(world.store, world.artifacts, folder)
        finish_one(world.folder)
        back_up_store(world.store, world.artifacts, folder)
        copy = open_store(str(folder / "kdopt.db"))
        found = World(folder, copy, world.artifacts).states
        copy.close()
        assert found == world.states


def test_the_store_under_another_name_is_no_place_for_its_backup(world, tmp_path):
    folder = tmp_path / "backup"
    folder.mkdir()
    (folder / "kdopt.db").hardlink_to(world.folder / "kdopt.db")
    with pytest.raises(StoreError, match="this is the store itself"):
        back_up_store(world.store, world.artifacts, folder)
    shutil.rmtree(folder)
    folder.symlink_to(world.folder)
    with pytest.raises(StoreError, match="this is the store itself"):
        back_up_store(world.store, world.artifacts, folder)
