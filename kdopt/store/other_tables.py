"""Whether a database is another program's, before kdopt makes its tables there."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

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
