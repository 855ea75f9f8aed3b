"""The file of a store: another program's is not touched, and one that is gone is noticed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.store.database import open_store
from tests.conftest import make_outcome
from tests.hostile.world import kdopt


def make_diary(path: Path, mode: str = "delete") -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"PRAGMA journal_mode={mode}")
        file.execute("CREATE TABLE diary (day TEXT)")
        file.execute("INSERT INTO diary VALUES ('Monday')")


def make_optuna_store(path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{path}").enqueue_trial({})


def make_newer_store(path: Path) -> None:
    open_store(str(path), create=True).close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE kdopt_meta SET value = '99'")
        file.commit()
        file.execute("PRAGMA journal_mode=delete")


FOREIGN = {
    "an empty file": (Path.touch, False),
    "another program's": (make_diary, True),
    "another program's in WAL mode": (lambda path: make_diary(path, "wal"), True),
    "Optuna's": (make_optuna_store, False),
    "a newer kdopt's": (make_newer_store, True),
    "text": (lambda path: path.write_text("hello"), True),
    "half a database": (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"x" * 5000), True),
}
COMMANDS = ("status", "report", "worker", "backup copy")


def look_at(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of a folder: its content and when it was changed."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path, case):
    make, refused_for_plans = FOREIGN[case]
    path = tmp_path / "other.db"
    make(path)
    before = look_at(tmp_path)
    for create in (False, *([True] if refused_for_plans else [])):
        with pytest.raises(StoreError, match=r"other\.db"):
            open_store(str(path), create=create)
        assert look_at(tmp_path) == before, create


def test_no_command_touches_another_programs_file(tmp_path):
    make_diary(tmp_path / "other.db")
    before = look_at(tmp_path)
    for command in COMMANDS:
        ended = kdopt(tmp_path, *command.split(), "--store", "other.db")
        assert ended.returncode == 2 and "not a kdopt store" in ended.stderr, command
        assert look_at(tmp_path) == before, command


def remove(path):
    path.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def replace(path):
    other = path.with_name("other.db")
    open_store(str(other), create=True).close()
    other.replace(path)


def replace_by_a_copy(path):
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.replace(path)


def write_over(path):
    other = path.with_name("other.db")
    open_store(str(other), create=True).close()
    with path.open("r+b") as file:  # as cp does
        file.truncate()
        file.write(other.read_bytes())


GONE = {
    "removed": (remove, "was removed"),
    "moved away": (lambda path: path.rename(path.with_name("away.db")), "was removed"),
    "its folder moved away": (
        lambda path: path.parent.rename(path.parent.with_name("gone")),
        "was removed",
    ),
    "replaced by another store": (replace, "was replaced"),
    "replaced by a copy of itself": (replace_by_a_copy, "was replaced"),
    "written over with another store": (write_over, "was written over with another store"),
    "written over with text": (lambda path: path.write_text("Dear diary"), "was written over"),
    "emptied": (lambda path: os.truncate(path, 0), "was written over"),
}


@pytest.mark.parametrize("case", GONE)
def test_neither_claims_nor_results_go_into_a_file_that_is_gone(world, case):
    change, reason = GONE[case]
    study = next(s for s in queries.read_study_counts(world.store, "tiny") if s.waiting)
    claim = leases.claim_trial(world.store, study.study_id, "w", 60)
    change(world.folder / "kdopt.db")
    for call in (
        lambda: leases.claim_trial(world.store, study.study_id, "w", 60),
        lambda: leases.finish_trial(world.store, claim, make_outcome(1.0)),
        lambda: leases.renew_lease(world.store, claim, 60),
        lambda: queries.read_study_counts(world.store, "tiny"),
    ):
        with pytest.raises(StoreError, match=f"its file {reason}.*put it back"):
            call()
    assert reason != "was removed" or not (world.folder / "kdopt.db").exists()


def test_a_file_that_is_put_back_goes_on(world):
    path = world.folder / "kdopt.db"
    path.rename(path.with_name("away.db"))
    with pytest.raises(StoreError, match="was removed"):
        world.run()
    path.with_name("away.db").rename(path)
    world.run()
    assert set(world.states) == {"COMPLETE"}


def test_a_run_whose_store_is_removed_does_not_end_well(tmp_path):
    (tmp_path / "spec.toml").write_text(
        'name = "tiny"\nmodel = "mlp"\nparticipants = 2\npartitions = ["uniform"]\n'
        'stages = ["tune"]\n[data]\nname = "digits"\n'
        "[pretrain]\nepochs = 1\n[distill]\nepochs = 5\n"
    )
    store = tmp_path / "kdopt.db"
    command = [sys.executable, "-m", "kdopt", "run", "spec.toml", "--workers", "1"]
    with subprocess.Popen(
        [*command, "--store", str(store)],
        cwd=tmp_path,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 600
        while not (store.exists() and count_complete(store)):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        remove(store)
        _, said = process.communicate(timeout=600)
    assert process.returncode == 2, said
    assert "its file was removed while it was open" in said and "Traceback" not in said
    assert not store.exists()


def count_complete(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as file:
        try:
            sql = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
            return int(file.execute(sql).fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its tables are being made


@pytest.mark.parametrize("query", ["mode=ro", "uri=true&mode=memory", "vfs=x", "timeout=abc"])
def test_a_file_is_opened_with_kdopts_own_options_alone(tmp_path, query):
    open_store(str(tmp_path / "kdopt.db"), create=True).close()
    before = look_at(tmp_path)
    for create in (False, True):
        with pytest.raises(StoreError, match="takes no options after"):
            open_store(f"sqlite:///{tmp_path}/kdopt.db?{query}", create=create)
    assert look_at(tmp_path) == before


LOCKS = {
    "somebody's file": lambda path: path.write_text("mine"),
    "a link to one": lambda path: (
        path.with_name("mine").write_text("mine"),
        path.symlink_to("mine"),
    ),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link into itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("case", LOCKS)
def test_what_is_called_like_the_lock_is_neither_emptied_nor_waited_for(tmp_path, case):
    lock = tmp_path / "kdopt.db.lock"
    LOCKS[case](lock)
    try:
        open_store(str(tmp_path / "kdopt.db"), create=True).close()
    except StoreError as error:
        assert "kdopt.db.lock" in str(error)
    if (tmp_path / "mine").exists() or case == "somebody's file":
        assert lock.read_text() == "mine"


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_lies_beside_a_store_is_not_waited_for(tmp_path, suffix):
    path = tmp_path / "kdopt.db"
    open_store(str(path), create=True).close()
    os.mkfifo(f"{path}{suffix}")
    with pytest.raises(StoreError, match=f"kdopt.db{suffix} beside it: it is a pipe"):
        open_store(str(path))


JUNK = {"text": b"my notes\n", "noise": bytes(range(1, 251)) * 400}


@pytest.mark.parametrize("junk", JUNK)
def test_a_file_called_like_a_journal_is_not_removed(tmp_path, junk):
    path = tmp_path / "kdopt.db"
    open_store(str(path), create=True).close()
    Path(f"{path}-journal").write_bytes(JUNK[junk])
    before = look_at(tmp_path)
    for create in (False, True):
        with pytest.raises(StoreError, match=r"no journal of SQLite.*move it away"):
            open_store(str(path), create=create)
    assert look_at(tmp_path) == before


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("junk", JUNK)
def test_junk_for_a_log_loses_nothing(tmp_path, suffix, junk):
    path = tmp_path / "kdopt.db"
    open_store(str(path), create=True).close()
    before = path.read_bytes()
    Path(f"{path}{suffix}").write_bytes(JUNK[junk])
    store = open_store(str(path))
    assert store.select_rows("PRAGMA integrity_check") == [("ok",)]
    store.close()
    assert path.read_bytes() == before


KILL_A_WRITER = """
import os, sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("PRAGMA journal_mode = delete")
file.execute("PRAGMA cache_size = 1")  # so that it must write what may be undone yet
file.execute("BEGIN IMMEDIATE")
file.execute("UPDATE trials SET state = 'FAIL'")
file.execute("UPDATE trial_user_attributes SET value_json = value_json || ' '")
os.kill(os.getpid(), 9)
"""


def test_the_change_of_a_killed_writer_is_undone(world):
    before = world.states
    path = world.folder / "kdopt.db"
    world.store.close()
    subprocess.run([sys.executable, "-c", KILL_A_WRITER, str(path)], check=False)
    assert Path(f"{path}-journal").stat().st_size
    world = world._replace(store=open_store(str(path)))
    assert world.states == before
    world.run()
    assert set(world.states) == {"COMPLETE"}


def test_a_second_look_at_a_store_leaves_the_first_its_locks(tmp_path):
    """Or the next process that closes the store would take the journal away from under it."""
    path = tmp_path / "kdopt.db"
    first = open_store(str(path), create=True)
    first.select_rows("SELECT 1")
    open_store(str(path)).close()
    assert kdopt(tmp_path, "list", "--store", "kdopt.db").returncode == 0
    with first.write() as connection:
        connection.exec_driver_sql("INSERT INTO kdopt_meta VALUES ('mine', 'x')")
    first.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT value FROM kdopt_meta WHERE key = 'mine'").fetchone() == ("x",)
