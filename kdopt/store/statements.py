"""Statements that several parts of the store share, and which tables belong to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

TABLES_OF_STUDIES = ("study_directions", "study_user_attributes", "study_system_attributes")
"""Tables whose rows belong to a study, its trials aside."""
TABLES_OF_TRIALS = (
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_heartbeats",
    "kdopt_lease",
)
"""Tables whose rows belong to a trial."""


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


def empty_trials(connection: Connection, studies: Iterable[int]) -> None:
    """Delete all that belongs to the trials of studies; the trials stay."""
    for table in TABLES_OF_TRIALS:
        sql = (
            f"DELETE FROM {table} WHERE trial_id IN "
            "(SELECT trial_id FROM trials WHERE study_id IN :ids)"
        )
        connection.execute(bind_lists(sql, "ids"), {"ids": list(studies)})
