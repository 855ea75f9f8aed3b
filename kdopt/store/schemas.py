"""The tables that a database has, and their schemas: a store's, or another program's."""

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
        advice = _advise_choice(max(visible))
        return f"its tables lie in several schemas ({', '.join(where)}); {advice}"
    tables = next(iter(visible.values()), [])
    if meta in tables:
        return None
    if create:
        return _find_fault_of_place(place, path, visible)
    if tables or not stores:
        return None
    schema, may_use = stores[0]
    fix = _advise_choice(schema) if may_use else f"let this user in: GRANT USAGE ON SCHEMA {schema}"
    return f"search_path is '{path}', and the store is in schema '{schema}'; {fix}"


def _find_fault_of_place(
    place: str | None, path: str, visible: Mapping[str, Sequence[str]]
) -> str | None:
    """Why new tables cannot be made in the first schema of search_path."""
    if place is None or place.startswith("pg_"):
        return f"search_path is '{path}', where no tables can be made; {_advise_choice('public')}"
    for schema, tables in visible.items():
        if schema != place:
            return (
                f"'{tables[0]}' is in schema '{schema}', and new tables would go to '{place}'; "
                f"{_advise_choice(schema)}"
            )
    return None


def _advise_choice(schema: str) -> str:
    return f"choose one schema: add ?options=-csearch_path%3D{quote(schema, safe='')} to the URL"


OPTUNA_TABLES = {
    "studies": {"study_id", "study_name"},
    "version_info": {"version_info_id", "schema_version", "library_version"},
    "study_directions": {"study_direction_id", "direction", "study_id", "objective"},
    "study_system_attributes": {"study_id", "key", "value_json"},
    "study_user_attributes": {"study_id", "key", "value_json"},
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_heartbeats": {"trial_id", "heartbeat"},
    "trial_intermediate_values": {"trial_id", "step", "intermediate_value"},
    "trial_params": {"trial_id", "param_name", "param_value", "distribution_json"},
    "trial_system_attributes": {"trial_id", "key", "value_json"},
    "trial_user_attributes": {"trial_id", "key", "value_json"},
    "trial_values": {"trial_id", "objective", "value", "value_type"},
    "alembic_version": {"version_num"},
}
"""Optuna's tables, and columns by which they are told from others of these names."""


def describe_other_tables(
    connection: sa.Connection, ours: Collection[str], is_optuna: bool
) -> str | None:
    """What a database holds of another program; ``None`` if kdopt may make its tables there.

    A database of Optuna may have other tables besides: somebody put them there. A creation that
    was cut off left some of Optuna's tables and no other.

    Args:
        connection: To the database.
        ours: The names of kdopt's own tables.
        is_optuna: Whether Optuna's own version is there.
    """
    inspector = sa.inspect(connection)
    known = {*OPTUNA_TABLES, *ours}
    tables, views = set(inspector.get_table_names()), set(inspector.get_view_names())
    if views & known:
        return f"a view called '{min(views & known)}'"
    if not (is_optuna and "studies" in tables) and (tables | views) - known:
        return f"other tables ({min((tables | views) - known)}, ...)"
    for name in sorted(tables & OPTUNA_TABLES.keys()):
        columns = {column["name"] for column in inspector.get_columns(name)}
        if not columns >= OPTUNA_TABLES[name]:
            return f"another table called '{name}'"
    return None
