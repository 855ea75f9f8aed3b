"""Write a study that sums others up, for people who browse the store in optuna-dashboard.

Such a study belongs to the browser, not to the work: its name ends in ``/index``, which every
query of :mod:`kdopt.store.queries` leaves out, so no worker, count or check ever meets its trials.
It is written whole, in one transaction, in place of what was published before: whoever reads
meanwhile sees the old one or the new one, and its address in the dashboard stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import INDEX_SUFFIX
from kdopt.campaign.plain import load_json
from kdopt.campaign.studies import Param, Params
from kdopt.store.attributes import VERDICT_KEY, write_attributes
from kdopt.store.database import Store
from kdopt.store.params import list_param_rows
from kdopt.store.statements import TABLES_OF_STUDIES, empty_trials, execute_many

IndexValue = str | int | float

NOTE_KEY = "dashboard:note_str:0"
NOTE_VERSION_KEY = "dashboard:note_ver"
PLOT_KEY = "dashboard:plot_data:{}:0"
"""Where optuna-dashboard looks for notes and figures. It cuts long texts into numbered pieces for
databases with short columns; SQLite and Postgres have none, so piece 0 is all of it."""


class IndexTrial(NamedTuple):
    """One line of the summary: a trial with a value and attributes to sort by.

    Attributes:
        value: The objective, finite.
        params: Its parameters: a value for each of the summary's.
        columns: Plain numbers and texts; numbers are finite.
    """

    value: float
    params: Params
    columns: Mapping[str, IndexValue]


class IndexStudy(NamedTuple):
    """What is published under one name.

    Attributes:
        name: A name that :func:`kdopt.campaign.names.index_study_name` makes.
        objective: What the values of the entries are, with the unit; more is better.
        space: What its entries differ in, one or more: the dashboard divides by their number.
        attributes: User attributes of the study.
        entries: Its lines, which become trials 0, 1, 2, ...
        note: Markdown.
        figures: Plotly figures as JSON text, by element id.
    """

    name: str
    objective: str
    space: Mapping[str, Param]
    attributes: Mapping[str, IndexValue]
    entries: Sequence[IndexTrial]
    note: str
    figures: Mapping[str, str]


class StudyNote(NamedTuple):
    """What people read on a study that holds work.

    Attributes:
        study_id: The study.
        verdict: A few words, for lists.
        note: Markdown; it begins with a heading.
    """

    study_id: int
    verdict: str
    note: str


def write_index_studies(store: Store, summaries: Iterable[IndexStudy]) -> dict[str, int]:
    """Write summaries in place of what was published under their names; nothing else changes.

    Returns:
        Their ids by name.

    Raises:
        ValueError: A name is not that of an index study.
    """
    ids = {}
    for summary in summaries:
        if not summary.name.endswith(INDEX_SUFFIX):
            raise ValueError(f"'{summary.name}' is not the name of an index study")
        ids[summary.name] = store.run_write(partial(_write_index_study, store, summary))
    return ids


def write_study_notes(store: Store, notes: Sequence[StudyNote]) -> int:
    """Write notes on studies, where they say anything new; how many did.

    A note that somebody else wrote, in another dashboard, stays.
    """

    def write(connection: Connection) -> int:
        sql = f"SELECT study_id, value_json FROM study_system_attributes WHERE key = '{NOTE_KEY}'"
        there = {study: _parse_note(text) for study, text in connection.execute(sa.text(sql))}
        verdicts = sa.text(
            f"SELECT study_id FROM study_user_attributes WHERE key = '{VERDICT_KEY}'"
        )
        ours = set(connection.execute(verdicts).scalars())
        new = [
            note
            for note in notes
            if note.note != there.get(note.study_id)
            and (note.study_id in ours or note.study_id not in there)
        ]
        system = {note.study_id: {NOTE_VERSION_KEY: 1, NOTE_KEY: note.note} for note in new}
        write_attributes(connection, "study_system_attributes", system)
        user = {note.study_id: {VERDICT_KEY: note.verdict} for note in new}
        write_attributes(connection, "study_user_attributes", user)
        return len(new)

    return store.run_write(write)


def _parse_note(text: object) -> object:
    try:
        return load_json(text)
    except ValueError:
        return None  # somebody else's, which stays as it is


def list_index_studies(store: Store, campaign: str) -> dict[str, int]:
    """Ids of a campaign's index studies, by name; empty where none was published yet."""
    rows = store.select_rows("SELECT study_name, study_id FROM studies ORDER BY study_id")
    return {
        name: int(study_id)
        for name, study_id in rows
        if name.startswith(f"{campaign}/") and name.endswith(INDEX_SUFFIX)
    }


