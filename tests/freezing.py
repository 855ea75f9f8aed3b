"""Stop worker processes as if their machine were suspended, and let them go on."""

from __future__ import annotations

import os
import signal
import time

import sqlalchemy as sa

from kdopt.store.database import Store

_LOCK_WAIT_S = 5.0


def freeze(pid: int, store: Store, timeout_s: float = 600.0) -> None:
    """Stop a child process (SIGSTOP) at a moment when it holds no lock of the database.

    A machine that is suspended in the midst of a transaction stops all who write to an SQLite
    file, its test included. A worker's heartbeat may begin one at any time, so that no moment can
    be chosen beforehand: it is stopped, and goes on at once where it turns out to be a bad one.
    """
    end = time.monotonic() + timeout_s
    while True:
        os.kill(pid, signal.SIGSTOP)
        # A signal takes its time on a busy machine: only then do all of its threads stand still.
        ended = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert ended is not None and ended.si_code == os.CLD_STOPPED, "it ended before"
        if not _is_locked(store):
            return
        os.kill(pid, signal.SIGCONT)
        assert time.monotonic() < end, "the database is always locked"
        time.sleep(0.05)


def thaw(pid: int) -> None:
    """Let a frozen process go on."""
    os.kill(pid, signal.SIGCONT)


def _is_locked(store: Store) -> bool:
    """Whether somebody is in a transaction that does not end."""
    if store.dialect == "sqlite":
        try:
            with store.write():
                return False
        except sa.exc.OperationalError as error:
            assert "locked" in str(error.orig)
            return True
    clock = store.select_rows("SELECT clock_timestamp()")[0][0]
    older = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start < :clock"
    )
    end = time.monotonic() + _LOCK_WAIT_S
    while time.monotonic() < end:
        if not store.select_rows(older, {"clock": clock})[0][0]:
            return False
        time.sleep(0.02)
    return True
