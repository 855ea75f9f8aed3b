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

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.compatibility import check_same_meaning, unite_records
from kdopt.campaign.names import campaign_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.errors import StoreError
from kdopt.shown import format_count
from kdopt.store.attributes import (
    METRIC_NAMES_KEY,
    PLANNED_AS_KEY,
    RECORD_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    write_attributes,
    write_trial_attributes,
)
from kdopt.store.database import Store
from kdopt.store.orphans import drop_orphaned_leases
from kdopt.store.params import list_param_rows
from kdopt.store.queries import WITH_ERROR, Row, make_params_key, read_rows
from kdopt.store.raw_rows import describe_study
from kdopt.store.reading import UnreadableError, parse_json, parse_plain, parse_reason
from kdopt.store.scope import (
    LIVE,
    TRIALS,
    UNDER_CAMPAIGN,
    Scope,
    keep_newer_keys,
    scope_of,
    select_kept_record,
    select_names,
    select_record,
    select_record_text,
    select_scope,
    under_campaign,
    write_kept_record,
)
from kdopt.store.statements import execute_many, insert_rows, select_scalar


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

    def write(connection: Connection) -> Planned:
        store.lock_planning(connection)
        drop_orphaned_leases(connection)
        united, planned_as = _write_record(connection, record)
        plans = studies(united.campaign)
        scope = scope_of(connection, united)
        known = {text: study_id for study_id, (text, _) in scope.studies.items()}
        new = [plan for plan in plans if plan.name not in known]
        ids = known | _insert_studies(connection, new, planned_as)
        _mark_studies(connection, ids.values(), planned_as)
        n_trials = plan_missing_trials(connection, scope_of(connection, united), plans)
        return Planned(len(plans), sum(p.n_trials for p in plans), len(new), n_trials)

    return store.run_write(write)


def plan_missing_trials(connection: Connection, scope: Scope, plans: Sequence[StudyPlan]) -> int:
    """Add the trials that studies lack, in a transaction that holds the right to plan.

    Args:
        connection: The transaction.
        scope: What the store has of the campaign; its studies are there.
        plans: Those to look at.

    Returns:
        How many trials were added.
    """
    ids = {text: study_id for study_id, (text, _) in scope.studies.items()}
    present = read_rows(connection, scope.where, scope.values)
    trials = [
        trial
        for plan in plans
        for trial in _list_missing_trials(plan, ids[plan.name], present.get(ids[plan.name], []))
    ]
    _insert_trials(connection, trials)
    return len(trials)


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

    def write(connection: Connection) -> list[str]:
        store.lock_planning(connection)
        drop_orphaned_leases(connection)
        scope = select_scope(connection, campaign)
        find = sa.text(
            f"SELECT t.trial_id, t.study_id, e.value_json AS error, "
            "(SELECT count(*) FROM trials o WHERE o.study_id = t.study_id) AS n "
            f"FROM {TRIALS} {WITH_ERROR} "
            f"WHERE t.state = 'FAIL' AND {scope.where} AND {LIVE} ORDER BY t.trial_id"
        )
        numbers: dict[int, int] = {}
        queued = []
        for row in connection.execute(find, scope.values).all():
            # Here and not by LIKE, in which '%' and '_' of a reason would be wildcards.
            if reason.lower() not in (parse_reason(row.error) if row.error else "").lower():
                continue
            # The count of a study's rows is its next number, as rows are never deleted.
            number = numbers.setdefault(row.study_id, row.n)
            add_copy(connection, row.study_id, row.trial_id, number)
            numbers[row.study_id] += 1
            queued.append(scope.name(row.study_id))
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


def _write_record(connection: Connection, record: CampaignRecord) -> tuple[CampaignRecord, str]:
    """Write the union of this campaign and what was planned under its name before.

    Returns:
        The union, and the hash of the record that was planned first.
    """
    name = record.campaign.name
    study = campaign_study_name(name)
    names = {text: study_id for study_id, text in select_names(connection, name)}
    found = select_record_text(connection, name)
    if found is not None:
        before = select_record(connection, name)
        check_same_meaning(before, record)
        record = unite_records(before, record)
    elif names:
        raise StoreError(
            f"campaign '{name}': its study '{study}' was deleted, and with it the "
            f"meaning of {format_count(len(names), 'other study')} under its name "
            f"({min(names)}, ...); give the "
            "campaign another name, take a backup of the store, or delete those studies too"
        )
    if study not in names:
        names |= _insert_study_rows(connection, [study])
    known = None if found is None else parse_json(found)
    # The same text in both places: a record that somebody changed is told by comparing them.
    text = json.dumps(keep_newer_keys(known, record.to_json()))
    first = _select_planned_as(connection, names[study])
    planned_as = write_kept_record(connection, name, text, first)
    values = {names[study]: {RECORD_KEY: text, PLANNED_AS_KEY: json.dumps(planned_as)}}
    write_attributes(connection, "study_user_attributes", values, encode=str)
    return record, planned_as


