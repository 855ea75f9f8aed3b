from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from kdopt.errors import StoreError
from kdopt.store.database import open_store
from kdopt.store.location import parse_location


def test_a_new_store_opens_again_and_survives_a_second_creation(store_path):
    open_store(str(store_path), create=True).close()
    open_store(str(store_path), create=True).close()
    store = open_store(f"sqlite:///{store_path}")
    with store.read() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 1
        found = connection.execute(sa.text("SELECT value FROM kdopt_meta")).scalars().all()
    assert found == ["1"]


def test_a_missing_store_is_not_made_by_reading(tmp_path):
    with pytest.raises(StoreError, match="there is none; run 'kdopt plan SPEC'"):
        open_store(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path, create):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database at all")
    with pytest.raises(StoreError, match="not a kdopt store"):
        open_store(str(path), create=create)
    assert path.read_text().startswith("these are my notes")


@pytest.mark.parametrize("create", [True, False])
def test_somebody_elses_database_is_refused_and_left_alone(tmp_path, create):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"other tables|not a kdopt store"):
        open_store(str(path), create=create)
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("customers",)]


def test_a_damaged_store_is_a_clear_error(store_path):
    open_store(str(store_path), create=True).close()
    content = bytearray(store_path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    store_path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=r"not a \(whole\) SQLite database"):
        open_store(str(store_path))


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="this is a folder"):
        open_store(str(tmp_path))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE kdopt_meta SET value = '99' WHERE key = 'schema'", "kdopt schema 99"),
        ("UPDATE alembic_version SET version_num = 'v9.9.9.a'", "Optuna schema v9.9.9.a"),
    ],
)
def test_a_store_of_another_version_is_refused(store_path, sql, message):
    open_store(str(store_path), create=True).close()
    with sqlite3.connect(store_path) as connection:
        connection.execute(sql)
    connection.close()
    for create in (True, False):
        with pytest.raises(StoreError, match=message):
            open_store(str(store_path), create=create)


def test_a_plain_optuna_database_is_taken_over_by_planning_only(store_path):
    import optuna

    store_path.parent.mkdir()
    url = f"sqlite:///{store_path}"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(study_name="mine", storage=storage)
    storage.engine.dispose()
    with pytest.raises(StoreError, match="without kdopt's tables"):
        open_store(url)
    open_store(url, create=True).close()
    assert optuna.get_all_study_names(url) == ["mine"]


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@nowhere.invalid:1/db", "mysql://me:s3cret@host/db"]
)
def test_passwords_never_show(url):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "postgresql://nowhere.invalid:1/db?user=me&password=s3cret",
        "postgresql:/me:s3cret@host/db",
        "postgres:me:s3cret@host/db",
        "postgresql+nodriver://me:s3cret@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "",
        "~nobody-of-that-name/x.db",
    ],
)
def test_odd_locations_are_refused_without_showing_secrets(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as caught:
        open_store(location, create=True)
    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_reached_is_said_at_once_or_waited_for(caplog):
    nobody = "postgresql+psycopg://me:s3cret@127.0.0.1:1/db"
    for patience_s, tries in ((0.0, 1), (3.0, 2)):
        caplog.clear()
        with pytest.raises(StoreError, match="check that the database runs"):
            open_store(nobody, patience_s=patience_s)
        assert caplog.text.count("trying again") >= tries - 1
        assert "s3cret" not in caplog.text


CREATE = (
    "import sys; from kdopt.store.database import open_store; open_store(sys.argv[1], create=True)"
)


def test_a_store_may_be_made_by_several_processes_at_once(store_path):
    makers = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(store_path)], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [m.communicate(timeout=600)[1].decode() for m in makers]
    assert [m.returncode for m in makers] == [0] * 6, said
    open_store(str(store_path)).close()


def test_a_creation_that_was_cut_off_is_completed(store_path):
    open_store(str(store_path), create=True).close()
    with sqlite3.connect(store_path) as connection:
        connection.execute("DELETE FROM kdopt_meta")
    connection.close()
    with pytest.raises(StoreError, match="without kdopt's tables"):
        open_store(str(store_path))
    open_store(str(store_path), create=True).close()
    open_store(str(store_path)).close()


def test_locations_are_paths_or_urls():
    assert parse_location("a/b.db").database == "a/b.db"
    assert parse_location("sqlite:///c.db").database == "c.db"
    with pytest.raises(StoreError, match="URL cannot be read"):
        parse_location("postgresql://me:pa:ss@[::1/db")


@pytest.mark.parametrize(("patience_s", "least", "most"), [(0.0, 1, 1), (0.6, 3, 20)])
def test_a_call_is_made_again_for_as_long_as_the_stores_patience(
    store_path, patience_s, least, most
):
    store = open_store(str(store_path), create=True)
    store.patience_s = patience_s
    calls = []

    def locked():
        calls.append(1)
        raise sa.exc.OperationalError("x", {}, Exception("connection refused"))

    with pytest.raises(StoreError, match="connection refused"):
        store.retry(locked)
    assert least <= len(calls) <= most


def test_a_server_whose_disk_is_full_is_waited_for_and_then_named(store_path):
    store = open_store(str(store_path), create=True)
    store.patience_s = 0.3
    calls = []

    def full():
        calls.append(1)
        reason = 'could not extend file "base/5/2619": No space left on device'
        raise sa.exc.OperationalError("x", {}, Exception(reason))

    with pytest.raises(StoreError, match=r"No space left on device; free space and run"):
        store.retry(full)
    assert len(calls) > 1


def test_questions_about_one_moment_see_no_later_write(store):
    count = "SELECT count(*) FROM kdopt_meta"

    def ask_twice() -> list[object]:
        before = store.select_rows(count)
        with store.write() as connection:
            connection.execute(sa.text("INSERT INTO kdopt_meta (key, value) VALUES ('a', 'b')"))
        return [before, store.select_rows(count)]

    first, second = store.run_at_one_moment(ask_twice)
    assert first == second
    assert store.select_rows(count) != first
