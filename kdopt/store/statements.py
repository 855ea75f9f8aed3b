"""Statements that several parts of the store write rows with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def write_attributes(connection: Connection, trial_id: int, values: Mapping[str, Any]) -> None:
    """Add user attributes to a trial that does not have them yet."""
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in values.items()
    ]
    insert_rows(connection, "trial_user_attributes", rows)


def insert_rows(connection: Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows that all have the columns of the first."""
    columns = ", ".join(rows[0])
    values = ", ".join(f":{c}" for c in rows[0])
    connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows)
