"""Statements that several parts of the store share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def insert_rows(connection: Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that all have the columns of the first; none is fine."""
    if rows:
        # Not as text: SQLAlchemy then sends Postgres many rows per statement. The columns have no
        # type on purpose: a text goes to the server as it is, which knows Optuna's enum types.
        connection.execute(sa.table(table, *map(sa.column, rows[0])).insert(), rows)


def execute_many(connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Execute a statement once per row of values; none is fine."""
    if rows:
        connection.execute(sa.text(sql), rows)


def bind_lists(sql: str, *names: str) -> sa.TextClause:
    """A statement of which these named values are lists, for ``IN``."""
    return sa.text(sql).bindparams(*(sa.bindparam(name, expanding=True) for name in names))


def select_scalar(connection: Connection, sql: str, values: Mapping[str, object]) -> Any:
    """The first column of the first row of a SELECT; ``None`` without a row."""
    return connection.execute(sa.text(sql), values).scalar()
