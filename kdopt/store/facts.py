"""What was measured once of a campaign's partitions, kept beside its record."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.errors import StoreError
from kdopt.facts import PartitionFacts
from kdopt.names import campaign_study_name
from kdopt.store.open import Store

FACTS_KEY = "kd:facts"


def read_facts(store: Store, campaign: str) -> dict[str, PartitionFacts]:
    """The facts of a campaign by partition; empty where nobody measured any."""

    def read() -> str | None:
        with store.read() as connection:
            return _read(connection, campaign)

    text = store.retry(read)
    found = json.loads(text) if text else {}
    return {name: PartitionFacts.from_json(record) for name, record in found.items()}


def write_facts(store: Store, campaign: str, facts: Mapping[str, PartitionFacts]) -> None:
    """Keep facts of some partitions; what is known of the others stays.

    Raises:
        StoreError: There is no such campaign.
    """

    def write() -> None:
        with store.write() as connection:
            lock = "FOR UPDATE" if store.dialect == "postgresql" else ""
            # The row of the study is held, so that two who measure cannot lose each other's facts.
            study_id = connection.execute(
                sa.text(f"SELECT study_id FROM studies WHERE study_name = :name {lock}"),
                {"name": campaign_study_name(campaign)},
            ).scalar()
            if study_id is None:
                raise StoreError(f"store {store.label}: no campaign '{campaign}'")
            before = _read(connection, campaign)
            known = json.loads(before) if before else {}
            known |= {name: found.to_json() for name, found in facts.items()}
            connection.execute(
                sa.text("DELETE FROM study_user_attributes WHERE study_id = :study AND key = :key"),
                {"study": study_id, "key": FACTS_KEY},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO study_user_attributes (study_id, key, value_json) "
                    "VALUES (:study, :key, :value)"
                ),
                {"study": study_id, "key": FACTS_KEY, "value": json.dumps(known)},
            )

    store.retry(write)


def _read(connection: Connection, campaign: str) -> str | None:
    sql = sa.text(
        "SELECT a.value_json FROM study_user_attributes a "
        "JOIN studies s ON s.study_id = a.study_id WHERE s.study_name = :name AND a.key = :key"
    )
    found = connection.execute(
        sql, {"name": campaign_study_name(campaign), "key": FACTS_KEY}
    ).scalar()
    return None if found is None else str(found)
