"""Write a campaign's studies and trials into the store: in bulk, in one transaction, once.

Planning the same campaign again adds nothing; planning a grown one adds what is new. A planned
trial is a WAITING row with its parameters; an open trial (adaptive samplers) is a WAITING row
without any. Rows are never deleted and never reset.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.compatibility import check_same_meaning, unite_records
from kdopt.campaign.names import campaign_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, ParamValue, StudyPlan
from kdopt.store.attributes import (
    CAMPAIGN_KEY,
    METRIC_NAMES_KEY,
    PARTITION_KEY,
    RECORD_KEY,
    RETRIED_KEY,
    STAGE_KEY,
    STUDENT_KEY,
    TEACHER_KEY,
)
from kdopt.store.database import Store
from kdopt.store.params import decode_value, list_param_rows


class Planned(NamedTuple):
    """What a planning call found and added."""

    studies: int
    trials: int
    new_studies: int
    new_trials: int


def write_plan(
    store: Store, record: CampaignRecord, studies: Callable[[Campaign], Sequence[StudyPlan]]
) -> Planned:
    """Bring the store up to a campaign, grown by what was planned under its name before.

    Args:
        store: The store.
        record: The campaign.
        studies: The studies of a campaign.

    Raises:
        StoreError: The store has a campaign of that name whose trials mean something else.
    """
    return store.retry(lambda: _write_plan(store, record, studies))


def _write_plan(
    store: Store, record: CampaignRecord, studies: Callable[[Campaign], Sequence[StudyPlan]]
) -> Planned:
    with store.write() as connection:
        tables = _Tables(connection)
        if store.dialect == "postgresql":
            # Two planners at once would each count a study's trials before either has added any.
            connection.execute(sa.text("LOCK TABLE studies IN SHARE ROW EXCLUSIVE MODE"))
        plans = studies(_write_record(connection, tables, record).campaign)
        known = _read_study_ids(connection, tables)
        new = [p for p in plans if p.name not in known]
        added = _insert_studies(connection, tables, new)
        present = _read_present_trials(
            connection, tables, [known[p.name] for p in plans if p.name in known]
        )
        trials = []
        for plan in plans:
            study_id = added.get(plan.name) or known[plan.name]
            trials += _list_missing_trials(plan, study_id, present.get(study_id, []))
        _insert_trials(connection, tables, trials)
    return Planned(len(plans), sum(p.n_trials for p in plans), len(new), len(trials))


class _Tables:
    """Optuna's tables as they are in this database (Postgres needs its enum types by name)."""

    def __init__(self, connection: Connection) -> None:
        metadata = sa.MetaData()
        names = (
            "studies",
            "study_directions",
            "study_user_attributes",
            "study_system_attributes",
            "trials",
            "trial_params",
        )
        metadata.reflect(connection, only=names)
        self.studies = metadata.tables["studies"]
        self.directions = metadata.tables["study_directions"]
        self.user_attributes = metadata.tables["study_user_attributes"]
        self.system_attributes = metadata.tables["study_system_attributes"]
        self.trials = metadata.tables["trials"]
        self.params = metadata.tables["trial_params"]


class _NewTrial(NamedTuple):
    plan: StudyPlan
    study_id: int
    number: int
    params: Params | None


class _PresentTrial(NamedTuple):
    """A trial that a study has already; the cell of an open one is empty."""

    params: dict[str, ParamValue]
    failed: bool
    retried: bool


def _write_record(
    connection: Connection, tables: _Tables, record: CampaignRecord
) -> CampaignRecord:
    name = campaign_study_name(record.campaign.name)
    attributes = tables.user_attributes
    found = connection.execute(
        sa.select(attributes.c.study_user_attribute_id, attributes.c.value_json)
        .join(tables.studies, tables.studies.c.study_id == attributes.c.study_id)
        .where(tables.studies.c.study_name == name, attributes.c.key == RECORD_KEY)
    ).first()
    if found is None:
        study_id = _insert_study_rows(connection, tables, [name])[name]
        text = json.dumps(record.to_json())
        connection.execute(
            attributes.insert().values(study_id=study_id, key=RECORD_KEY, value_json=text)
        )
        return record
    before = CampaignRecord.from_json(json.loads(found.value_json))
    check_same_meaning(before, record)
    merged = unite_records(before, record)
    connection.execute(
        attributes.update()
        .where(attributes.c.study_user_attribute_id == found.study_user_attribute_id)
        .values(value_json=json.dumps(merged.to_json()))
    )
    return merged


