"""What goes on now: trials that run, trials that ended lately, failures and their reasons.

A few rows per question whatever the size of the campaign, as long as few trials end in the time
that is asked for.
"""

from __future__ import annotations

import json
from typing import NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import StageName
from kdopt.campaign.studies import Params
from kdopt.store.attributes import STAGE_KEY
from kdopt.store.database import Store
from kdopt.store.params import read_params
from kdopt.store.queries import (
    LIVE,
    OF_CAMPAIGN,
    TRIALS,
    WITH_ERROR,
    of_campaign,
    reason_of,
)


class RunningTrial(NamedTuple):
    """A trial that a worker holds now.

    Attributes:
        study: Study name.
        number: The trial's number within its study.
        worker: Who holds the lease; ``?`` when nobody does.
        attempt: 1 for the first run, more after a worker was lost.
        lease_left_s: Seconds until the lease lapses, negative when it has.
        step: The last step that it reported, if it reports any.
        params: Its parameters; empty while the sampler chooses them.
        running_s: Seconds since it was claimed.
    """

    study: str
    number: int
    worker: str
    attempt: int
    lease_left_s: float
    step: int | None
    params: Params
    running_s: float


class Failure(NamedTuple):
    """A trial that failed, and why."""

    study: str
    number: int
    reason: str


class EndedTrial(NamedTuple):
    """A trial that ended, with a result or a reason, by the database's clock."""

    stage: StageName
    began_ago_s: float
    ended_ago_s: float


class FailureReason(NamedTuple):
    """Why trials failed: how many for this very reason, and the first of them."""

    text: str
    n: int
    study: str
    number: int


def read_running_trials(store: Store, campaign: str) -> list[RunningTrial]:
    """The trials that workers hold now."""
    where, values = f"t.state = 'RUNNING' AND {OF_CAMPAIGN}", of_campaign(campaign)
    sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_name, t.number, coalesce(l.worker, '?') AS worker,
               coalesce(l.attempt, 0) AS attempt, coalesce(l.expires - {store.now}, 0) AS left_s,
               coalesce({store.age("t.datetime_start")}, 0) AS age_s,
               (SELECT max(v.step) FROM trial_intermediate_values v
                WHERE v.trial_id = t.trial_id) AS step
        FROM {TRIALS} LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
        WHERE {where} ORDER BY t.trial_id
        """
    )

    def read(connection: Connection) -> list[RunningTrial]:
        params = read_params(connection, where, values)
        return [
            RunningTrial(
                r.study_name,
                r.number,
                r.worker or "?",  # empty: its lease was taken back
                r.attempt,
                float(r.left_s),
                r.step,
                params[r.trial_id],
                max(0.0, float(r.age_s)),
            )
            for r in connection.execute(sql, values)
        ]

    return store.run_read(read)


def read_failures(store: Store, campaign: str) -> list[Failure]:
    """The failed trials and their reasons, in order of planning."""
    rows = store.select_rows(
        f"SELECT s.study_name, t.number, e.value_json AS error FROM {TRIALS} {WITH_ERROR} "
        f"WHERE t.state = 'FAIL' AND {OF_CAMPAIGN} AND {LIVE} ORDER BY t.trial_id",
        of_campaign(campaign),
    )
    return [Failure(r.study_name, r.number, reason_of(r.error)) for r in rows]


def read_recent_endings(
    store: Store, campaign: str, within_s: float, least: int, at_most_s: float
) -> list[EndedTrial]:
    """The trials that ended of late; the last of each stage come first.

    Args:
        store: The store.
        campaign: The campaign.
        within_s: All that ended within so many seconds ...
        least: ... and of each stage the last so many,
        at_most_s: unless they ended longer ago than this.
    """
    rows = store.select_rows(
        f"""
        WITH ended AS (
            SELECT a.value_json AS stage, t.datetime_start, t.datetime_complete,
                   row_number() OVER (
                       PARTITION BY a.value_json ORDER BY t.datetime_complete DESC) AS nth
            FROM {TRIALS}
            JOIN study_user_attributes a ON a.study_id = s.study_id AND a.key = '{STAGE_KEY}'
            WHERE t.state IN ('COMPLETE', 'FAIL') AND {OF_CAMPAIGN}
              AND t.datetime_complete >= {store.utc_before(":at_most")})
        SELECT stage, {store.age("datetime_start")} AS began,
               {store.age("datetime_complete")} AS ended
        FROM ended WHERE nth <= :least OR datetime_complete >= {store.utc_before(":within")}
        ORDER BY stage, nth
        """,
        {"within": within_s, "at_most": at_most_s, "least": least, **of_campaign(campaign)},
    )
    found = []
    for stage, began, ended in rows:
        # Clocks of machines differ, so a trial that another machine's database ended and a merge
        # brought here may seem to end in the future.
        ended_s = max(0.0, float(ended))
        # A row that was written by other means may lack its start.
        began_s = ended_s if began is None else max(ended_s, float(began))
        found.append(EndedTrial(cast("StageName", json.loads(stage)), began_s, ended_s))
    return found


def read_failure_reasons(store: Store, campaign: str) -> list[FailureReason]:
    """The reasons of failed trials, the most frequent first."""
    rows = store.select_rows(
        f"""
        SELECT g.error, g.n, s.study_name, t.number FROM (
            SELECT e.value_json AS error, count(*) AS n, min(t.trial_id) AS first
            FROM {TRIALS} {WITH_ERROR}
            WHERE t.state = 'FAIL' AND {OF_CAMPAIGN} AND {LIVE} GROUP BY e.value_json) g
        JOIN trials t ON t.trial_id = g.first JOIN studies s ON s.study_id = t.study_id
        ORDER BY g.n DESC, g.first
        """,
        of_campaign(campaign),
    )
    return [FailureReason(reason_of(error), n, study, number) for error, n, study, number in rows]
