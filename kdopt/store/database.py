"""Open a store: one engine with the settings that make claims safe, and a version check.

A store is Optuna's tables plus two of ours: ``kdopt_meta`` (our schema version) and
``kdopt_lease`` (who runs which trial, and until when). Optuna's tables stay Optuna's: studies,
trials, parameters, values and attributes are written the way Optuna 5 writes them, which is why
the version of its schema is checked before anything else.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from kdopt.errors import StoreError
from kdopt.store.engines import DialectSql, make_sql_engine, open_optuna_storage
from kdopt.store.faults import find_read_only_fault, is_read_only, retry_call
from kdopt.store.file import StoreFile, check_sqlite_file, hold_file, look_at_file
from kdopt.store.forks import use_connection
from kdopt.store.location import (
    explain_driver_error,
    label_of,
    parse_location,
)
from kdopt.store.schemas import OPTUNA_TABLES, describe_other_tables, find_schema_fault

OPTUNA_SCHEMA = "v3.2.0.a"
"""Head of Optuna's alembic history that our SQL was written for (Optuna 3.2 to 5)."""

KDOPT_SCHEMA = "1"
"""Version of our own two tables."""

RETRY_S = 150.0
"""How long a call goes on through a database that is locked or restarting."""

T = TypeVar("T")
Rows = Sequence[Any]
"""Rows of a SELECT; what their columns hold is known to the statement only."""

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


