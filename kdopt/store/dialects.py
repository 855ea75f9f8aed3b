"""SQL that SQLite and PostgreSQL spell in two ways: times by the database's clock, and locks."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine


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

    def lock_planning(self, connection: Connection) -> None:
        """Let nobody else add studies or trials until the transaction ends.

        A trial's number is the count of its study's rows: two that count at once would both find
        the same number.
        """
        if self.dialect == "postgresql":
            # This mode holds up planners and whoever else writes studies, but no reader and no
            # claim. It is the first lock of every transaction that takes it
            # (kdopt.store.merge.rows).
            connection.execute(sa.text("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE"))
