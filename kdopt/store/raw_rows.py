"""Studies and trials as the database has them, nothing believed: what ``kdopt doctor`` checks."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import StudyPlan
from kdopt.store.attributes import (
    CAMPAIGN_KEY,
    IGNORED_KEY,
    METRIC_NAMES_KEY,
    OUTCOME_KEY,
    PARTITION_KEY,
    PLANNED_AS_KEY,
    RETRIED_KEY,
    STAGE_KEY,
    STUDENT_KEY,
    TEACHER_KEY,
)
from kdopt.store.database import Store
from kdopt.store.params import select_params
from kdopt.store.reading import UnreadableError, parse_outcome
from kdopt.store.scope import (
    TRIALS,
    UNDER_CAMPAIGN,
    Scope,
    select_names,
    select_scope,
    under_campaign,
)


class StoredLease(NamedTuple):
    """A row of kdopt's table of leases.

    Attributes:
        worker: Who holds it; empty when it was taken back.
        attempt: The run that it is for.
        left_s: Seconds until it lapses, negative when it has; ``None`` if that cannot be read.
    """

    worker: object
    attempt: object
    left_s: float | None


class RawTrial(NamedTuple):
    """One row of ``trials`` with what belongs to it.

    Attributes:
        trial_id: Its id.
        study_id: Its study's.
        study: Study name.
        number: Its number within the study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE``, ``FAIL``, or another program's.
        started_ago_s: Seconds since it was claimed; ``None`` without a time that can be read.
        ended_ago_s: Seconds since it ended, likewise.
        has_times: Whether there is anything in the columns of both times.
        params: Stored number and distribution by name.
        values: Objective, value and type of its values.
        steps: Step, value and type of its intermediate values.
        attributes: JSON texts by key; those of kdopt begin with ``kd:``.
        system: JSON texts of Optuna's own attributes.
        lease: Its lease, if it ever had one.
        beat: Whether Optuna's own heartbeat is kept of it; kdopt writes none.
    """

    trial_id: int
    study_id: int
    study: str
    number: object
    state: str
    started_ago_s: float | None
    ended_ago_s: float | None
    has_times: tuple[bool, bool]
    params: dict[str, tuple[object, object]]
    values: list[tuple[object, ...]]
    steps: list[tuple[object, ...]]
    attributes: dict[str, object]
    system: dict[str, object]
    lease: StoredLease | None
    beat: bool

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.study} #{self.number}"

    @property
    def counts(self) -> bool:
        """Whether it is one of the campaign's: not tried again in another row, nor ignored."""
        gone = RETRIED_KEY in self.attributes or IGNORED_KEY in self.attributes
        return not (self.state == "FAIL" and gone)

    @property
    def checkpoint(self) -> str | None:
        """sha256 of the weights that it kept, if its record can be read."""
        try:
            return parse_outcome(self.attributes.get(OUTCOME_KEY)).checkpoint
        except UnreadableError:
            return None


def read_raw_trials(store: Store, campaign: str) -> list[RawTrial]:
    """All rows of a campaign, those that do not count included, in order of their ids.

    Raises:
        StoreError: There is no such campaign, or its record cannot be read.
    """
    return store.run_read(lambda c: select_raw_trials(store, c, select_scope(c, campaign)))


def select_raw_trials(store: Store, connection: Connection, scope: Scope) -> list[RawTrial]:
    """All rows of a campaign, those that do not count included, in order of their ids."""
    where, of = scope.where, scope.values
    params = select_params(connection, where, of)
    values = _select_lists(connection, scope, "trial_values", "objective, value, value_type")
    steps = _select_lists(
        connection,
        scope,
        "trial_intermediate_values",
        "step, intermediate_value, intermediate_value_type",
    )
    attributes = _select_texts(connection, scope, "trial_user_attributes")
    system = _select_texts(connection, scope, "trial_system_attributes")
    beating = set(_select_lists(connection, scope, "trial_heartbeats", "heartbeat"))
    # Of another type than its column's, a time would not leave the driver.
    sql = sa.text(
        f"""
        SELECT t.trial_id, t.study_id, t.number, t.state,
               {store.age("t.datetime_start")}, {store.age("t.datetime_complete")},
               t.datetime_start IS NOT NULL, t.datetime_complete IS NOT NULL,
               l.trial_id, l.worker, l.attempt, l.expires - {store.now}
        FROM {TRIALS} LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
        WHERE {where} ORDER BY t.trial_id
        """
    )
    found = []
    for row in connection.execute(sql, of):
        i, study_id, number, state, started, ended, has_start, has_end, leased, *lease, left_s = row
        found.append(
            RawTrial(
                i,
                study_id,
                scope.name(study_id),
                number,
                str(state),
                _read_number(started),
                _read_number(ended),
                (bool(has_start), bool(has_end)),
                params[i],
                values[i],
                steps[i],
                attributes[i],
                system[i],
                None if leased is None else StoredLease(lease[0], lease[1], _read_number(left_s)),
                i in beating,
            )
        )
    return found


