"""Who holds a database that a command waits for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from kdopt.shown import clean_line, shorten
from kdopt.typed import duration

LOCK_WAIT_S = 3.0
"""How long one attempt waits for a lock before a line says so, and for whom."""

LOCK_PATIENCE_S = 60.0
"""How long a command goes on through locks; a worker as through every other fault."""

_LOCKED = ("database is locked", "table is locked", "lock timeout")
"""What drivers say when a lock was not to be had."""

OLD_S = 2.0
"""Seconds in a transaction after which a session is one that others may wait for: claims, results
and looks take less."""

_OLDEST = """
    SELECT a.pid, a.application_name, a.usename, a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
        AND a.xact_start < clock_timestamp() - make_interval(secs => :old)
        AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.granted
            AND l.locktype IN ('relation', 'advisory') AND l.mode <> 'AccessShareLock')
    ORDER BY a.xact_start LIMIT 3
"""
"""The sessions that have been the longest in a transaction that locks."""


def is_lock(reason: str) -> bool:
    """Whether a driver says that another program holds what was asked for."""
    return any(words in reason.lower() for words in _LOCKED)


def describe_holders(url: URL) -> str:
    """Who holds the database, as far as can be told here; empty where it cannot."""
    with suppress(Exception):  # it only explains a fault that is told anyway
        if url.get_backend_name() == "sqlite":
            return _describe_processes(Path(str(url.database)))
        return _describe_sessions(url)
    return ""


def _describe_sessions(url: URL) -> str:
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=sa.pool.NullPool,
        connect_args={"connect_timeout": 3},
    )
    with engine.connect() as connection:
        rows = connection.execute(sa.text(_OLDEST), {"old": OLD_S}).all()
    found = []
    for pid, program, user, state, seconds in rows:
        about = [clean_line(str(text)) for text in (program, user, state) if text]
        about.append(f"for {duration(float(seconds))}")
        found.append(f"session {pid} ({', '.join(about)})")
    return shorten(", ".join(found), 400)


def _describe_processes(path: Path) -> str:
    """Linux lists who has locked which file."""
    wanted = set()
    for name in (path, path.with_name(f"{path.name}-shm")):
        with suppress(OSError):
            at = name.stat()
            wanted.add(f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}")
    found = {}
    for line in Path("/proc/locks").read_text("ascii").splitlines():
        parts = line.split()
        if "->" in parts or len(parts) < 6 or parts[3] != "WRITE" or parts[5] not in wanted:
            continue
        pid = int(parts[4])
        if pid > 0 and pid != os.getpid():
            with suppress(OSError):
                found[pid] = clean_line(Path(f"/proc/{pid}/comm").read_text("utf-8", "replace"))
    return ", ".join(f"process {pid} ({name})" for pid, name in sorted(found.items())[:3])
