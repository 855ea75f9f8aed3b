"""Write a campaign's studies and trials into the store, and queue failed trials once more.

Planning writes in bulk, in one transaction, once: planning the same campaign again adds nothing,
planning a grown one adds what is new. A planned trial is a WAITING row with its parameters; an
open trial (adaptive samplers) is a WAITING row without any.

Rows are never deleted and never reset. A failed trial is tried again in a new row: processes that
read a finished row keep it for good (Optuna's cache does), and what went wrong stays on record.
The two rows name each other in user attributes, and all that counts trials passes over the failed
one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.compatibility import check_same_meaning, unite_records
from kdopt.campaign.names import campaign_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.store.attributes import (
    CAMPAIGN_KEY,
    METRIC_NAMES_KEY,
    PARTITION_KEY,
    RECORD_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STAGE_KEY,
    STUDENT_KEY,
    TEACHER_KEY,
    select_campaign_attribute,
    write_attributes,
    write_trial_attributes,
)
from kdopt.store.database import Store
from kdopt.store.params import list_param_rows
from kdopt.store.queries import (
    LIVE,
    OF_CAMPAIGN,
    TRIALS,
    WITH_ERROR,
    Row,
    make_params_key,
    of_campaign,
    read_rows,
    read_study_ids,
    reason_of,
)
from kdopt.store.statements import insert_rows


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
    name = record.campaign.name

    def write(connection: Connection) -> Planned:
        store.lock_planning(connection)
        plans = studies(_write_record(connection, record).campaign)
        known = read_study_ids(connection, name)
        present = read_rows(connection, OF_CAMPAIGN, of_campaign(name))
        new = [plan for plan in plans if plan.name not in known]
        ids = known | _insert_studies(connection, name, new)
        trials = [
            trial
            for plan in plans
            for trial in _list_missing_trials(plan, ids[plan.name], present.get(ids[plan.name], []))
        ]
        _insert_trials(connection, name, trials)
        return Planned(len(plans), sum(p.n_trials for p in plans), len(new), len(trials))

    return store.run_write(write)


def requeue_failed_trials(store: Store, campaign: str, reason: str = "") -> list[str]:
    """Queue every failed trial of a campaign once more.

    Args:
        store: The store.
        campaign: The campaign.
        reason: Only failures whose reason holds this text (case does not matter).

    Returns:
        The study of each trial that was queued, in order of planning. Calling again queues
        nothing, until one of them has failed too.
    """
    find = sa.text(
        f"SELECT t.trial_id, t.study_id, s.study_name, e.value_json AS error, "
        "(SELECT count(*) FROM trials o WHERE o.study_id = t.study_id) AS n "
        f"FROM {TRIALS} {WITH_ERROR} "
        f"WHERE t.state = 'FAIL' AND {OF_CAMPAIGN} AND {LIVE} ORDER BY t.trial_id"
    )

    def write(connection: Connection) -> list[str]:
        store.lock_planning(connection)
        numbers: dict[int, int] = {}
        queued = []
        for row in connection.execute(find, of_campaign(campaign)).all():
            # Here and not by LIKE, in which '%' and '_' of a reason would be wildcards.
            if reason.lower() not in (reason_of(row.error) if row.error else "").lower():
                continue
            number = numbers.setdefault(row.study_id, row.n)
            add_copy(connection, row.study_id, row.trial_id, number)
            numbers[row.study_id] += 1
            queued.append(row.study_name)
        return queued

    return store.run_write(write)


def add_copy(connection: Connection, study_id: int, failed_id: int, number: int) -> int:
    """Add the row that tries a failed trial's parameters again, as the study's trial ``number``.

    Returns:
        Its id.
    """
    new_id: int = connection.execute(
        sa.text(
            "INSERT INTO trials (number, study_id, state) VALUES (:number, :study, 'WAITING') "
            "RETURNING trial_id"
        ),
        {"number": number, "study": study_id},
    ).scalar_one()
    connection.execute(
        sa.text(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
            "SELECT :new, param_name, param_value, distribution_json FROM trial_params "
            "WHERE trial_id = :old ORDER BY param_id"
        ),
        {"new": new_id, "old": failed_id},
    )
    write_trial_attributes(connection, new_id, {RETRY_OF_KEY: failed_id})
    write_trial_attributes(connection, failed_id, {RETRIED_KEY: new_id})
    return new_id


class _NewTrial(NamedTuple):
    plan: StudyPlan
    study_id: int
    number: int
    params: Params | None


def _write_record(connection: Connection, record: CampaignRecord) -> CampaignRecord:
    """Write the union of this campaign and what was planned under its name before."""
    name = record.campaign.name
    study = campaign_study_name(name)
    found = select_campaign_attribute(connection, name, RECORD_KEY)
    if found is None:
        _insert_study_rows(connection, name, [study])
    else:
        before = CampaignRecord.from_json(found)
        check_same_meaning(before, record)
        record = unite_records(before, record)
    values = {read_study_ids(connection, name)[study]: {RECORD_KEY: record.to_json()}}
    write_attributes(connection, "study_user_attributes", values)
    return record


def _insert_study_rows(
    connection: Connection, campaign: str, names: Sequence[str]
) -> dict[str, int]:
    insert_rows(connection, "studies", [{"study_name": name} for name in names])
    known = read_study_ids(connection, campaign)
    ids = {name: known[name] for name in names}
    directions = [{"direction": "MAXIMIZE", "study_id": i, "objective": 0} for i in ids.values()]
    insert_rows(connection, "study_directions", directions)
    return ids


def _insert_studies(
    connection: Connection, campaign: str, plans: Sequence[StudyPlan]
) -> dict[str, int]:
    ids = _insert_study_rows(connection, campaign, [plan.name for plan in plans])
    attributes = {
        ids[plan.name]: {
            CAMPAIGN_KEY: plan.campaign,
            PARTITION_KEY: plan.partition,
            STAGE_KEY: plan.stage,
            # A study that has no pair has neither key.
            **({} if plan.teacher is None else {TEACHER_KEY: plan.teacher}),
            **({} if plan.student is None else {STUDENT_KEY: plan.student}),
        }
        for plan in plans
    }
    write_attributes(connection, "study_user_attributes", attributes)
    names = {ids[plan.name]: {METRIC_NAMES_KEY: [plan.objective]} for plan in plans}
    write_attributes(connection, "study_system_attributes", names)
    return ids


def _list_missing_trials(plan: StudyPlan, study_id: int, present: Sequence[Row]) -> list[_NewTrial]:
    """What a study lacks: planned cells that no row has, then open trials up to the number.

    Every row beyond the planned cells is, or was, an open trial. One that failed before it got a
    cell was never a result of anything and is planned again. Rows that are tried again in another
    row do not count.
    """
    planned = {make_params_key(c) for c in plan.cells}
    live = [row for row in present if not row.retried]
    have = {make_params_key(row.params) for row in live if row.params}
    lost = sum(row.state == "FAIL" and not row.params for row in live)
    n_open = len(live) - len(planned & have) - lost
    cells: list[Params | None] = [c for c in plan.cells if make_params_key(c) not in have]
    cells += [None] * max(0, plan.open_trials - n_open)
    return [_NewTrial(plan, study_id, len(present) + i, params) for i, params in enumerate(cells)]


def _insert_trials(connection: Connection, campaign: str, new: Sequence[_NewTrial]) -> None:
    # In order of planning, as workers take the trial of the least id first.
    insert_rows(
        connection,
        "trials",
        [{"number": t.number, "study_id": t.study_id, "state": "WAITING"} for t in new],
    )
    rows = connection.execute(
        sa.text(f"SELECT t.study_id, t.number, t.trial_id FROM {TRIALS} WHERE {OF_CAMPAIGN}"),
        of_campaign(campaign),
    )
    ids = {(study_id, number): trial_id for study_id, number, trial_id in rows}
    params = [
        row
        for t in new
        if t.params is not None
        for row in list_param_rows(ids[t.study_id, t.number], t.params, t.plan.space)
    ]
    insert_rows(connection, "trial_params", params)
