"""Read the store: the campaigns, a campaign's record, its studies' counts and its trials.

What changes from second to second is in :mod:`kdopt.store.activity`.

Plain SQL and ``json.loads``: a campaign of 24,750 trials is read in about a second, where
Optuna's own objects take six to ten.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import INDEX_SUFFIX, StudyName, parse_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.studies import Params, ParamValue
from kdopt.errors import StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.store.attributes import (
    ERROR_KEY,
    OTHER_WEIGHTS_KEY,
    OUTCOME_KEY,
    RECORD_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STATE_KEY,
    read_campaign_attribute,
)
from kdopt.store.database import Store
from kdopt.store.params import read_params
from kdopt.store.statements import bind_lists

TRIALS = "trials t JOIN studies s ON s.study_id = t.study_id"
"""SQL for all trials ``t`` with their studies ``s``."""

# Exact, where LIKE would take '_' for any character (and, in SQLite, 'A' for 'a').
# Studies that sum up others are no work and are left out here, for every query.
OF_CAMPAIGN = (
    "substr(s.study_name, 1, :length) = :prefix "
    f"AND substr(s.study_name, length(s.study_name) - {len(INDEX_SUFFIX) - 1}) <> '{INDEX_SUFFIX}'"
)

# A failed trial that is tried again lives on in the row that tries it (kdopt.store.planning).
LIVE = (
    "(t.state <> 'FAIL' OR NOT EXISTS (SELECT 1 FROM trial_user_attributes x "
    f"WHERE x.trial_id = t.trial_id AND x.key = '{RETRIED_KEY}'))"
)

WITH_ERROR = (
    f"LEFT JOIN trial_user_attributes e ON e.trial_id = t.trial_id AND e.key = '{ERROR_KEY}'"
)
"""SQL that adds the reason of a failed trial as ``e.value_json``."""


class StudyCounts(NamedTuple):
    """How far one study is: its trials by state."""

    study_id: int
    name: StudyName
    study: str
    waiting: int
    running: int
    complete: int
    failed: int

    @property
    def total(self) -> int:
        """All trials of the study."""
        return self.waiting + self.running + self.complete + self.failed


class RawTrial(NamedTuple):
    """One row of ``trials`` with what belongs to it.

    Attributes:
        trial_id: Its id.
        study: Study name.
        number: Its number within the study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE`` or ``FAIL``.
        params: Its parameters.
        values: How many values it has.
        attributes: Its user attributes, read from JSON; those of kdopt begin with ``kd:``.
        worker: Who holds its lease; ``None`` without a lease, empty when it was taken back.
        lease_left_s: Seconds until the lease lapses, negative when it has.
    """

    trial_id: int
    study: str
    number: int
    state: str
    params: dict[str, ParamValue]
    values: int
    attributes: dict[str, Any]
    worker: str | None
    lease_left_s: float

    @property
    def retried(self) -> bool:
        """Whether another row tries this failed trial again."""
        return self.state == "FAIL" and RETRIED_KEY in self.attributes

    @property
    def checkpoint(self) -> str | None:
        """sha256 of the weights that the trial kept."""
        return (self.attributes.get(OUTCOME_KEY) or {}).get("checkpoint")


@dataclass(frozen=True)
class Row:
    """One trial of a study, as planning and merging need it.

    Attributes:
        trial_id: Its id.
        number: Its number within the study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE`` or ``FAIL``.
        params: Its parameters; empty for an open trial that was not claimed yet.
        retry_of: The failed trial whose cell it tries again.
        retried: Whether another row tries this failed cell again.
        mixed: Whether it was merged although it rests on other weights than its store's.
        saved: sha256 of the state that it saved last.
        result: The JSON of its outcome, if it is complete and was asked for.
    """

    trial_id: int
    number: int
    state: str
    params: Params
    retry_of: int | None = None
    retried: bool = False
    mixed: bool = False
    saved: str | None = None
    result: str = ""


def make_params_key(params: Params) -> tuple[tuple[str, ParamValue], ...]:
    """A trial's parameters as a dictionary's key, whatever the order they are stored in."""
    return tuple(sorted(params.items()))


def list_campaigns(store: Store) -> list[str]:
    """Names of the campaigns in the store, sorted."""
    rows = store.select_rows("SELECT study_name FROM studies WHERE study_name LIKE '%/campaign'")
    # Studies of other programs may lie in the same database: 'a/b/campaign' is none of ours.
    return sorted(n.removesuffix("/campaign") for (n,) in rows if n.count("/") == 1)


def pick_campaign(store: Store, name: str | None) -> str:
    """The campaign of that name, or the only one of the store.

    Raises:
        StoreError: There is no such campaign, or the store has several and none was named.
    """
    names = list_campaigns(store)
    if name is None and len(names) == 1:
        return names[0]
    known = ", ".join(names) if names else "none"
    if name is None:
        raise StoreError(
            f"store {store.label}: which campaign? it has: {known}; "
            + ("name one with --campaign" if names else "run 'kdopt plan SPEC' first")
        )
    if name not in names:
        raise StoreError(
            f"store {store.label}: no campaign '{name}'; it has: {known}; "
            "give one of these, or run 'kdopt plan SPEC' first"
        )
    return name


def read_record(store: Store, campaign: str) -> CampaignRecord:
    """The resolved spec of a campaign, as it was planned last."""
    found = read_campaign_attribute(store, campaign, RECORD_KEY)
    if found is None:
        raise StoreError(f"store {store.label}: no campaign '{campaign}'")
    return CampaignRecord.from_json(found)


def read_study_counts(store: Store, campaign: str) -> list[StudyCounts]:
    """Every study of a campaign and how far it is, in order of planning."""
    rows = store.select_rows(
        f"SELECT s.study_id, s.study_name, t.state, count(*) FROM {TRIALS} "
        f"WHERE {OF_CAMPAIGN} AND {LIVE} "
        "GROUP BY s.study_id, s.study_name, t.state ORDER BY s.study_id",
        of_campaign(campaign),
    )
    counts: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for study_id, name, state, n in rows:
        counts[study_id, name][state] = n
    states = ("WAITING", "RUNNING", "COMPLETE", "FAIL")
    return [
        StudyCounts(study_id, parse_study_name(name), name, *(n.get(s, 0) for s in states))
        for (study_id, name), n in counts.items()
    ]


def read_trials(store: Store, campaign: str, study_id: int | None = None) -> list[TrialRow]:
    """All trials of a campaign, or of one of its studies, in order of planning."""
    where, values = OF_CAMPAIGN, of_campaign(campaign)
    if study_id is not None:
        where, values = f"{where} AND s.study_id = :study", {**values, "study": study_id}
    sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_name, t.number, t.state,
               m.value_json AS metrics, e.value_json AS error
        FROM {TRIALS} {WITH_ERROR}
        LEFT JOIN trial_user_attributes m ON m.trial_id = t.trial_id AND m.key = '{OUTCOME_KEY}'
        WHERE {where} AND {LIVE} ORDER BY t.trial_id
        """
    )

    def read(connection: Connection) -> list[TrialRow]:
        trials = connection.execute(sql, values).all()
        params = read_params(connection, where, values)
        return [_make_row(t, params[t.trial_id]) for t in trials]

    return store.run_read(read)