def _write_index_study(store: Store, summary: IndexStudy, connection: Connection) -> int:
    study_id = _get_study(store, connection, summary.name)
    _write_study(connection, study_id, summary)
    trial_ids = _get_trials(store, connection, study_id, len(summary.entries))
    _write_entries(connection, trial_ids, summary)
    return study_id


def _get_study(store: Store, connection: Connection, name: str) -> int:
    """The id of the study, made if need be and held until the transaction ends."""
    connection.execute(
        sa.text("INSERT INTO studies (study_name) VALUES (:name) ON CONFLICT DO NOTHING"),
        {"name": name},
    )
    found = connection.execute(
        sa.text(f"SELECT study_id FROM studies WHERE study_name = :name {store.row_lock}"),
        {"name": name},
    )
    return int(found.scalar_one())


def _write_study(connection: Connection, study_id: int, summary: IndexStudy) -> None:
    for table in TABLES_OF_STUDIES:
        connection.execute(
            sa.text(f"DELETE FROM {table} WHERE study_id = :study"), {"study": study_id}
        )
    connection.execute(
        sa.text(
            "INSERT INTO study_directions (direction, study_id, objective) "
            "VALUES ('MAXIMIZE', :study, 0)"
        ),
        {"study": study_id},
    )
    system: dict[str, object] = {
        "study:metric_names": [summary.objective],
        NOTE_VERSION_KEY: 1,
        NOTE_KEY: summary.note,
    }
    system |= {PLOT_KEY.format(key): figure for key, figure in summary.figures.items()}
    for table, values in (
        ("study_user_attributes", summary.attributes),
        ("study_system_attributes", system),
    ):
        _insert_attributes(connection, table, "study_id", [(study_id, values)])


def _get_trials(store: Store, connection: Connection, study_id: int, n: int) -> list[int]:
    """The ids of the study's n trials, complete now and bare; rows are kept, added or removed."""
    listed = sa.text("SELECT trial_id FROM trials WHERE study_id = :study ORDER BY trial_id")
    known = list(connection.execute(listed, {"study": study_id}).scalars())
    empty_trials(connection, [study_id])
    execute_many(
        connection, "DELETE FROM trials WHERE trial_id = :trial", [{"trial": i} for i in known[n:]]
    )
    execute_many(
        connection,
        "UPDATE trials SET number = :number, state = 'COMPLETE', "
        f"datetime_start = {store.utc}, datetime_complete = {store.utc} WHERE trial_id = :trial",
        [{"number": number, "trial": trial_id} for number, trial_id in enumerate(known[:n])],
    )
    execute_many(
        connection,
        "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) "
        f"VALUES (:number, :study, 'COMPLETE', {store.utc}, {store.utc})",
        [{"number": number, "study": study_id} for number in range(len(known), n)],
    )
    return list(connection.execute(listed, {"study": study_id}).scalars())


def _write_entries(connection: Connection, trial_ids: Sequence[int], summary: IndexStudy) -> None:
    pairs = list(zip(trial_ids, summary.entries, strict=True))
    execute_many(
        connection,
        "INSERT INTO trial_values (trial_id, objective, value, value_type) "
        "VALUES (:trial, 0, :value, 'FINITE')",
        [{"trial": trial_id, "value": entry.value} for trial_id, entry in pairs],
    )
    execute_many(
        connection,
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
        "VALUES (:trial_id, :param_name, :param_value, :distribution_json)",
        [row for i, entry in pairs for row in list_param_rows(i, entry.params, summary.space)],
    )
    _insert_attributes(
        connection, "trial_user_attributes", "trial_id", [(i, entry.columns) for i, entry in pairs]
    )


def _insert_attributes(
    connection: Connection,
    table: str,
    owner: str,
    values: Iterable[tuple[int, Mapping[str, object]]],
) -> None:
    rows = [
        # NaN is not JSON: it must fail here, not in the reader's browser.
        {"owner": owner_id, "key": key, "value": json.dumps(value, allow_nan=False)}
        for owner_id, attributes in values
        for key, value in attributes.items()
    ]
    sql = f"INSERT INTO {table} ({owner}, key, value_json) VALUES (:owner, :key, :value)"
    execute_many(connection, sql, rows)