def _read_number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _select_lists(
    connection: Connection, scope: Scope, table: str, columns: str
) -> dict[int, list[tuple[object, ...]]]:
    sql = f"SELECT v.trial_id, {columns} FROM {table} v {_OF_TRIALS} WHERE {scope.where}"
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for trial_id, *values in connection.execute(sa.text(sql), scope.values):
        found[trial_id].append(tuple(values))
    return found


def _select_texts(connection: Connection, scope: Scope, table: str) -> dict[int, dict[str, object]]:
    sql = f"SELECT v.trial_id, v.key, v.value_json FROM {table} v {_OF_TRIALS} WHERE {scope.where}"
    found: dict[int, dict[str, object]] = defaultdict(dict)
    for trial_id, key, text in connection.execute(sa.text(sql), scope.values):
        found[trial_id][key] = text
    return found


_OF_TRIALS = "JOIN trials t ON t.trial_id = v.trial_id JOIN studies s ON s.study_id = t.study_id"


class RawStudy(NamedTuple):
    """One row of ``studies`` with what belongs to it.

    Attributes:
        name: Its name.
        directions: Objective and direction of its values.
        attributes: JSON texts of its user attributes.
        metric_names: JSON text of what its values are called.
        trials: How many it has.
    """

    name: str
    directions: list[tuple[object, object]]
    attributes: dict[str, object]
    metric_names: object
    trials: int


def select_raw_studies(connection: Connection, campaign: str) -> list[RawStudy]:
    """All studies under a campaign's prefix but summaries, in order of their ids."""
    of = under_campaign(campaign)
    directions: dict[int, list[tuple[object, object]]] = defaultdict(list)
    sql = (
        "SELECT d.study_id, d.objective, d.direction FROM study_directions d "
        f"JOIN studies s ON s.study_id = d.study_id WHERE {UNDER_CAMPAIGN}"
    )
    for study_id, objective, direction in connection.execute(sa.text(sql), of):
        directions[study_id].append((objective, direction))
    user = _select_attributes(connection, "study_user_attributes", of)
    system = _select_attributes(connection, "study_system_attributes", of)
    sql = f"SELECT t.study_id, count(*) FROM {TRIALS} WHERE {UNDER_CAMPAIGN} GROUP BY t.study_id"
    trials = {row[0]: row[1] for row in connection.execute(sa.text(sql), of)}
    return [
        RawStudy(name, directions[i], user[i], system[i].get(METRIC_NAMES_KEY), trials.get(i, 0))
        for i, name in select_names(connection, campaign)
    ]


def describe_study(plan: StudyPlan, planned_as: str | None) -> dict[str, object]:
    """The user attributes of a planned study; without a hash where older versions planned."""
    found: dict[str, object] = {
        CAMPAIGN_KEY: plan.campaign,
        PARTITION_KEY: plan.partition,
        STAGE_KEY: plan.stage,
        # A study that has no pair has neither key.
        TEACHER_KEY: plan.teacher,
        STUDENT_KEY: plan.student,
        PLANNED_AS_KEY: planned_as,
    }
    return {key: value for key, value in found.items() if value is not None}


def _select_attributes(
    connection: Connection, table: str, of: dict[str, object]
) -> dict[int, dict[str, object]]:
    sql = (
        f"SELECT a.study_id, a.key, a.value_json FROM {table} a "
        f"JOIN studies s ON s.study_id = a.study_id WHERE {UNDER_CAMPAIGN}"
    )
    found: dict[int, dict[str, object]] = defaultdict(dict)
    for study_id, key, text in connection.execute(sa.text(sql), of):
        found[study_id][key] = text
    return found
