"""Open a store: one engine with the settings that make claims safe, and a version check.

A store is Optuna's tables plus two of ours: ``kdopt_meta`` (our schema version) and
``kdopt_lease`` (who runs which trial, and until when). Optuna's tables stay Optuna's: studies,
trials, parameters, values and attributes are written the way Optuna 5 writes them, which is why
the version of its schema is checked before anything else.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine

from kdopt.errors import StoreError
from kdopt.store.location import check_sqlite_file, label_of, parse_location

OPTUNA_SCHEMA = "v3.2.0.a"
"""Head of Optuna's alembic history that our SQL was written for (Optuna 3.2 to 5)."""

KDOPT_SCHEMA = "1"
"""Version of our own two tables."""

RETRY_S = 150.0
"""How long a call goes on through a database that is locked or restarting."""

POSTGRES_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A link that went dead without a word is given up after about a minute (libpq's settings, seconds
and milliseconds), and the call is made again; by itself TCP would wait for a quarter of an hour."""

logger = logging.getLogger(__name__)
T = TypeVar("T")

METADATA = sa.MetaData()
META = sa.Table(
    "kdopt_meta",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
# No foreign key to trials: the dashboard and `delete_study` must be free to remove them.
LEASE = sa.Table(
    "kdopt_lease",
    METADATA,
    sa.Column("trial_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker", sa.String(200), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    # Seconds since 1970 by the database's clock, so that workers' clocks never matter.
    sa.Column("expires", sa.Float, nullable=False),
)


class Store:
    """An open store. Safe to share between the threads of a process; not across a fork.

    Attributes:
        engine: SQLAlchemy engine; use :meth:`read` and :meth:`write` rather than the engine.
        url: SQLAlchemy URL with its password; print :attr:`label` instead.
        patience_s: How long :meth:`retry` goes on through a database that is locked or restarting.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.patience_s = RETRY_S

    @property
    def label(self) -> str:
        """The URL as it may be shown: passwords are masked."""
        return label_of(self.url)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @property
    def now(self) -> str:
        """SQL for seconds since 1970 by the database's clock."""
        if self.dialect == "sqlite":
            return "((julianday('now') - 2440587.5) * 86400.0)"
        return "extract(epoch from clock_timestamp())"

    @property
    def utc(self) -> str:
        """SQL for the present time as Optuna stores it: naive, in UTC."""
        if self.dialect == "sqlite":
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

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for SELECTs: one consistent snapshot."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the right to write from its first statement.

        On SQLite it starts with BEGIN IMMEDIATE: a transaction that reads first and writes later
        would fail at once when another writer came between, without waiting.
        """
        connection = self.engine.connect().execution_options(kdopt_write=True)
        with connection, connection.begin():
            yield connection

    def retry(self, call: Callable[[], T]) -> T:
        """Run a database call, again and again while the database is busy or restarting.

        Raises:
            StoreError: The fault will not pass by waiting (disk full, no permission, damaged
                file), or did not pass within :attr:`patience_s`.
        """
        deadline = time.monotonic() + self.patience_s
        pause = 0.05
        while True:
            try:
                return call()
            except sa.exc.DBAPIError as error:
                if not _passes(error) or time.monotonic() >= deadline:
                    raise StoreError(_explain(self.url, error)) from error
                logger.warning("store %s: %s; trying again", self.label, error.orig)
            # Jitter keeps many workers from coming back in the same instant.
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(pause * 2, 5.0)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_store(location: str, create: bool = False, patience_s: float = 0.0) -> Store:
    """Open the store at a path or an SQLAlchemy URL.

    Args:
        location: ``storage/kdopt.db``, ``sqlite:///...`` or ``postgresql+psycopg://...``.
        create: Make the tables when there are none. One process at a time should do this
            (``plan`` and ``run`` do); workers open what is there.
        patience_s: How long to go on through a database that restarts or is not reached. People
            want to know at once; a worker waits (:data:`RETRY_S`).

    Raises:
        StoreError: It is missing, is not a store, is of another version, or cannot be written.
    """
    url = parse_location(location)
    if url.get_backend_name() == "sqlite":
        check_sqlite_file(url, create)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _open(url, create)
        except sa.exc.DBAPIError as error:
            if not _passes(error) or time.monotonic() > deadline:
                raise StoreError(_explain(url, error)) from error
            logger.warning("store %s: %s; trying again", label_of(url), error.orig)
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311


def _open(url: URL, create: bool) -> Store:
    try:
        store = Store(url, _engine(url))
        if create:
            _create(store)
        _check_versions(store)
    except (ModuleNotFoundError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(
            f"store {label_of(url)}: no driver for '{url.drivername}' is installed; "
            "for Postgres: pip install 'kdopt[postgres]' and postgresql+psycopg://..."
        ) from error
    return store


def _create(store: Store) -> None:
    """Make what a store lacks; several processes may do so at once.

    The schema row is written last, in the transaction that makes our tables, so a creation that
    was cut off is completed by the next.
    """
    if _is_whole(store):
        return
    if store.dialect == "sqlite":
        with _exclusive(Path(f"{store.url.database}.lock")):
            _create_locked(store)
        return
    with store.engine.begin() as connection:
        # Any number will do, as long as nobody else locks it. Freed with the transaction; a
        # session's lock would live on in the connection pool.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7205759403)"))
        _create_locked(store)


def _create_locked(store: Store) -> None:
    tables = set(sa.inspect(store.engine).get_table_names())
    if tables and not tables & {"alembic_version", "studies", "kdopt_meta"}:
        raise StoreError(
            f"store {store.label}: this database holds other tables ({sorted(tables)[0]}, ...); "
            "give another --store"
        )
    if _is_whole(store):
        return  # another process made it while this one waited
    from optuna.storages import RDBStorage

    storage = RDBStorage(store.url.render_as_string(hide_password=False))
    storage.engine.dispose()
    with store.write() as connection:
        METADATA.create_all(connection)
        connection.execute(
            sa.text("CREATE INDEX IF NOT EXISTS kd_state ON trials (state, study_id)")
        )
        connection.execute(sa.insert(META).values(key="schema", value=KDOPT_SCHEMA))


def _is_whole(store: Store) -> bool:
    if not sa.inspect(store.engine).has_table("kdopt_meta"):
        return False
    with store.read() as connection:
        return connection.execute(sa.text("SELECT 1 FROM kdopt_meta")).first() is not None


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; it is freed by the system if the process dies, and left in place."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: creation is not guarded there
        yield
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise StoreError(
            f"store lock {path}: cannot be written: {error.strerror}; free space, change the "
            "permissions or give another --store"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return sa.create_engine(
            url, pool_pre_ping=True, pool_size=2, connect_args=dict(POSTGRES_PATIENCE)
        )
    engine = sa.create_engine(url, connect_args={"timeout": 60})
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _sqlite_begin
    cursor = connection.cursor()
    # WAL: readers never wait for the writer. NORMAL: about six times the trials per second of
    # FULL; a power cut can lose the last commits but never damages the file.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("kdopt_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _check_versions(store: Store) -> None:
    with store.read() as connection:
        optuna_schema = _scalar(connection, "SELECT version_num FROM alembic_version")
        if optuna_schema is None:
            raise StoreError(
                f"store {store.label}: this database is not a kdopt store; "
                "run 'kdopt plan SPEC' with an empty or new --store"
            )
        if optuna_schema != OPTUNA_SCHEMA:
            raise StoreError(
                f"store {store.label}: Optuna schema {optuna_schema}, this kdopt needs "
                f"{OPTUNA_SCHEMA}; upgrade the store with 'optuna storage upgrade' "
                "or use the kdopt version that made it"
            )
        ours = _scalar(connection, "SELECT value FROM kdopt_meta WHERE key = 'schema'")
        if ours is None:
            raise StoreError(
                f"store {store.label}: this is an Optuna database without kdopt's tables; "
                "run 'kdopt plan SPEC' on it once, or give another --store"
            )
        if ours != KDOPT_SCHEMA:
            raise StoreError(
                f"store {store.label}: kdopt schema {ours}, this kdopt reads {KDOPT_SCHEMA}; "
                "use the kdopt version that made it, or a new --store"
            )


def _scalar(connection: Connection, sql: str) -> str | None:
    table = sql.split(" FROM ")[1].split(maxsplit=1)[0]
    if not sa.inspect(connection).has_table(table):
        return None
    value = connection.execute(sa.text(sql)).scalar()
    return None if value is None else str(value)


_FINAL = (
    "disk is full",
    "readonly database",
    "read-only",
    "unable to open database",
    "not a database",
    "malformed",
    "permission denied",
    "authentication failed",
    "no such table",
    "does not exist",
    "disk i/o error",
)


def _passes(error: sa.exc.DBAPIError) -> bool:
    """Whether waiting can help: locks and lost connections do pass, the rest does not."""
    if not isinstance(
        error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError
    ):
        return bool(error.connection_invalidated)
    return not any(text in str(error.orig).lower() for text in _FINAL)


def _explain(url: URL, error: sa.exc.DBAPIError) -> str:
    reason = " ".join(str(error.orig).split())
    fix = "check that the database runs and that this user may write it"
    if any(full in reason.lower() for full in ("disk is full", "disk i/o error", "no space left")):
        fix = "free space and run the same command again; nothing recorded is lost"
    elif "readonly" in reason or "unable to open" in reason:
        fix = "change the permissions or give another --store"
    elif "not a database" in reason or "malformed" in reason:
        fix = "this file is not a (whole) SQLite database; give another --store or restore a backup"
    return f"store {label_of(url)}: {reason}; {fix}"
