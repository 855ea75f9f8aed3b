"""The SQL of merging: what rows recorded, and trials ended as elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import Param, Params
from kdopt.store.attributes import (
    KEPT_KEY,
    OTHER_WEIGHTS_KEY,
    OUTCOME_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STATE_KEY,
    drop_saved_states,
    write_attributes,
)
from kdopt.store.database import Store
from kdopt.store.params import list_param_rows
from kdopt.store.queries import Row
from kdopt.store.reading import UnreadableError, parse_outcome, refuse_trial
from kdopt.store.statements import bind_lists, execute_many, insert_rows

_OF_THE_ROW = (RETRY_OF_KEY, RETRIED_KEY, STATE_KEY, KEPT_KEY)
"""Attributes that belong to a row of one store and mean nothing in another."""

_RESULTS = bind_lists(
    "SELECT t.trial_id, s.study_name, t.number, a.value_json "
    "FROM trials t JOIN studies s ON s.study_id = t.study_id "
    "LEFT JOIN trial_user_attributes a "
    f"ON a.trial_id = t.trial_id AND a.key = '{OUTCOME_KEY}' "
    "WHERE t.study_id IN :studies AND t.state = 'COMPLETE'",
    "studies",
)
_TIMES = bind_lists(
    "SELECT t.trial_id, s.study_name, t.number, t.datetime_start, t.datetime_complete "
    "FROM trials t JOIN studies s ON s.study_id = t.study_id WHERE t.trial_id IN :trials",
    "trials",
)
_VALUES = bind_lists(
    "SELECT trial_id, objective, value, value_type FROM trial_values "
    "WHERE trial_id IN :trials ORDER BY trial_value_id",
    "trials",
)
_ATTRIBUTES = bind_lists(
    "SELECT trial_id, key, value_json FROM trial_user_attributes "
    "WHERE trial_id IN :trials ORDER BY trial_user_attribute_id",
    "trials",
)
_STEPS = bind_lists(
    "SELECT trial_id, step, intermediate_value, intermediate_value_type "
    "FROM trial_intermediate_values WHERE trial_id IN :trials ORDER BY step",
    "trials",
)
# In order of their ids: two that lock the same rows in two orders would wait for each other.
_LOCK_STUDIES = bind_lists(
    "SELECT study_id FROM studies WHERE study_id IN :studies ORDER BY study_id FOR UPDATE",
    "studies",
)
_LOCK_LEASES = bind_lists(
    "SELECT l.trial_id FROM kdopt_lease l JOIN trials t ON t.trial_id = l.trial_id "
    "WHERE t.state = 'RUNNING' AND t.study_id IN :studies ORDER BY l.trial_id FOR UPDATE OF l",
    "studies",
)


class Ending(NamedTuple):
    """What an ended trial recorded, as its database holds it.

    Attributes:
        started: When it was claimed, naive, in UTC.
        completed: When it ended, naive, in UTC.
        values: Its values, as columns of ``trial_values``.
        attributes: JSON by key.
        steps: Its intermediate values, as columns of ``trial_intermediate_values``.
    """

    started: datetime | None
    completed: datetime | None
    values: list[dict[str, object]]
    attributes: dict[str, str]
    steps: list[dict[str, object]]


class EndedRow(NamedTuple):
    """A row to be ended.

    Attributes:
        row: Ours.
        state: ``COMPLETE`` or ``FAIL``.
        ending: What it is to record.
        params: The cell to give to an open trial, else empty.
        space: The search space of its study.
        mixed: Whether it rests on other weights than this store's.
    """

    row: Row
    state: str
    ending: Ending
    params: Params
    space: Mapping[str, Param]
    mixed: bool


def add_results(connection: Connection, found: Mapping[int, Sequence[Row]]) -> dict[int, list[Row]]:
    """The same rows by study, complete ones with what they recorded.

    Raises:
        StoreError: What one of them recorded cannot be read.
    """
    texts = {}
    for trial_id, study, number, text in connection.execute(_RESULTS, {"studies": list(found)}):
        try:
            parse_outcome(text)
        except UnreadableError as error:
            raise refuse_trial(study, number, OUTCOME_KEY, error) from error
        texts[trial_id] = text
    return {
        study: [
            replace(row, result=texts[row.trial_id]) if row.state == "COMPLETE" else row
            for row in rows
        ]
        for study, rows in found.items()
    }


def read_endings(connection: Connection, trials: Sequence[int]) -> dict[int, Ending]:
    """What ended trials recorded; a trial that ended never changes.

    Raises:
        StoreError: A time cannot be read, or a trial's value is not that of its record.
    """
    of = {"trials": list(trials)}
    found, names = {}, {}
    for trial, study, number, *times in connection.execute(_TIMES, of):
        try:
            started, completed = map(_read_time, times)
        except (ValueError, TypeError) as error:
            raise refuse_trial(study, number, "datetime_start, datetime_complete", error) from error
        found[trial] = Ending(started, completed, [], {}, [])
        names[trial] = (study, number)
    for row in connection.execute(_VALUES, of):
        found[row.trial_id].values.append(row._asdict())
    for trial, key, text in connection.execute(_ATTRIBUTES, of):
        if key not in _OF_THE_ROW:
            found[trial].attributes[key] = text
    for row in connection.execute(_STEPS, of):
        found[row.trial_id].steps.append(row._asdict())
    for trial, ending in found.items():
        text = ending.attributes.get(OUTCOME_KEY)
        recorded = [] if text is None else [parse_outcome(text).value]
        if [value["value"] for value in ending.values] != recorded:
            raise refuse_trial(*names[trial], "value", "it is not that of its record")
    return found


def _read_time(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value)  # type: ignore[arg-type]


def lock_studies(store: Store, connection: Connection, studies: Sequence[int]) -> None:
    """Keep everybody from claiming, ending or adding trials of these studies until the end.

    On SQLite a transaction that writes is alone anyway. On Postgres what is locked, and in which
    order, is what planners and retries lock (the table), then claims (the study), then workers and
    reapers (the leases of what runs).
    """
    store.lock_planning(connection)
    if store.dialect == "postgresql":
        for lock in (_LOCK_STUDIES, _LOCK_LEASES):
            connection.execute(lock, {"studies": list(studies)})


def end_rows(connection: Connection, ended: Sequence[EndedRow]) -> None:
    """Write endings; the leases of trials that run are taken from their workers.

    Raises:
        RuntimeError: A row is not to be ended any more, which :func:`lock_studies` rules out.
    """
    running = [{"trial": e.row.trial_id} for e in ended if e.row.state == "RUNNING"]
    execute_many(connection, "UPDATE kdopt_lease SET worker = '' WHERE trial_id = :trial", running)
    # Steps that our run reported, before those of the run that is taken over.
    execute_many(
        connection, "DELETE FROM trial_intermediate_values WHERE trial_id = :trial", running
    )
    drop_saved_states(connection, [e.row.trial_id for e in ended if e.row.saved])
    for state in ("COMPLETE", "FAIL"):
        _set_state(connection, state, [e for e in ended if e.state == state])
    given = [
        line
        for e in ended
        if e.params
        for line in list_param_rows(e.row.trial_id, e.params, e.space)
    ]
    insert_rows(connection, "trial_params", given)
    values = [{**v, "trial_id": e.row.trial_id} for e in ended for v in e.ending.values]
    insert_rows(connection, "trial_values", values)
    steps = [{**s, "trial_id": e.row.trial_id} for e in ended for s in e.ending.steps]
    insert_rows(connection, "trial_intermediate_values", steps)
    mixed = {OTHER_WEIGHTS_KEY: json.dumps(True)}
    texts = {e.row.trial_id: e.ending.attributes | (mixed if e.mixed else {}) for e in ended}
    # They are JSON already, and stay as the other store wrote them.
    write_attributes(connection, "trial_user_attributes", texts, encode=str)


def _set_state(connection: Connection, state: str, ended: Sequence[EndedRow]) -> None:
    if not ended:
        return
    # Typed, or SQLite would get the times in another form than Optuna's.
    sql = sa.text(
        f"UPDATE trials SET state = '{state}', datetime_start = :started, "
        "datetime_complete = :completed "
        "WHERE trial_id = :trial AND state IN ('WAITING', 'RUNNING')"
    ).bindparams(
        sa.bindparam("started", type_=sa.DateTime), sa.bindparam("completed", type_=sa.DateTime)
    )
    lines = [
        {"trial": e.row.trial_id, "started": e.ending.started, "completed": e.ending.completed}
        for e in ended
    ]
    changed = connection.execute(sql, lines).rowcount
    if changed != len(lines):
        raise RuntimeError("trials ended while they were held")
