"""What moved of late, asked every few seconds: trials that ended, and the reasons of failures.

A few rows per question whatever the size of the campaign, as long as few trials end in the time
that is asked for.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from kdopt.campaign.names import StageName
from kdopt.store.database import Store
from kdopt.store.rows import LIVE, OF_CAMPAIGN, of_campaign, reason_of


class Ended(NamedTuple):
    """A trial that ended, with a result or a reason, by the database's clock."""

    stage: StageName
    began_ago_s: float
    ended_ago_s: float


class Reason(NamedTuple):
    """Why trials failed: how many for this very reason, and the first of them."""

    text: str
    n: int
    study: str
    number: int


def read_ended(
    store: Store, campaign: str, within_s: float, least: int, at_most_s: float
) -> list[Ended]:
    """The trials that ended of late; the last of each stage come first.

    Args:
        store: The store.
        campaign: The campaign.
        within_s: All that ended within so many seconds ...
        least: ... and of each stage the last so many,
        at_most_s: unless they ended longer ago than this.
    """
    sql = sa.text(
        f"""
        WITH ended AS (
            SELECT a.value_json AS stage, t.datetime_start, t.datetime_complete,
                   row_number() OVER (
                       PARTITION BY a.value_json ORDER BY t.datetime_complete DESC) AS nth
            FROM trials t JOIN studies s ON s.study_id = t.study_id
            JOIN study_user_attributes a ON a.study_id = s.study_id AND a.key = 'kd:stage'
            WHERE t.state IN ('COMPLETE', 'FAIL') AND {OF_CAMPAIGN}
              AND t.datetime_complete >= {store.utc_before(":at_most")})
        SELECT stage, {store.age("datetime_start")} AS began,
               {store.age("datetime_complete")} AS ended
        FROM ended WHERE nth <= :least OR datetime_complete >= {store.utc_before(":within")}
        ORDER BY stage, nth
        """
    )
    values = {"within": within_s, "at_most": at_most_s, "least": least, **of_campaign(campaign)}

    def read() -> list[Ended]:
        with store.read() as connection:
            rows = connection.execute(sql, values).all()
        return [_ended(row) for row in rows]

    return store.retry(read)


def read_reasons(store: Store, campaign: str) -> list[Reason]:
    """The reasons of failed trials, the most frequent first."""
    sql = sa.text(
        f"""
        SELECT g.error, g.n, s.study_name, t.number FROM (
            SELECT e.value_json AS error, count(*) AS n, min(t.trial_id) AS first
            FROM trials t JOIN studies s ON s.study_id = t.study_id
            LEFT JOIN trial_user_attributes e ON e.trial_id = t.trial_id AND e.key = 'kd:error'
            WHERE t.state = 'FAIL' AND {OF_CAMPAIGN} AND {LIVE} GROUP BY e.value_json) g
        JOIN trials t ON t.trial_id = g.first JOIN studies s ON s.study_id = t.study_id
        ORDER BY g.n DESC, g.first
        """
    )

    def read() -> list[Reason]:
        with store.read() as connection:
            rows = connection.execute(sql, of_campaign(campaign)).all()
        return [Reason(reason_of(r.error), r.n, r.study_name, r.number) for r in rows]

    return store.retry(read)


def _ended(row: Any) -> Ended:
    stage = cast("StageName", json.loads(row.stage))
    ended = max(0.0, float(row.ended))
    # A row that was written by other means may lack its start.
    began = ended if row.began is None else max(ended, float(row.began))
    return Ended(stage, began, ended)