class Store(DialectSql):
    """An open store. Safe to share between the threads of a process, and by its forked copies.

    Attributes:
        url: SQLAlchemy URL with its password; print :attr:`label` instead.
        patience_s: How long :meth:`retry` goes on through a database that is locked or restarting.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        super().__init__(engine)
        self.url = url
        self.patience_s = RETRY_S
        self._file: StoreFile | None = None
        self._was_written = False
        self._here = threading.local()

    @property
    def label(self) -> str:
        """The URL as it may be shown: scheme, host, port and database."""
        return label_of(self.url)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for SELECTs, which all see the same moment.

        Raises:
            StoreError: The file is not the one that was opened any more.
        """
        self._check_file()
        with use_connection(), self._connect_for_reading() as connection, connection.begin():
            yield connection

    def _connect_for_reading(self) -> Connection:
        connection = self.engine.connect()
        if self.dialect == "postgresql":
            # By default each statement there sees what was committed before that statement: a
            # trial could be missing from one and have parameters in the next.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        return connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the right to write from its first statement.

        On SQLite it starts with BEGIN IMMEDIATE: a transaction that reads first and writes later
        would fail at once when another writer came between, without waiting.

        Raises:
            StoreError: The file is not the one that was opened any more, or the server takes no
                writes.
        """
        self._check_file()
        try:
            with use_connection(), self._connect_for_writing() as connection, connection.begin():
                yield connection
        except sa.exc.DBAPIError as error:
            if not self._was_written and is_read_only(error):
                self.check_writable()
            raise
        self._was_written = True

    def _connect_for_writing(self) -> Connection:
        return self.engine.connect().execution_options(kdopt_write=True)

    def check_writable(self) -> None:
        """Refuse a server or a role that takes no writes.

        Raises:
            StoreError: It is one.
        """
        if self.dialect == "postgresql":
            fault = self.run_read(find_read_only_fault)
            if fault is not None:
                raise StoreError(f"store {self.label}: {fault}")

    def watch_file(self) -> None:
        """From now on refuse to work on another file than the one that is open."""
        if self.dialect == "sqlite":
            ((number,),) = self.select_rows("PRAGMA user_version")
            self._file = StoreFile(self.url, int(number))

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()

    def run_read(self, call: Callable[[Connection], T]) -> T:
        """What ``call`` makes of one moment; see :meth:`retry`."""
        moment: Connection | None = getattr(self._here, "moment", None)
        if moment is not None:
            return call(moment)  # whoever began the moment tries again

        def attempt() -> T:
            with self.read() as connection:
                return call(connection)

        return self.retry(attempt)

    def run_at_one_moment(self, call: Callable[[], T]) -> T:
        """Run ``call``, with every :meth:`run_read` in it, by this thread, in one transaction.

        What belongs to a campaign is then looked up once (:func:`kdopt.store.scope.select_scope`).
        """

        def attempt() -> T:
            with self.read() as connection:
                self._here.moment = connection.execution_options(kdopt_scopes={})
                try:
                    return call()
                finally:
                    self._here.moment = None

        return self.retry(attempt)

    def run_write(self, call: Callable[[Connection], T]) -> T:
        """Run ``call`` in one transaction; it may be called again, see :meth:`retry`."""

        def attempt() -> T:
            with self.write() as connection:
                return call(connection)

        return self.retry(attempt)

    def select_rows(self, sql: str, values: Mapping[str, object] | None = None) -> Rows:
        """The rows of one SELECT; see :meth:`retry`."""
        return self.run_read(lambda connection: connection.execute(sa.text(sql), values).all())

    def retry(self, call: Callable[[], T]) -> T:
        """Run a database call, again and again while the database is busy or restarting.

        Raises:
            StoreError: The fault will not pass by waiting (disk full, no permission, damaged
                file), or did not pass within :attr:`patience_s`.
        """
        return retry_call(self.url, self.patience_s, call)

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
    return retry_call(url, patience_s, lambda: _open_and_check(url, create))


def _open_and_check(url: URL, create: bool) -> Store:
    try:
        if url.get_backend_name() == "sqlite" and Path(str(url.database)).exists():
            # To connect changes another program's file: its journal mode, and that it is empty.
            look_at_file(url, lambda engine: _check_before(Store(url, engine), create))
        store = Store(url, make_sql_engine(url))
        with contextlib.ExitStack() as unless_it_opens:
            unless_it_opens.callback(store.close)
            if store.dialect == "postgresql":
                _check_schemas(store, create)
            if create:
                store.check_writable()
                _make_tables(store)
            check_versions(store)
            store.watch_file()
            unless_it_opens.pop_all()
    except (ModuleNotFoundError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(
            f"store {label_of(url)}: no driver for '{url.drivername}' is installed; "
            "for Postgres: pip install 'kdopt[postgres]' and postgresql+psycopg://..."
        ) from error
    except (sa.exc.ArgumentError, sa.exc.InvalidRequestError, TypeError, ValueError) as error:
        # What drivers make of a query or a name that they do not take.
        raise StoreError(
            f"store {label_of(url)}: cannot be opened ({type(error).__name__}: "
            f"{explain_driver_error(url, error)}); check the URL"
        ) from error
    return store


def _check_before(store: Store, create: bool) -> None:
    """Refuse what is no store, or may not become one, before anything of it is changed."""
    if not create or _read_version(store, "kdopt_meta", "value") is not None:
        check_versions(store)
        return
    _check_tables(store)
    if _read_version(store, "alembic_version", "version_num") not in (None, OPTUNA_SCHEMA):
        check_versions(store)


def _make_tables(store: Store) -> None:
    """Make what a store lacks; several processes may do so at once.

    The schema row is written last, in the transaction that makes our tables, so a creation that
    was cut off is completed by the next.
    """
    if _read_version(store, "kdopt_meta", "value") is not None:
        return
    if store.dialect == "sqlite":
        with hold_file(Path(f"{Path(str(store.url.database)).resolve()}.lock")):
            _make_tables_locked(store)
        return
    with use_connection(), store.engine.begin() as connection:
        # Any number will do, as long as nobody else locks it. Freed with the transaction; a
        # session's lock would live on in the connection pool.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7205759403)"))
        _make_tables_locked(store)


def _make_tables_locked(store: Store) -> None:
    _check_tables(store)
    if _read_version(store, "kdopt_meta", "value") is not None:
        return  # another process made it while this one waited
    open_optuna_storage(store.url).engine.dispose()
    with store.write() as connection:
        METADATA.create_all(connection)
        connection.execute(
            sa.text("CREATE INDEX IF NOT EXISTS kd_state ON trials (state, study_id)")
        )
        connection.execute(sa.insert(META).values(key="schema", value=KDOPT_SCHEMA))
        if store.dialect == "sqlite":
            # A place of SQLite's header that is the application's: it tells a store and its
            # copies from all others. Stores of older versions have 0.
            number = 1 + secrets.randbelow(2**31 - 1)
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")


def _check_tables(store: Store) -> None:
    is_optuna = _read_version(store, "alembic_version", "version_num") is not None
    with store.read() as connection:
        others = describe_other_tables(connection, METADATA.tables, is_optuna)
    if others is not None:
        raise StoreError(f"store {store.label}: this database holds {others}; give another --store")


def _check_schemas(store: Store, create: bool) -> None:
    names = {*OPTUNA_TABLES, *METADATA.tables}
    with store.read() as connection:
        fault = find_schema_fault(connection, names, META.name, create)
    if fault is not None:
        raise StoreError(f"store {store.label}: {fault}")


def check_versions(store: Store) -> None:
    """Refuse a database that is no store, or one of another version.

    Raises:
        StoreError: It is one.
    """
    optuna = _read_version(store, "alembic_version", "version_num")
    ours = _read_version(store, "kdopt_meta", "value")
    with store.read() as connection:
        # Many programs have a table of that name for versions of their own.
        is_optuna = optuna is not None and sa.inspect(connection).has_table("studies")
    if not is_optuna:
        fault = (
            "this database is not a kdopt store; run 'kdopt plan SPEC' with an empty or new --store"
        )
    elif optuna != OPTUNA_SCHEMA:
        fault = (
            f"Optuna schema {optuna}, this kdopt needs {OPTUNA_SCHEMA}; upgrade the store with "
            "'optuna storage upgrade' or use the kdopt version that made it"
        )
    elif ours is None:
        fault = (
            "this is an Optuna database without kdopt's tables; "
            "run 'kdopt plan SPEC' on it once, or give another --store"
        )
    elif ours != KDOPT_SCHEMA:
        fault = (
            f"kdopt schema {ours}, this kdopt reads {KDOPT_SCHEMA}; "
            "use the kdopt version that made it, or a new --store"
        )
    else:
        return
    raise StoreError(f"store {store.label}: {fault}")


def _read_version(store: Store, table: str, column: str) -> str | None:
    """The version that a table holds; ``None`` without a table or a row."""
    with store.read() as connection:
        if not sa.inspect(connection).has_table(table):
            return None
        return connection.execute(sa.text(f"SELECT {column} FROM {table}")).scalar()
