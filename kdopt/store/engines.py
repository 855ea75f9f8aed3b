"""What SQLite and PostgreSQL need done differently: connections, and SQL for times and locks.

The settings of a connection make claims safe, and no call wait without end.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine

from kdopt.store.forks import keep_to_process
from kdopt.store.locks import LOCK_WAIT_S

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class DialectSql:
    """The SQL of one database.

    Attributes:
        engine: SQLAlchemy engine; use the methods of a store rather than the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @property
    def now(self) -> str:
        """SQL for seconds since 1970 by the database's clock."""
        if self.dialect == "sqlite":
            return "((julianday('now') - 2440587.5) * 86400.0)"
        # Not now(), the time at which the transaction began: after a long wait for a lock a lease
        # would be granted that is half over.
        return "extract(epoch from clock_timestamp())"

    @property
    def utc(self) -> str:
        """SQL for the present time as Optuna stores it: naive, in UTC."""
        if self.dialect == "sqlite":
            # Six digits, as Optuna writes: there times are texts, and compared as texts.
            return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
        return "(clock_timestamp() at time zone 'utc')"

    def utc_before(self, seconds: str) -> str:
        """SQL for the time so many seconds ago, as Optuna stores it."""
        if self.dialect == "sqlite":
            return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || {seconds} || ' seconds')"
        return f"({self.utc} - make_interval(secs => {seconds}))"

    def age(self, column: str) -> str:
        """SQL for the seconds since a time that Optuna stored, by the database's clock."""
        if self.dialect == "sqlite":
            return f"((julianday('now') - julianday({column})) * 86400.0)"
        return f"extract(epoch from {self.utc} - {column})"

    @property
    def row_lock(self) -> str:
        """SQL that ends a SELECT whose rows nobody else is to change until the transaction ends.

        SQLite has none and needs none: a transaction that writes is alone.
        """
        return "FOR UPDATE" if self.dialect == "postgresql" else ""

    @property
    def unwaited(self) -> str:
        """SQL of a value; a transaction that selects it commits without a wait for the disk.

        For claims and signs of life only, which a server that crashes may forget. On SQLite
        no commit is waited for.
        """
        # Why a claim may be forgotten. What a crash or a standby's promotion leaves is a beginning
        # of the server's log. Results are waited for, and a wait is for all of the log before: no
        # result outlives the claims, requeues and attempt numbers that it rests on. A claim that is
        # forgotten, at most 0.6 s old, leaves its trial in the queue. The next claim of it
        # has the same attempt number, so that only the worker's name tells the two leases apart: it
        # is unique to a process, a process runs one worker at a time (kdopt.worker.alone), and that
        # one claims nothing more before it is done with what it holds. So every write of the first
        # holder is refused, as of one that was frozen beyond its lease.
        off = "set_config('synchronous_commit', 'off', true)"  # until the transaction ends
        return off if self.dialect == "postgresql" else "1"

    def lock_planning(self, connection: Connection) -> None:
        """Let nobody else add studies or trials until the transaction ends.

        A trial's number is the count of its study's rows: two that count at once would both find
        the same number.
        """
        if self.dialect == "postgresql":
            # This mode holds up planners and whoever else writes studies, but no reader and no
            # claim. It is the first lock of every transaction that takes it
            # (kdopt.store.merge_rows).
            connection.execute(sa.text("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE"))


POSTGRES_DRIVER = "postgresql+psycopg"

POSTGRES_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A link that went dead without a word is given up after about a minute (libpq's settings, seconds
and milliseconds), and the call is made again; by itself TCP would wait for a quarter of an hour."""


def make_sql_engine(url: URL) -> Engine:
    """An engine; nothing connects yet, and its connections stay in their process."""
    if url.get_backend_name() == "postgresql":
        url = _name_driver(url)
        # Two connections are kept, the worker's and its heartbeat's. Each is tried before it is
        # used: a server that was restarted leaves dead ones in the pool.
        engine = sa.create_engine(
            url, pool_pre_ping=True, pool_size=2, connect_args=dict(POSTGRES_PATIENCE)
        )
        event.listen(engine, "connect", _set_up_postgres)
        event.listen(engine, "begin", _begin_postgres)
        return keep_to_process(engine)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return keep_to_process(engine)


def open_optuna_storage(url: URL, as_it_is: bool = False) -> RDBStorage:
    """A store as Optuna has it; tables that are missing are made, unless it is taken as it is."""
    from optuna.storages import RDBStorage

    url = _name_driver(url)
    # What it asks often is not prepared, for poolers: see _set_up_postgres.
    is_ours = url.drivername == POSTGRES_DRIVER
    storage = RDBStorage(
        url.render_as_string(hide_password=False),
        {"connect_args": {"prepare_threshold": None}} if is_ours else None,
        skip_compatibility_check=as_it_is,
        skip_table_creation=as_it_is,
    )
    keep_to_process(storage.engine)
    return storage


def _name_driver(url: URL) -> URL:
    return url.set(drivername=POSTGRES_DRIVER) if url.drivername == "postgresql" else url


_LIMIT_LOCKS = (
    f"SELECT set_config('lock_timeout', '{1000 * LOCK_WAIT_S:.0f}ms', %s) "
    "WHERE current_setting('lock_timeout') = '0'"
)
"""A lock would be waited for without end and without a word. Not among the options of a connection,
which poolers refuse, and only where the user has set none."""


def _set_up_postgres(connection: Any, record: Any) -> None:
    connection.autocommit = True  # or the limit would be undone with the first transaction
    (session,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    # PgBouncer tells its clients another number. Each transaction may have another session there,
    # which knows nothing of what this client prepared, and keeps what it sets for other clients.
    record.info["pooled"] = session != connection.info.backend_pid
    if record.info["pooled"]:
        connection.prepare_threshold = None
    else:
        connection.execute(_LIMIT_LOCKS, [False])
    connection.autocommit = False


def _begin_postgres(connection: Connection) -> None:
    if connection.info["pooled"]:
        connection.exec_driver_sql(_LIMIT_LOCKS, (True,))  # until the transaction ends


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    # SQLite checks no text, and by default one with other bytes fails the whole query. So whoever
    # reads the value can say which one is broken.
    connection.text_factory = lambda text: str(text, "utf-8", "replace")
    cursor = connection.cursor()
    # WAL: readers never wait for the writer. NORMAL: about six times the trials per second of
    # FULL; a power cut can lose the last commits but never damages the file.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("kdopt_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
