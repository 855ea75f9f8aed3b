"""Faults of a database: each ends with what helps against it, and those that stay end at once."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from kdopt.errors import StoreError
from kdopt.store.faults import retry_call

URL = make_url("postgresql+psycopg://me:s3cret@h:5432/db")
STAY = {
    'FATAL: password authentication failed for user "me"': "check the user and the password",
    'FATAL: role "me" does not exist': "check the user and the password",
    "fe_sendauth: no password supplied": "check the user and the password",
    'FATAL: no pg_hba.conf entry for host "1.2.3.4"': "check the user and the password",
    'FATAL: database "db" does not exist': "make the database",
    'relation "trials" does not exist': "tables are not those of this kdopt",
    "no such table: trials": "tables are not those of this kdopt",
    "no such column: t.state": "tables are not those of this kdopt",
    "permission denied for table trials": "GRANT",
    'invalid connection option "pwd"': "check what follows the '?'",
    "database or disk is full": "free space",
    "attempt to write a readonly database": "change the permissions",
    "unable to open database file": "change the permissions",
    "database disk image is malformed": "restore a backup",
}
PASS = {
    "database is locked": "another program holds the database",
    "connection refused": "check that the database runs, its host and port",
    "connection timeout expired": "check that the database runs, its host and port",
    "could not translate host name: Name or service not known": "check the host in the URL",
    "FATAL: sorry, too many clients already": "start fewer workers",
    "the database system is starting up": "check that the database runs",
}


@pytest.fixture(autouse=True)
def no_patience_with_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdopt.store.faults.LOCK_PATIENCE_S", 0.0)


def fail_with(reason: str, patience_s: float) -> tuple[str, int]:
    """The message in the end, and how often the call was made."""
    calls = []

    def fail() -> None:
        calls.append(time.monotonic())
        raise sa.exc.OperationalError("SELECT 1", {}, Exception(reason))

    with pytest.raises(StoreError) as caught:
        retry_call(URL, patience_s, fail)
    return str(caught.value), len(calls)


@pytest.mark.parametrize(("reason", "fix"), STAY.items())
def test_what_stays_is_said_at_once(reason: str, fix: str) -> None:
    said, calls = fail_with(reason, 60.0)
    assert fix in said and calls == 1 and "s3cret" not in said


@pytest.mark.parametrize(("reason", "fix"), PASS.items())
def test_what_may_pass_is_tried_again_and_logged(
    reason: str, fix: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, calls = fail_with(reason, 0.5)
    assert fix in said and calls > 1
    assert caplog.text.count("trying again") == calls - 1


def test_a_driver_that_says_a_lot_is_cut_short() -> None:
    said, _ = fail_with("x" * 100_000, 0.0)
    assert len(said) < 1500 and "check that the database runs" in said


def test_the_fixes_differ() -> None:
    assert len({*STAY.values(), *PASS.values()}) > 10