def _read_study_ids(connection: Connection, tables: _Tables) -> dict[str, int]:
    rows = connection.execute(sa.select(tables.studies.c.study_name, tables.studies.c.study_id))
    return {row.study_name: row.study_id for row in rows}


def _insert_study_rows(
    connection: Connection, tables: _Tables, names: Iterable[str]
) -> dict[str, int]:
    rows = [{"study_name": name} for name in names]
    if not rows:
        return {}
    insert = tables.studies.insert().returning(
        tables.studies.c.study_id, sort_by_parameter_order=True
    )
    ids = connection.execute(insert, rows).scalars().all()
    connection.execute(
        tables.directions.insert(),
        [{"direction": "MAXIMIZE", "study_id": i, "objective": 0} for i in ids],
    )
    return {row["study_name"]: study_id for row, study_id in zip(rows, ids, strict=True)}


def _insert_studies(
    connection: Connection, tables: _Tables, plans: Sequence[StudyPlan]
) -> dict[str, int]:
    ids = _insert_study_rows(connection, tables, [p.name for p in plans])
    attributes: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    for plan in plans:
        values = {
            CAMPAIGN_KEY: plan.campaign,
            PARTITION_KEY: plan.partition,
            STAGE_KEY: plan.stage,
            TEACHER_KEY: plan.teacher,
            STUDENT_KEY: plan.student,
        }
        attributes += [
            {"study_id": ids[plan.name], "key": key, "value_json": json.dumps(value)}
            for key, value in values.items()
            if value is not None
        ]
        names.append(
            {
                "study_id": ids[plan.name],
                "key": METRIC_NAMES_KEY,
                "value_json": json.dumps([plan.objective]),
            }
        )
    if plans:
        connection.execute(tables.user_attributes.insert(), attributes)
        connection.execute(tables.system_attributes.insert(), names)
    return ids


def _read_present_trials(
    connection: Connection, tables: _Tables, study_ids: Sequence[int]
) -> dict[int, list[_PresentTrial]]:
    """Every trial of the given studies, in order of their numbers."""
    out: dict[int, list[_PresentTrial]] = defaultdict(list)
    wanted = set(study_ids)
    if not wanted:
        return out
    trials, params = tables.trials.c, tables.params.c
    retried = set(
        connection.execute(
            sa.text("SELECT trial_id FROM trial_user_attributes WHERE key = :key"),
            {"key": RETRIED_KEY},
        ).scalars()
    )
    rows = connection.execute(
        sa.select(
            trials.study_id,
            trials.trial_id,
            trials.state,
            params.param_name,
            params.param_value,
            params.distribution_json,
        )
        .select_from(tables.trials.outerjoin(tables.params))
        .order_by(trials.trial_id)
    )
    last = None
    for study_id, trial_id, state, name, value, distribution in rows:
        if study_id not in wanted:
            continue
        if trial_id != last:
            out[study_id].append(_PresentTrial({}, str(state) == "FAIL", trial_id in retried))
            last = trial_id
        if name is not None:
            out[study_id][-1].params[name] = decode_value(value, distribution)
    return out


def _list_missing_trials(
    plan: StudyPlan, study_id: int, present: Sequence[_PresentTrial]
) -> list[_NewTrial]:
    """What a study lacks: planned cells that no row has, then open trials up to the number.

    Every row beyond the planned cells is, or was, an open trial. One that failed before it got a
    cell was never a result of anything and is planned again. Rows that are tried again in another
    row do not count.
    """
    planned = {_key(c) for c in plan.cells}
    live = [p for p in present if not p.retried]
    have = {_key(p.params) for p in live if p.params}
    lost = sum(p.failed and not p.params for p in live)
    n_open = len(live) - len(planned & have) - lost
    cells: list[Params | None] = [c for c in plan.cells if _key(c) not in have]
    cells += [None] * max(0, plan.open_trials - n_open)
    return [_NewTrial(plan, study_id, len(present) + i, params) for i, params in enumerate(cells)]


def _key(params: Params) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))


def _insert_trials(connection: Connection, tables: _Tables, new: Sequence[_NewTrial]) -> None:
    if not new:
        return
    insert = tables.trials.insert().returning(
        tables.trials.c.trial_id, sort_by_parameter_order=True
    )
    ids = connection.execute(
        insert,
        [{"number": t.number, "study_id": t.study_id, "state": "WAITING"} for t in new],
    ).scalars()
    rows: list[dict[str, Any]] = []
    for trial, trial_id in zip(new, ids, strict=True):
        if trial.params is not None:
            rows += list_param_rows(trial_id, trial.params, trial.plan.space)
    if rows:
        connection.execute(tables.params.insert(), rows)