def restore_record(connection: Connection, campaign: str) -> bool:
    """Put kdopt's copy of a campaign's record where people see it, if what is there is not right.

    Where the copy was deleted, it is made again of what people see.

    Returns:
        Whether it had to.

    Raises:
        StoreError: There is no copy, or it cannot be read.
    """
    study = campaign_study_name(campaign)
    names = {text: study_id for study_id, text in select_names(connection, campaign)}
    kept = select_kept_record(connection, campaign)
    own = _select_planned_as(connection, names.get(study))
    try:
        select_record(connection, campaign)
        if kept is None and own is not None:
            write_kept_record(
                connection, campaign, str(select_record_text(connection, campaign)), own
            )
            return True
        if kept is None or (study in names and own == kept.planned_as):
            return False
    except StoreError:
        if kept is None or not names:
            raise
    if study not in names:
        names |= _insert_study_rows(connection, [study])
    values = {RECORD_KEY: kept.record, PLANNED_AS_KEY: json.dumps(kept.planned_as)}
    write_attributes(connection, "study_user_attributes", {names[study]: values}, encode=str)
    return True


def _select_planned_as(connection: Connection, study_id: int | None) -> str | None:
    """What a study says that its campaign was planned as; ``None`` if nothing that kdopt wrote."""
    sql = (
        "SELECT value_json FROM study_user_attributes "
        f"WHERE study_id = :study AND key = '{PLANNED_AS_KEY}'"
    )
    text = select_scalar(connection, sql, {"study": study_id})
    try:
        return None if text is None else parse_plain(str, text)
    except UnreadableError:
        return None


def _mark_studies(connection: Connection, ids: Iterable[int], planned_as: str) -> None:
    """Write what their campaign was planned as with studies that do not have it."""
    sql = f"SELECT study_id FROM study_user_attributes WHERE key = '{PLANNED_AS_KEY}'"
    marked = set(connection.execute(sa.text(sql)).scalars())
    values = {i: {PLANNED_AS_KEY: planned_as} for i in ids if i not in marked}
    write_attributes(connection, "study_user_attributes", values)


def _insert_directions(connection: Connection, ids: Iterable[int]) -> None:
    directions = [{"direction": "MAXIMIZE", "study_id": i, "objective": 0} for i in ids]
    insert_rows(connection, "study_directions", directions)


def _insert_study_rows(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    insert_rows(connection, "studies", [{"study_name": name} for name in names])
    rows = connection.execute(sa.text("SELECT study_name, study_id FROM studies"))
    known = {row.study_name: row.study_id for row in rows}
    ids = {name: known[name] for name in names}
    _insert_directions(connection, ids.values())
    return ids


def _insert_studies(
    connection: Connection, plans: Sequence[StudyPlan], planned_as: str
) -> dict[str, int]:
    ids = _insert_study_rows(connection, [plan.name for plan in plans])
    _describe_studies(connection, ids, plans, planned_as)
    return ids


def rewrite_studies(
    connection: Connection,
    ids: Mapping[str, int],
    plans: Sequence[StudyPlan],
    planned_as: str | None,
) -> None:
    """Write again what planned studies say of themselves.

    Args:
        connection: A transaction that writes.
        ids: The studies' ids by name.
        plans: The studies.
        planned_as: Hash of the campaign's record when it was first planned.
    """
    those = [{"study": ids[plan.name]} for plan in plans]
    execute_many(connection, "DELETE FROM study_directions WHERE study_id = :study", those)
    _insert_directions(connection, [ids[plan.name] for plan in plans])
    _describe_studies(connection, ids, plans, planned_as)


def _describe_studies(
    connection: Connection,
    ids: Mapping[str, int],
    plans: Sequence[StudyPlan],
    planned_as: str | None,
) -> None:
    attributes = {ids[plan.name]: describe_study(plan, planned_as) for plan in plans}
    write_attributes(connection, "study_user_attributes", attributes)
    names = {ids[plan.name]: {METRIC_NAMES_KEY: [plan.objective]} for plan in plans}
    write_attributes(connection, "study_system_attributes", names)


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


def _insert_trials(connection: Connection, new: Sequence[_NewTrial]) -> None:
    # In order of planning, as workers take the trial of the least id first.
    insert_rows(
        connection,
        "trials",
        [{"number": t.number, "study_id": t.study_id, "state": "WAITING"} for t in new],
    )
    if not new:
        return
    # Asked for by study and number: an insert of many rows gives their ids in any order.
    campaign = new[0].plan.campaign
    rows = connection.execute(
        sa.text(f"SELECT t.study_id, t.number, t.trial_id FROM {TRIALS} WHERE {UNDER_CAMPAIGN}"),
        under_campaign(campaign),
    )
    ids = {(study_id, number): trial_id for study_id, number, trial_id in rows}
    params = [
        row
        for t in new
        if t.params is not None
        for row in list_param_rows(ids[t.study_id, t.number], t.params, t.plan.space)
    ]
    insert_rows(connection, "trial_params", params)
