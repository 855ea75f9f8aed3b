"""What a campaign keeps beside its record, as JSON by key, on its own study."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import campaign_study_name
from kdopt.errors import StoreError
from kdopt.store.database import Store


def read_campaign_attribute(store: Store, campaign: str, key: str) -> Any:
    """The value of a key, read from JSON; ``None`` where nobody wrote any."""

    def read() -> Any:
        with store.read() as connection:
            return _read(connection, campaign, key)

    return store.retry(read)


def update_campaign_attribute(
    store: Store, campaign: str, key: str, change: Callable[[Any], Any]
) -> None:
    """Replace the value of a key by what ``change`` makes of it (``None`` before the first).

    Raises:
        StoreError: There is no such campaign.
    """

    def write() -> None:
        with store.write() as connection:
            lock = "FOR UPDATE" if store.dialect == "postgresql" else ""
            # The row of the study is held, so that two writers cannot lose each other's changes.
            study_id = connection.execute(
                sa.text(f"SELECT study_id FROM studies WHERE study_name = :name {lock}"),
                {"name": campaign_study_name(campaign)},
            ).scalar()
            if study_id is None:
                raise StoreError(f"store {store.label}: no campaign '{campaign}'")
            value = json.dumps(change(_read(connection, campaign, key)))
            connection.execute(
                sa.text("DELETE FROM study_user_attributes WHERE study_id = :study AND key = :key"),
                {"study": study_id, "key": key},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO study_user_attributes (study_id, key, value_json) "
                    "VALUES (:study, :key, :value)"
                ),
                {"study": study_id, "key": key, "value": value},
            )

    store.retry(write)


def _read(connection: Connection, campaign: str, key: str) -> Any:
    sql = sa.text(
        "SELECT a.value_json FROM study_user_attributes a "
        "JOIN studies s ON s.study_id = a.study_id WHERE s.study_name = :name AND a.key = :key"
    )
    found = connection.execute(sql, {"name": campaign_study_name(campaign), "key": key}).scalar()
    return None if found is None else json.loads(found)
