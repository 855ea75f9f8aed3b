"""Rows of a store that Hypothesis changes: every command reads, names or refuses them."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdopt.errors import KdoptError
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.hostile.commands import kdopt
from tests.hostile.generated import FEW, FLOATS, JUNK, ROW_INTEGERS, TEXTS, spoil_json
from tests.hostile.world import copy_world

READERS = [
    "status --store BROKEN",
    "status --json --store BROKEN",
    "list --store BROKEN",
    "best --store BROKEN",
    "doctor --store BROKEN",
    "doctor --json --deep --store BROKEN",
    "recommend --pair tiny/uniform/t00-s01 --store BROKEN",
    "report --out OUT --store BROKEN",
    "merge BROKEN --store OTHER",
]
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


@FEW
@given(data=st.data())
def test_a_worker_computes_or_stops_and_fails_no_trial(rows: Rows, data: st.DataObject) -> None:
    path = rows.copy()
    with closing(sqlite3.connect(path)) as file, file:
        last = "(SELECT max(trial_id) FROM trials)"
        for table in ("trial_values", "trial_user_attributes"):
            file.execute(f"DELETE FROM {table} WHERE trial_id = {last}")
        file.execute(
            "UPDATE trials SET state = 'WAITING', datetime_start = NULL, datetime_complete = NULL "
            f"WHERE trial_id = {last}"
        )
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
        errors = file.execute(
            "SELECT value_json FROM trial_user_attributes WHERE key = 'kd:error'"
        ).fetchall()
    assert not errors or "kd:error" in changed, (changed, errors)
