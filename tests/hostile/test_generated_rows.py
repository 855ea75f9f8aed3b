"""Rows of a store that Hypothesis changes: every command reads, names or refuses them."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdopt.campaign.stages import plan_studies
from kdopt.errors import KdoptError
from kdopt.launch.local import LocalWorkers
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign, make_record
from tests.hostile.commands import kdopt
from tests.hostile.generated import FEW, FLOATS, JUNK, ROW_INTEGERS, TEXTS, spoil_json
from tests.hostile.world import copy_world

READERS = [
    "status --campaign tiny --store BROKEN",
    "status --campaign tiny --json --store BROKEN",
    "list --store BROKEN",
    "best --campaign tiny --store BROKEN",
    "doctor --campaign tiny --store BROKEN",
    "doctor --json --deep --store BROKEN",
    "recommend --pair tiny/uniform/t00-s01 --store BROKEN",
    "report tiny --out OUT --store BROKEN",
    "merge BROKEN --campaign tiny --store OTHER",
]
WRITERS = {
    "delete tiny --yes --store BROKEN": True,
    "rename tiny new --store BROKEN": True,
    "retry-failed --campaign tiny --store BROKEN": True,
    "features --campaign tiny --store BROKEN": True,
    "verify tiny --trials 1 --store BROKEN": True,
    "distill tiny/uniform/t00-s01 --output STUDENT --force --store BROKEN": True,
    "backup THERE --store BROKEN": True,
    "init --store BROKEN": True,
    "launch local --campaign tiny --workers 1 --device cpu --store BROKEN": True,
    "worker --campaign tiny --device cpu --quiet --store BROKEN": False,
}
"""Commands that write, and whether one that refuses has changed nothing: a worker may have finished
other trials by then."""

VALUES = st.none() | ROW_INTEGERS | FLOATS | TEXTS | st.sampled_from(JUNK) | st.binary(max_size=9)


class Rows(NamedTuple):
    """A finished campaign, and a folder to break copies of it in."""

    source: Path
    folder: Path

    def copy(self) -> Path:
        """The store, fresh, and never under a name that an earlier command may still close."""
        for path in self.folder.glob("*.db*"):
            path.unlink(missing_ok=True)
        return Path(shutil.copy(self.source / "kdopt.db", self.folder / f"{uuid.uuid4().hex}.db"))


@pytest.fixture(scope="module")
def rows(pretrained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    done = copy_world(pretrained_folder, tmp_path_factory.mktemp("generated") / "world")
    done.run()
    campaign = dataclasses.replace(make_campaign(), name="other")
    write_plan(done.store, make_record(campaign), plan_studies)
    done.store.close()
    with closing(sqlite3.connect(done.folder / "kdopt.db")) as file:
        file.execute("PRAGMA journal_mode = delete")
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(done.folder / "artifacts", folder / "artifacts")
    return Rows(done.folder, folder)


def list_cells(path: Path) -> list[tuple[str, str, int]]:
    """Every value of a store: its table, column and row."""
    found = []
    with closing(sqlite3.connect(path)) as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            n_rows = [row[0] for row in file.execute(f"SELECT rowid FROM {table}")]
            found += [(table, column, row) for column in columns for row in n_rows]
    return found


def change(path: Path, data: st.DataObject) -> str:
    """Change some values of a store; what was changed, for the message of a failure."""
    cells = list_cells(path)
    # By table, as one of them has most of the rows.
    table = data.draw(st.sampled_from(sorted({cell[0] for cell in cells})))
    columns = sorted({cell[1] for cell in cells if cell[0] == table})
    column = data.draw(st.sampled_from(columns))
    row = data.draw(st.sampled_from([cell[2] for cell in cells if cell[:2] == (table, column)]))
    with closing(sqlite3.connect(path)) as file, file:
        (old,) = file.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", [row]).fetchone()
        value = data.draw(VALUES)
        if isinstance(old, str) and old.startswith("{") and data.draw(st.integers(0, 3)):
            value = data.draw(spoil_json(old))
        try:
            file.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [value, row])
        except (sqlite3.IntegrityError, OverflowError):
            assume(False)
    return f"{table}.{column} of row {row} = {value!r}"[:300]


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as file:
        return list(file.iterdump())


@FEW
@given(data=st.data())
def test_commands_that_read_say_what_is_wrong_and_change_nothing(
    rows: Rows, data: st.DataObject
) -> None:
    path = rows.copy()
    changed = change(path, data)
    before = dump(path)
    command = data.draw(st.sampled_from(READERS))
    places = {
        "BROKEN": path,
        "OUT": rows.folder / "report",
        "OTHER": rows.source / "kdopt.db",
    }
    ended = kdopt(*(places.get(part, part) for part in command.split()))
    about = (changed, command, ended)
    assert ended.code in (0, 1, 2), about
    assert "Traceback" not in ended.err and len(ended.err) < 6000, about
    assert ended.code != 2 or ended.err.count("kdopt: error: ") == 1, about
    assert all(c.isprintable() or c in "\n\t" for c in ended.out + ended.err), about
    assert dump(path) == before, about


def list_rows_of_others(path: Path) -> list[tuple[object, ...]]:
    """The studies of a campaign that commands do not name, and all about their trials."""
    where = "study_id IN (SELECT study_id FROM studies WHERE study_name LIKE 'other/%')"
    trials = f"trial_id IN (SELECT trial_id FROM trials WHERE {where})"
    found: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(path)) as file:
        for table, rule in (
            *((table, where) for table in ("studies", "study_user_attributes", "trials")),
            *((table, trials) for table in ("trial_values", "trial_user_attributes")),
        ):
            found += file.execute(f"SELECT * FROM {table} WHERE {rule} ORDER BY 1, 2").fetchall()
    return found


@FEW
@given(data=st.data())
def test_commands_that_write_do_it_or_refuse_and_leave_others_alone(
    rows: Rows, data: st.DataObject
) -> None:
    path = rows.copy()
    if data.draw(st.booleans()):
        leave_one_undone(path)
    changed = change(path, data)
    before, others = dump(path), list_rows_of_others(path)
    command = data.draw(st.sampled_from(sorted(WRITERS)))
    there = rows.folder / uuid.uuid4().hex
    places = {"BROKEN": path, "THERE": there, "STUDENT": rows.folder / "s.safetensors"}
    with pytest.MonkeyPatch.context() as patch:
        # Workers of their own take seconds each; what they do is that of the command 'worker'.
        patch.setattr(LocalWorkers, "run", lambda _self, on_tick, *_: on_tick())
        ended = kdopt(*(places.get(part, part) for part in command.split()))
    shutil.rmtree(there, ignore_errors=True)
    about = (changed, command, ended)
    assert ended.code in (0, 1, 2), about
    assert "Traceback" not in ended.err and len(ended.err) < 6000, about
    assert ended.code != 2 or ended.err.count("kdopt: error: ") == 1, about
    assert all(c.isprintable() or c in "\n\t" for c in ended.out + ended.err), about
    assert ended.code != 2 or not WRITERS[command] or dump(path) == before, about
    # Stale leases are swept from all campaigns, and what others took is given back.
    assert list_rows_of_others(path) == others, about
    with closing(sqlite3.connect(path)) as file:
        assert not list_errors(file) or "kd:error" in changed, about


def leave_one_undone(path: Path) -> None:
    """Let one trial wait, as if it had not run yet."""
    with closing(sqlite3.connect(path)) as file, file:
        sql = (
            "(SELECT max(trial_id) FROM trials JOIN studies USING (study_id) "
            "WHERE study_name LIKE 'tiny/%')"
        )
        for table in ("trial_values", "trial_user_attributes"):
            file.execute(f"DELETE FROM {table} WHERE trial_id = {sql}")
        file.execute(
            "UPDATE trials SET state = 'WAITING', datetime_start = NULL, datetime_complete = NULL "
            f"WHERE trial_id = {sql}"
        )


def list_errors(file: sqlite3.Connection) -> list[tuple[object, ...]]:
    sql = "SELECT value_json FROM trial_user_attributes WHERE key = 'kd:error'"
    return file.execute(sql).fetchall()


@FEW
@given(data=st.data())
def test_a_worker_computes_or_stops_and_fails_no_trial(rows: Rows, data: st.DataObject) -> None:
    path = rows.copy()
    leave_one_undone(path)
    changed = change(path, data)
    with suppress(KdoptError):
        store = open_store(str(path))
        try:
            run_trials(
                store, Artifacts(rows.folder / "artifacts"), "tiny", make_engine("fp32", "cpu")
            )
        finally:
            store.close()
    with closing(sqlite3.connect(path)) as file:
        errors = list_errors(file)
    assert not errors or "kd:error" in changed, (changed, errors)
