"""What goes on now: trials that run, trials that ended lately, failures and their reasons.

A few rows per question whatever the size of the campaign, as long as few trials end in the time
that is asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import StageName
from kdopt.campaign.studies import Params
from kdopt.store.attributes import STAGE_KEY
from kdopt.store.database import Store
from kdopt.store.params import read_params
from kdopt.store.queries import WITH_ERROR
from kdopt.store.reading import parse_reason
from kdopt.store.scope import LIVE, TRIALS, select_scope


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
        running_s: Seconds since it was begun, or claimed where its worker has others to do first.
    """

    study: str
    number: int
    worker: str
    attempt: int
    lease_left_s: float
    step: int | None
    params: Params
    running_s: float


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


class Unfinished(NamedTuple):
    """What is still to do in a store, whatever the campaign.

    Attributes:
        newest: The largest id of any trial, 0 without one: another one says that trials were added.
        waiting: Trials that wait, by study id.
        running: Trials that run, by study id.
    """

    newest: int
    waiting: dict[int, int]
    running: dict[int, int]


def read_unfinished(store: Store) -> Unfinished:
    """What is still to do; it takes time with the trials that are left, not with all."""

    def read(connection: Connection) -> Unfinished:
        newest = connection.execute(sa.text("SELECT max(trial_id) FROM trials")).scalar()
        counts: dict[str, dict[int, int]] = {"WAITING": {}, "RUNNING": {}}
        for state, studies in counts.items():
            # Without a join, so that the index on state and study answers alone.
            sql = f"SELECT study_id, count(*) FROM trials WHERE state = '{state}' GROUP BY study_id"
            studies.update((study, n) for study, n in connection.execute(sa.text(sql)))
        return Unfinished(newest or 0, counts["WAITING"], counts["RUNNING"])

    return store.run_read(read)


def read_running_trials(store: Store, campaign: str) -> list[RunningTrial]:
    """The trials that workers hold now."""

    def read(connection: Connection) -> list[RunningTrial]:
        scope = select_scope(connection, campaign)
        where = f"t.state = 'RUNNING' AND {scope.where}"
        sql = f"""
            SELECT t.trial_id, t.study_id, t.number, l.worker, l.attempt,
                   l.expires - {store.now} AS left_s, {store.age("t.datetime_start")} AS age_s,
                   (SELECT max(v.step) FROM trial_intermediate_values v
                    WHERE v.trial_id = t.trial_id) AS step
            FROM {TRIALS} LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
            WHERE {where} ORDER BY t.trial_id
            """
        params = read_params(connection, where, scope.values)
        return [
            RunningTrial(
                scope.name(r.study_id),
                r.number,
                str(r.worker or "?"),  # none, or empty: its lease was taken back
                r.attempt if isinstance(r.attempt, int) else 0,
                _read_seconds(r.left_s),
                r.step,
                params[r.trial_id],
                max(0.0, _read_seconds(r.age_s)),
            )
            for r in connection.execute(sa.text(sql), scope.values)
        ]

    return store.run_read(read)


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

    def read(connection: Connection) -> list[EndedTrial]:
        scope = select_scope(connection, campaign)
        # The attribute only parts the rows, so that few are read; a study's name says its stage.
        sql = f"""
            WITH ended AS (
                SELECT t.study_id, t.datetime_start, t.datetime_complete,
                       row_number() OVER (
                           PARTITION BY a.value_json ORDER BY t.datetime_complete DESC) AS nth
                FROM {TRIALS} LEFT JOIN study_user_attributes a
                    ON a.study_id = s.study_id AND a.key = '{STAGE_KEY}'
                WHERE t.state IN ('COMPLETE', 'FAIL') AND {scope.where}
                  AND t.datetime_complete >= {store.utc_before(":at_most")})
            SELECT study_id, {store.age("datetime_start")} AS began,
                   {store.age("datetime_complete")} AS ended
            FROM ended WHERE nth <= :least OR datetime_complete >= {store.utc_before(":within")}
            """
        limits = {"within": within_s, "at_most": at_most_s, "least": least}
        found: dict[StageName, list[EndedTrial]] = {}
        for study_id, began, ended in connection.execute(sa.text(sql), {**limits, **scope.values}):
            # Clocks of machines differ, so a trial that another machine's database ended and a
            # merge brought here may seem to end in the future. A row that was written by other
            # means may have no time that can be read.
            ended_s = max(0.0, _read_seconds(ended))
            began_s = ended_s if began is None else max(ended_s, _read_seconds(began))
            stage = scope.studies[study_id][1].stage
            found.setdefault(stage, []).append(EndedTrial(stage, began_s, ended_s))
        return [
            trial
            for trials in found.values()
            for nth, trial in enumerate(sorted(trials, key=lambda t: t.ended_ago_s))
            if nth < least or trial.ended_ago_s <= within_s
        ]

    return store.run_read(read)


def read_failure_reasons(store: Store, campaign: str) -> list[FailureReason]:
    """The reasons of failed trials, the most frequent first."""

    def read(connection: Connection) -> list[FailureReason]:
        scope = select_scope(connection, campaign)
        sql = f"""
            SELECT g.error, g.n, t.study_id, t.number FROM (
                SELECT e.value_json AS error, count(*) AS n, min(t.trial_id) AS first
                FROM {TRIALS} {WITH_ERROR}
                WHERE t.state = 'FAIL' AND {scope.where} AND {LIVE} GROUP BY e.value_json) g
            JOIN trials t ON t.trial_id = g.first
            ORDER BY g.n DESC, g.first
            """
        return [
            FailureReason(parse_reason(error), n, scope.name(study_id), number)
            for error, n, study_id, number in connection.execute(sa.text(sql), scope.values)
        ]

    return store.run_read(read)


def _read_seconds(value: object) -> float:
    """A time span of the database; 0 for none, or for what is none."""
    try:
        seconds = float(value or 0)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
