"""The SQL of merging: rows of studies as the rules want them, and trials ended as elsewhere."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import Param, Params
from kdopt.store.attributes import (
    OTHER_WEIGHTS_KEY,
    OUTCOME_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STATE_KEY,
)
from kdopt.store.database import Store
from kdopt.store.merge.rules import Row
from kdopt.store.params import list_param_rows, read_params
from kdopt.store.queries import OF_CAMPAIGN, of_campaign
from kdopt.store.statements import bind_lists, execute_many, insert_rows

_OF_THE_ROW = (RETRY_OF_KEY, RETRIED_KEY, STATE_KEY)
"""Attributes that belong to a row of one store and mean nothing in another."""


_TRIALS = bind_lists(
    "SELECT trial_id, study_id, number, state FROM trials "
    "WHERE study_id IN :studies ORDER BY trial_id",
    "studies",
)
_ATTRIBUTES = bind_lists(
    "SELECT a.trial_id, a.key, a.value_json FROM trial_user_attributes a "
    "JOIN trials t ON t.trial_id = a.trial_id "
    "WHERE t.study_id IN :studies AND a.key IN :keys",
    "studies",
    "keys",
)
_TIMES = bind_lists(
    "SELECT trial_id, datetime_start, datetime_complete FROM trials WHERE trial_id IN :trials",
    "trials",
).columns(trial_id=sa.Integer(), datetime_start=sa.DateTime(), datetime_complete=sa.DateTime())
_VALUES = bind_lists(
    "SELECT trial_id, objective, value, value_type FROM trial_values "
    "WHERE trial_id IN :trials ORDER BY trial_value_id",
    "trials",
)
_ALL_ATTRIBUTES = bind_lists(
    "SELECT trial_id, key, value_json FROM trial_user_attributes "
    "WHERE trial_id IN :trials ORDER BY trial_user_attribute_id",
    "trials",
)
_STEPS = bind_lists(
    "SELECT trial_id, step, intermediate_value, intermediate_value_type "
    "FROM trial_intermediate_values WHERE trial_id IN :trials ORDER BY step",
    "trials",
)
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
    values: list[dict[str, Any]]
    attributes: dict[str, str]
    steps: list[dict[str, Any]]


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


@contextlib.contextmanager
def snapshot(store: Store) -> Iterator[Connection]:
    """Several SELECTs that see one moment, on Postgres too."""
    connection = store.engine.connect()
    if store.dialect == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    with connection, connection.begin():
        yield connection


def read_study_ids(connection: Connection, campaign: str) -> dict[str, int]:
    """The studies of a campaign that hold work, by name."""
    sql = sa.text(f"SELECT s.study_name, s.study_id FROM studies s WHERE {OF_CAMPAIGN}")
    return {row.study_name: row.study_id for row in connection.execute(sql, of_campaign(campaign))}


def read_rows(connection: Connection, studies: Sequence[int]) -> dict[int, list[Row]]:
    """All rows of studies by study, in order of their ids, without their results."""
    of = {"studies": list(studies)}
    params = read_params(connection, "t.study_id IN :studies", of, "studies")
    marks: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, key, text in connection.execute(
        _ATTRIBUTES, {**of, "keys": [*_OF_THE_ROW, OTHER_WEIGHTS_KEY]}
    ).all():
        marks[trial][key] = json.loads(text)
    found: dict[int, list[Row]] = {study: [] for study in studies}
    for trial, study, number, state in connection.execute(_TRIALS, of).all():
        mark = marks.get(trial, {})
        found[study].append(
            Row(
                trial,
                number,
                str(state),
                params[trial],
                retry_of=mark.get(RETRY_OF_KEY),
                retried=RETRIED_KEY in mark,
                mixed=OTHER_WEIGHTS_KEY in mark,
                saved=mark.get(STATE_KEY, {}).get("sha256"),
            )
        )
    return found


def with_results(
    connection: Connection, found: Mapping[int, Sequence[Row]]
) -> dict[int, list[Row]]:
    """The same rows, complete ones with what they recorded."""
    lines = connection.execute(_ATTRIBUTES, {"studies": list(found), "keys": [OUTCOME_KEY]}).all()
    texts = {trial: text for trial, _, text in lines}
    return {
        study: [
            replace(row, result=texts[row.trial_id]) if row.state == "COMPLETE" else row
            for row in listed
        ]
        for study, listed in found.items()
    }


def read_endings(connection: Connection, trials: Sequence[int]) -> dict[int, Ending]:
    """What ended trials recorded; a trial that ended never changes."""
    of = {"trials": list(trials)}
    found = {
        trial: Ending(started, completed, [], {}, [])
        for trial, started, completed in connection.execute(_TIMES, of)
    }
    for trial, objective, value, kind in connection.execute(_VALUES, of).all():
        found[trial].values.append({"objective": objective, "value": value, "value_type": kind})
    for trial, key, text in connection.execute(_ALL_ATTRIBUTES, of):
        if key not in _OF_THE_ROW:
            found[trial].attributes[key] = text
    for trial, step, value, kind in connection.execute(_STEPS, of).all():
        found[trial].steps.append(
            {"step": step, "intermediate_value": value, "intermediate_value_type": kind}
        )
    return found


def hold(store: Store, connection: Connection, studies: Sequence[int]) -> None:
    """Keep everybody from claiming, ending or adding trials of these studies until the end.

    On SQLite a transaction that writes is alone anyway. On Postgres what is locked, and in which
    order, is what planners and retries lock (the table), then claims (the study), then workers and
    reapers (the leases of what runs).
    """
    if store.dialect == "postgresql":
        connection.execute(sa.text("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE"))
        for lock in (_LOCK_STUDIES, _LOCK_LEASES):
            connection.execute(lock, {"studies": list(studies)})


def end_rows(connection: Connection, ended: Sequence[EndedRow]) -> None:
    """Write endings; the leases of trials that run are taken from their workers.

    Raises:
        RuntimeError: A row is not to be ended any more, which :func:`hold` rules out.
    """
    rows = [e.row for e in ended]
    running = [{"trial": row.trial_id} for row in rows if row.state == "RUNNING"]
    execute_many(connection, "UPDATE kdopt_lease SET worker = '' WHERE trial_id = :trial", running)
    execute_many(
        connection, "DELETE FROM trial_intermediate_values WHERE trial_id = :trial", running
    )
    saved = [{"trial": row.trial_id, "key": STATE_KEY} for row in rows if row.saved]
    execute_many(
        connection,
        "DELETE FROM trial_user_attributes WHERE trial_id = :trial AND key = :key",
        saved,
    )
    for state in ("COMPLETE", "FAIL"):
        _set_state(connection, state, [e for e in ended if e.state == state])
    _insert_endings(
        connection, "trial_values", [(e, value) for e in ended for value in e.ending.values]
    )
    _insert_endings(
        connection,
        "trial_intermediate_values",
        [(e, step) for e in ended for step in e.ending.steps],
    )
    given = [
        line
        for e in ended
        if e.params
        for line in list_param_rows(e.row.trial_id, e.params, e.space)
    ]
    insert_rows(connection, "trial_params", given)
    _write_attributes(connection, ended)


def _set_state(connection: Connection, state: str, ended: Sequence[EndedRow]) -> None:
    if not ended:
        return
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
        raise RuntimeError(f"{len(lines) - changed} trials ended while they were held")


def _write_attributes(connection: Connection, ended: Sequence[EndedRow]) -> None:
    mixed = {OTHER_WEIGHTS_KEY: json.dumps(True)}
    lines = [
        {"trial": e.row.trial_id, "key": key, "value": value}
        for e in ended
        for key, value in (e.ending.attributes | (mixed if e.mixed else {})).items()
    ]
    execute_many(
        connection,
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
        "VALUES (:trial, :key, :value) "
        "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
        lines,
    )


def _insert_endings(
    connection: Connection, table: str, lines: Sequence[tuple[EndedRow, dict[str, Any]]]
) -> None:
    insert_rows(connection, table, [{"trial_id": e.row.trial_id, **x} for e, x in lines])
