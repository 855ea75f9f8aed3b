"""In which schemas of PostgreSQL a store's tables lie, and whether search_path finds them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

import sqlalchemy as sa

_TABLES = """
    SELECT c.relname, n.nspname, pg_catalog.pg_table_is_visible(c.oid),
        pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY(:names) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY c.relname, n.nspname
"""
_PLACE = "SELECT pg_catalog.current_schema(), pg_catalog.current_setting('search_path')"


def find_schema_fault(
    connection: sa.Connection, names: Collection[str], meta: str, create: bool
) -> str | None:
    """Why a store cannot be where search_path leads; ``None`` if nothing is wrong with that.

    A role or a database may have a search_path of its own, and by default the schema of the
    user's name comes before public: tables that somebody puts there hide a store's. Half of it
    would be read from one place, and half of it written to another.

    Args:
        connection: To the database.
        names: Of all tables of a store.
        meta: That of kdopt's own which only a whole store has.
        create: Whether tables that are missing are to be made.
    """
    visible, stores = defaultdict[str, list[str]](list), []
    for name, schema, is_visible, may_use in connection.execute(
        sa.text(_TABLES), {"names": sorted(names)}
    ):
        if is_visible:
            visible[schema].append(name)
        elif name == meta:
            stores.append((schema, may_use))
    place, path = connection.execute(sa.text(_PLACE)).one()
    if len(visible) > 1:
        where = (f"'{tables[0]}' in schema '{schema}'" for schema, tables in visible.items())
        return f"its tables lie in several schemas ({', '.join(where)}); {_choose(max(visible))}"
    tables = next(iter(visible.values()), [])
    if meta in tables:
        return None
    if create:
        return _find_fault_of_place(place, path, visible)
    if tables or not stores:
        return None
    schema, may_use = stores[0]
    fix = _choose(schema) if may_use else f"let this user in: GRANT USAGE ON SCHEMA {schema}"
    return f"search_path is '{path}', and the store is in schema '{schema}'; {fix}"


def _find_fault_of_place(
    place: str | None, path: str, visible: Mapping[str, Sequence[str]]
) -> str | None:
    """Why new tables cannot be made in the first schema of search_path."""
    if place is None or place.startswith("pg_"):
        return f"search_path is '{path}', where no tables can be made; {_choose('public')}"
    for schema, tables in visible.items():
        if schema != place:
            return (
                f"'{tables[0]}' is in schema '{schema}', and new tables would go to '{place}'; "
                f"{_choose(schema)}"
            )
    return None


def _choose(schema: str) -> str:
    return f"choose one schema: add ?options=-csearch_path%3D{quote(schema, safe='')} to the URL"