def read_raw_trials(store: Store, campaign: str) -> list[RawTrial]:
    """All rows of a campaign, retried ones included, in order of their ids."""
    values = of_campaign(campaign)
    trials_sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_name, t.number, t.state, l.worker,
               coalesce(l.expires - {store.now}, 0) AS left_s,
               (SELECT count(*) FROM trial_values v WHERE v.trial_id = t.trial_id) AS n_values
        FROM {TRIALS} LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
        WHERE {OF_CAMPAIGN} ORDER BY t.trial_id
        """
    )
    attributes_sql = sa.text(
        f"""
        SELECT x.trial_id, x.key, x.value_json FROM trial_user_attributes x
        JOIN trials t ON t.trial_id = x.trial_id JOIN studies s ON s.study_id = t.study_id
        WHERE {OF_CAMPAIGN} ORDER BY x.trial_user_attribute_id
        """
    )

    def read(connection: Connection) -> list[RawTrial]:
        params = read_params(connection, OF_CAMPAIGN, values)
        attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        for trial_id, key, text in connection.execute(attributes_sql, values):
            attributes[trial_id][key] = json.loads(text)
        return [
            RawTrial(i, study, number, state, params[i], n, attributes[i], worker, float(left_s))
            for i, study, number, state, worker, left_s, n in connection.execute(trials_sql, values)
        ]

    return store.run_read(read)


def read_rows(
    connection: Connection, where: str, values: Mapping[str, object], *lists: str
) -> dict[int, list[Row]]:
    """The rows of every study that a condition chooses, by study, in order of their ids.

    Arguments as :func:`kdopt.store.params.read_params`. Results are left out, being large.
    """
    params = read_params(connection, where, values, *lists)
    marks: dict[int, dict[str, Any]] = defaultdict(dict)
    keys = (RETRY_OF_KEY, RETRIED_KEY, OTHER_WEIGHTS_KEY, STATE_KEY)
    marked = bind_lists(
        "SELECT x.trial_id, x.key, x.value_json FROM trial_user_attributes x "
        "JOIN trials t ON t.trial_id = x.trial_id JOIN studies s ON s.study_id = t.study_id "
        f"WHERE x.key IN :keys AND {where}",
        "keys",
        *lists,
    )
    for trial_id, key, text in connection.execute(marked, {**values, "keys": keys}):
        marks[trial_id][key] = json.loads(text)
    listed = bind_lists(
        f"SELECT t.trial_id, t.study_id, t.number, t.state FROM {TRIALS} "
        f"WHERE {where} ORDER BY t.trial_id",
        *lists,
    )
    found: dict[int, list[Row]] = defaultdict(list)
    for trial_id, study_id, number, state in connection.execute(listed, values):
        mark = marks[trial_id]
        row = Row(
            trial_id,
            number,
            state,
            params[trial_id],
            retry_of=mark.get(RETRY_OF_KEY),
            retried=RETRIED_KEY in mark,
            mixed=OTHER_WEIGHTS_KEY in mark,
            saved=mark.get(STATE_KEY, {}).get("sha256"),
        )
        found[study_id].append(row)
    return found


def read_study_ids(connection: Connection, campaign: str) -> dict[str, int]:
    """The studies of a campaign that hold work, by name; also its own, without trials."""
    sql = sa.text(f"SELECT s.study_name, s.study_id FROM studies s WHERE {OF_CAMPAIGN}")
    return {row.study_name: row.study_id for row in connection.execute(sql, of_campaign(campaign))}


def of_campaign(campaign: str) -> dict[str, object]:
    """The values that :data:`OF_CAMPAIGN` is bound to."""
    prefix = f"{campaign}/"
    return {"prefix": prefix, "length": len(prefix)}


def reason_of(error: str | None) -> str:
    """The reason of a failed trial, of the JSON that its row has."""
    return str(json.loads(error)) if error else "no reason recorded"


def _make_row(trial: Any, params: dict[str, ParamValue]) -> TrialRow:
    name = parse_study_name(trial.study_name)
    return TrialRow(
        study=trial.study_name,
        partition=name.partition,
        stage=name.stage,
        teacher=name.teacher,
        student=name.student,
        number=trial.number,
        state=trial.state,
        params=params,
        outcome=Outcome.from_json(json.loads(trial.metrics)) if trial.metrics else None,
        error=reason_of(trial.error) if trial.state == "FAIL" else None,
    )
