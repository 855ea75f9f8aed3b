"""A database that another program holds: said soon, with who holds it, and given up in time."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def hold_sqlite(url: str) -> Iterator[str]:
    """Another process that writes, and does not end; what it is called in messages."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, url.removeprefix("sqlite:///")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield f"process {process.pid} (" if Path("/proc/locks").exists() else ""
        process.kill()


@contextlib.contextmanager
def hold_postgres(url: str) -> Iterator[str]:
    """A session that has locked the tables, and sleeps."""
    plain = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, application_name="backup script") as connection:
        connection.execute("LOCK TABLE trials, studies IN ACCESS EXCLUSIVE MODE")
        pid = connection.info.backend_pid
        yield f"session {pid} (backup script, postgres, idle in transaction, for "


def hold(url: str) -> contextlib.AbstractContextManager[str]:
    return hold_sqlite(url) if url.startswith("sqlite") else hold_postgres(url)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits; and patience that ends with the second line about a lock.

    Patience of a second or so would end before the first one on a busy machine.
    """
    monkeypatch.setattr("kdopt.store.engines.LOCK_WAIT_S", 0.2)
    monkeypatch.setattr("kdopt.store.locks.OLD_S", 0.1)
    monkeypatch.setattr("kdopt.store.faults.LOCK_PATIENCE_S", 600.0)
    heard: list[logging.LogRecord] = []

    class LosePatience(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)
            if len(heard) == 2:
                monkeypatch.setattr("kdopt.store.faults.LOCK_PATIENCE_S", 0.0)

    handler = LosePatience()
    logging.getLogger("kdopt.store.faults").addHandler(handler)
    yield
    logging.getLogger("kdopt.store.faults").removeHandler(handler)


def test_who_waits_for_a_lock_says_so_and_gives_up(
    store_url: str, hurry: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(store_url)
    store.patience_s = 0.0
    write_plan(store, make_record(make_campaign()), plan_studies)
    study = queries.read_study_counts(store, "tiny")[0].study_id
    with hold(store_url) as holder, pytest.raises(StoreError) as found:
        leases.claim_trial(store, study, "w", 60)
    said = str(found.value)
    assert holder in said and "end it" in said and "run the same command again" in said
    assert f"waiting for a lock that is held by {holder}" in caplog.text
    assert leases.claim_trial(store, study, "w", 60) is not None
    store.close()


def test_a_lock_that_passes_is_waited_for(
    store_url: str, hurry: None, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(store_url)
    write_plan(store, make_record(make_campaign()), plan_studies)
    study = queries.read_study_counts(store, "tiny")[0].study_id
    held = contextlib.ExitStack()
    held.enter_context(hold(store_url))

    class FreeIt(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.close()

    handler = FreeIt()
    logging.getLogger("kdopt.store.faults").addHandler(handler)
    try:
        assert leases.claim_trial(store, study, "w", 60) is not None
    finally:
        logging.getLogger("kdopt.store.faults").removeHandler(handler)
        store.close()
    assert "waiting for a lock" in caplog.text


def test_a_store_that_is_locked_when_it_is_opened(
    store_url: str, hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdopt.store.file.LOCK_WAIT_S", 0.2)
    if store_url.startswith("sqlite"):
        path = store_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError, match="locked"):
                open_store(store_url)
        return
    with psycopg.connect(store_url.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE kdopt_meta, alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match=r"lock timeout.*, held by session"):
            open_store(store_url)


def test_a_limit_that_the_user_sets_stays(postgres_url: str) -> None:
    for given, kept in (("", "3s"), ("?options=-c%20lock_timeout%3D7s", "7s")):
        store = open_store(postgres_url + given)
        assert store.select_rows("SHOW lock_timeout") == [(kept,)]
        store.close()
