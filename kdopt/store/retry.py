"""Try failed trials again: a new row for the same parameters; the failed row stays as it is.

A finished row is never reset: processes that read it keep it for good (Optuna's cache does), and
what went wrong stays on record. The two rows name each other in user attributes, and everything
that counts trials passes over the failed one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.store.attributes import ERROR_KEY, RETRIED_KEY, RETRY_OF_KEY, write_trial_attributes
from kdopt.store.database import Store
from kdopt.store.queries import LIVE, OF_CAMPAIGN, of_campaign


def requeue_failed_trials(store: Store, campaign: str, reason: str = "") -> list[str]:
    """Queue every failed trial of a campaign once more.

    Args:
        store: The store.
        campaign: The campaign.
        reason: Only failures whose reason holds this text (case does not matter).

    Returns:
        The study of each trial that was queued, in order of planning. Calling again queues
        nothing, until one of them has failed too.
    """

    def attempt() -> list[str]:
        with store.write() as connection:
            if store.dialect == "postgresql":
                # As in planning: numbers are counted, so nobody may add rows meanwhile.
                connection.execute(sa.text("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE"))
            failed = _find_failed_trials(connection, campaign, reason)
            counts = _count_trials(connection, {row.study_id for row in failed})
            for row in failed:
                add_copy(connection, row.study_id, row.trial_id, counts[row.study_id])
                counts[row.study_id] += 1
            return [row.study_name for row in failed]

    return store.retry(attempt)


def _find_failed_trials(connection: Connection, campaign: str, reason: str) -> Sequence[Any]:
    return connection.execute(
        sa.text(
            f"""
            SELECT t.trial_id, t.study_id, s.study_name
            FROM trials t JOIN studies s ON s.study_id = t.study_id
            LEFT JOIN trial_user_attributes e ON e.trial_id = t.trial_id AND e.key = '{ERROR_KEY}'
            WHERE t.state = 'FAIL' AND {OF_CAMPAIGN} AND {LIVE}
              AND lower(coalesce(e.value_json, '')) LIKE :reason ESCAPE '!'
            ORDER BY t.trial_id
            """
        ),
        {**of_campaign(campaign), "reason": f"%{_escape_wildcards(reason.lower())}%"},
    ).all()


def _count_trials(connection: Connection, studies: set[int]) -> dict[int, int]:
    """Rows of each study, which is the number of its next trial."""
    rows = connection.execute(sa.text("SELECT study_id, count(*) FROM trials GROUP BY study_id"))
    return {study: n for study, n in rows if study in studies}


def add_copy(connection: Connection, study_id: int, failed_id: int, number: int) -> int:
    """Add the row that tries a failed trial's parameters again, as the study's trial ``number``.

    Returns:
        Its id.
    """
    new_id: int = connection.execute(
        sa.text(
            "INSERT INTO trials (number, study_id, state) VALUES (:number, :study, 'WAITING') "
            "RETURNING trial_id"
        ),
        {"number": number, "study": study_id},
    ).scalar_one()
    connection.execute(
        sa.text(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
            "SELECT :new, param_name, param_value, distribution_json FROM trial_params "
            "WHERE trial_id = :old ORDER BY param_id"
        ),
        {"new": new_id, "old": failed_id},
    )
    write_trial_attributes(connection, new_id, {RETRY_OF_KEY: failed_id})
    write_trial_attributes(connection, failed_id, {RETRIED_KEY: new_id})
    return new_id


def _escape_wildcards(text: str) -> str:
    """Text for LIKE in which nothing is a wildcard; quotes as JSON writes them."""
    escaped = json.dumps(text)[1:-1]
    for character in "!%_":
        escaped = escaped.replace(character, f"!{character}")
    return escaped
