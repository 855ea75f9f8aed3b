"""Read the store: the campaigns, a campaign's record, its studies' counts and its trials.

What changes from second to second is in :mod:`kdopt.store.activity`.

Plain SQL and ``json.loads``: a campaign of 24,750 trials is read in about a second, where
Optuna's own objects take six to ten.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import sqlalchemy as sa

from kdopt.campaign.names import INDEX_SUFFIX, StudyName, parse_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.studies import ParamValue
from kdopt.errors import StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.store.attributes import (
    ERROR_KEY,
    OUTCOME_KEY,
    RECORD_KEY,
    RETRIED_KEY,
    read_campaign_attribute,
)
from kdopt.store.database import Store
from kdopt.store.params import read_params


class StudyCounts(NamedTuple):
    """How far one study is: its trials by state."""

    study_id: int
    name: StudyName
    text: str
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


def list_campaigns(store: Store) -> list[str]:
    """Names of the campaigns in the store, sorted."""
    sql = sa.text("SELECT study_name FROM studies WHERE study_name LIKE '%/campaign'")

    def read() -> list[str]:
        with store.read() as connection:
            names = connection.execute(sql).scalars().all()
        return sorted(n.removesuffix("/campaign") for n in names if n.count("/") == 1)

    return store.retry(read)


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
    sql = sa.text(
        "SELECT s.study_id, s.study_name, t.state, count(*) AS n FROM studies s "
        f"JOIN trials t ON t.study_id = s.study_id WHERE {OF_CAMPAIGN} AND {LIVE} "
        "GROUP BY s.study_id, s.study_name, t.state ORDER BY s.study_id"
    )

    def read() -> list[StudyCounts]:
        counts: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
        with store.read() as connection:
            for study_id, name, state, n in connection.execute(sql, of_campaign(campaign)):
                counts[study_id, name][str(state)] = n
        return [
            StudyCounts(
                study_id,
                parse_study_name(name),
                name,
                *(by_state.get(s, 0) for s in ("WAITING", "RUNNING", "COMPLETE", "FAIL")),
            )
            for (study_id, name), by_state in counts.items()
        ]

    return store.retry(read)


def read_trials(store: Store, campaign: str, study_id: int | None = None) -> list[TrialRow]:
    """All trials of a campaign, or of one of its studies, in order of planning."""
    one = "" if study_id is None else "AND s.study_id = :study"
    sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_id, s.study_name, t.number, t.state,
               m.value_json AS metrics, e.value_json AS error
        FROM trials t JOIN studies s ON s.study_id = t.study_id
        LEFT JOIN trial_user_attributes m ON m.trial_id = t.trial_id AND m.key = '{OUTCOME_KEY}'
        LEFT JOIN trial_user_attributes e ON e.trial_id = t.trial_id AND e.key = '{ERROR_KEY}'
        WHERE {OF_CAMPAIGN} AND {LIVE} {one} ORDER BY t.trial_id
        """
    )
    values = (
        of_campaign(campaign) if study_id is None else {**of_campaign(campaign), "study": study_id}
    )

    def read() -> list[TrialRow]:
        with store.read() as connection:
            trials = connection.execute(sql, values).all()
            params = read_params(connection, f"{OF_CAMPAIGN} {one}", values)
        return [_make_row(t, params[t.trial_id]) for t in trials]

    return store.retry(read)


def read_raw_trials(store: Store, campaign: str) -> list[RawTrial]:
    """All rows of a campaign, retried ones included, in order of their ids."""
    trials_sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_name, t.number, t.state, l.worker,
               coalesce(l.expires - {store.now}, 0) AS left_s,
               (SELECT count(*) FROM trial_values v WHERE v.trial_id = t.trial_id) AS n_values
        FROM trials t JOIN studies s ON s.study_id = t.study_id
        LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
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

    def read() -> list[RawTrial]:
        attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        with store.read() as connection:
            rows = connection.execute(trials_sql, of_campaign(campaign)).all()
            params = read_params(connection, OF_CAMPAIGN, of_campaign(campaign))
            for trial_id, key, text in connection.execute(attributes_sql, of_campaign(campaign)):
                attributes[trial_id][key] = json.loads(text)
        return [
            RawTrial(
                r.trial_id,
                r.study_name,
                r.number,
                str(r.state),
                params[r.trial_id],
                r.n_values,
                attributes[r.trial_id],
                r.worker,
                float(r.left_s),
            )
            for r in rows
        ]

    return store.retry(read)


# A failed trial that is tried again lives on in the row that tries it (kdopt.store.retry).
LIVE = (
    "(t.state <> 'FAIL' OR NOT EXISTS (SELECT 1 FROM trial_user_attributes x "
    f"WHERE x.trial_id = t.trial_id AND x.key = '{RETRIED_KEY}'))"
)

# Exact, where LIKE would take '_' for any character (and, in SQLite, 'A' for 'a').
# Studies that sum up others are no work and are left out here, for every query.
OF_CAMPAIGN = (
    "substr(s.study_name, 1, :length) = :prefix "
    f"AND substr(s.study_name, length(s.study_name) - {len(INDEX_SUFFIX) - 1}) <> '{INDEX_SUFFIX}'"
)


def of_campaign(campaign: str) -> dict[str, Any]:
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
