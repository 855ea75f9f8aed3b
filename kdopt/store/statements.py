"""Statements that several parts of the store share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def insert_rows(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the columns of the first; none is fine."""
    if rows:
        columns = ", ".join(rows[0])
        values = ", ".join(f":{column}" for column in rows[0])
        execute_many(connection, f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)


def execute_many(connection: Connection, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement once per row of values; none is fine."""
    if rows:
        connection.execute(sa.text(sql), rows)


def bind_lists(sql: str, *names: str) -> sa.TextClause:
    """A statement of which these named values are lists, for ``IN``."""
    return sa.text(sql).bindparams(*(sa.bindparam(name, expanding=True) for name in names))
