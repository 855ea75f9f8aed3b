"""Rows that belong to nothing: what deleted studies and trials left, or others wrote."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.shown import format_count
from kdopt.store.statements import TABLES_OF_STUDIES, TABLES_OF_TRIALS

_OWNERS = {"study": ("trials", *TABLES_OF_STUDIES), "trial": TABLES_OF_TRIALS}


class Orphans(NamedTuple):
    """How many rows of a table belong to no study, or to no trial."""

    table: str
    owner: str
    rows: int


def count_orphans(connection: Connection) -> list[Orphans]:
    """Rows of each table whose study or trial is not there, where there are any."""
    found = []
    for owner, tables in _OWNERS.items():
        owners = "studies" if owner == "study" else "trials"
        for table in tables:
            sql = (
                f"SELECT count(*) FROM {table} x WHERE NOT EXISTS "
                f"(SELECT 1 FROM {owners} o WHERE o.{owner}_id = x.{owner}_id)"
            )
            n = connection.execute(sa.text(sql)).scalar_one()
            if n:
                found.append(Orphans(table, owner, n))
    return found


def list_lost_rules(connection: Connection) -> list[str]:
    """What of Optuna's and kdopt's own tables no longer is as they are made."""
    found = []
    # An index that is unique may be a constraint as well, by the database.
    inspector = sa.inspect(connection)
    indexes = inspector.get_indexes("studies") + inspector.get_unique_constraints("studies")
    if not any(index["column_names"] == ["study_name"] for index in indexes):
        found.append("nothing keeps two studies from having the same name: an index is missing")
    for table in ("alembic_version", "version_info"):
        n = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        if n != 1:
            found.append(f"{table} has {format_count(n, 'row')}, where Optuna has one")
    return found


def list_triggers(connection: Connection) -> list[str]:
    """Triggers on a store's tables, and views in place of tables: kdopt makes none."""
    if connection.dialect.name == "sqlite":
        tables = sorted({"studies", "trials", "kdopt_meta", *_OWNERS["study"], *_OWNERS["trial"]})
        named = ", ".join(f"'{table}'" for table in tables)
        sql = (
            "SELECT type, name FROM sqlite_master WHERE type = 'trigger' "
            f"OR (type = 'view' AND name IN ({named}))"
        )
    else:
        sql = (
            "SELECT 'trigger', tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
            "WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    return [f"{kind} '{name}'" for kind, name in connection.execute(sa.text(sql))]


def drop_orphaned_leases(connection: Connection) -> int:
    """Remove the leases of trials that are no more, before their ids are used again.

    SQLite gives the ids of deleted trials to new ones, which would start with the attempts, and
    the worker, of the deleted.

    Returns:
        How many.
    """
    sql = "DELETE FROM kdopt_lease WHERE trial_id NOT IN (SELECT trial_id FROM trials)"
    return connection.execute(sa.text(sql)).rowcount
