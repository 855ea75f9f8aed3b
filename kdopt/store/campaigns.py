"""Delete a campaign, or give it another name: the only code that takes finished rows away.

A campaign's rows are its studies, what belongs to their trials, and the studies that sum them up
for the dashboard. Both refuse while workers hold trials of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import INDEX_SUFFIX, campaign_study_name, parse_study_name
from kdopt.campaign.plain import load_json
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.store.attributes import (
    CAMPAIGN_KEY,
    KEPT_KEY,
    OUTCOME_KEY,
    RECORD_KEY,
    STATE_KEY,
    write_attributes,
)
from kdopt.store.database import Store
from kdopt.store.queries import list_campaigns, read_record, read_study_counts
from kdopt.store.scope import (
    drop_kept_record,
    rename_kept_record,
    select_record,
    select_scope,
    under_campaign,
)
from kdopt.store.statements import TABLES_OF_STUDIES, bind_lists, empty_trials

_SHA256 = re.compile(r'"([0-9a-f]{64})"')


class Deleted(NamedTuple):
    """What went with a campaign.

    Attributes:
        studies: Its studies, those that sum it up included.
        trials: Their trials.
        artifacts: sha256 of what only it referred to.
    """

    studies: int
    trials: int
    artifacts: list[str]


def delete_campaign(store: Store, campaign: str) -> Deleted:
    """Take a campaign out of the store; its artifacts are the caller's to remove.

    Raises:
        StoreError: Workers hold trials of it.
    """

    def write(connection: Connection) -> Deleted:
        store.lock_planning(connection)
        ids = list(_find_studies(connection, campaign).values())
        _refuse_running(connection, ids, campaign, "delete")
        mine = _list_artifacts(connection, "s.study_id IN :ids", ids)
        others = _list_artifacts(connection, "s.study_id NOT IN :ids", ids)
        drop_kept_record(connection, campaign)
        return Deleted(len(ids), _delete_studies(connection, ids), sorted(mine - others))

    return store.run_write(write)


def rename_campaign(store: Store, campaign: str, new: str) -> None:
    """Give a campaign another name; what sums it up for the dashboard is deleted with the old one.

    Raises:
        StoreError: The name is taken, workers hold trials of the campaign, another campaign learns
            from it by name, or trials are left whose sampler draws by its name.
    """
    if new in list_campaigns(store):
        raise StoreError(
            f"store {store.label}: there is a campaign '{new}' already; give another name"
        )
    _refuse_named(store, campaign)

    def write(connection: Connection) -> None:
        store.lock_planning(connection)
        studies = _find_studies(connection, campaign)
        _refuse_running(connection, studies.values(), campaign, "rename")
        select_record(connection, campaign)  # which must be readable
        index = [i for name, i in studies.items() if name.endswith(INDEX_SUFFIX)]
        _delete_studies(connection, index)
        kept = {name: i for name, i in studies.items() if i not in index}
        rename = sa.text("UPDATE studies SET study_name = :name WHERE study_id = :id")
        for name, study_id in kept.items():
            connection.execute(
                rename, {"name": f"{new}{name.removeprefix(campaign)}", "id": study_id}
            )
        own = kept.pop(campaign_study_name(campaign), None)
        if own is None:
            raise StoreError(
                f"campaign '{campaign}': its study '{campaign_study_name(campaign)}' was deleted; "
                "run 'kdopt plan SPEC', which writes it again, then rename it"
            )
        values = {i: {CAMPAIGN_KEY: new} for i in kept.values()}
        write_attributes(connection, "study_user_attributes", values)
        rename_kept_record(connection, campaign, new, _rename_record(connection, own, new))

    store.run_write(write)


def count_finished(store: Store, campaign: str) -> int:
    """Trials of a campaign with a result, also of one whose record cannot be read."""

    def count(connection: Connection) -> int:
        studies = _find_studies(connection, campaign)
        work = [i for name, i in studies.items() if not name.endswith(INDEX_SUFFIX)]
        return _count_trials(connection, work, "COMPLETE")

    return store.run_read(count)


def _refuse_running(connection: Connection, ids: Iterable[int], campaign: str, what: str) -> None:
    # Within the transaction: a worker may take a trial at any moment before it.
    running = _count_trials(connection, ids, "RUNNING")
    if running:
        raise StoreError(
            f"campaign '{campaign}': workers hold {running:,} of its trials; stop them, then "
            f"{what} it"
        )


def _count_trials(connection: Connection, ids: Iterable[int], state: str) -> int:
    sql = "SELECT count(*) FROM trials WHERE study_id IN :ids AND state = :state"
    values = {"ids": list(ids), "state": state}
    return int(connection.execute(bind_lists(sql, "ids"), values).scalar_one())


def _refuse_named(store: Store, campaign: str) -> None:
    for other in list_campaigns(store):
        if campaign in read_record(store, other).campaign.tune.prior:
            raise StoreError(
                f"campaign '{campaign}': campaign '{other}' learns from it by this name "
                "(tune.prior); leave its name as it is"
            )
    plans = {p.name: p for p in plan_studies(read_record(store, campaign).campaign)}
    for state in read_study_counts(store, campaign):
        # Seeds of adaptive samplers are made of the study's name: under another they would choose
        # other settings than the campaign would have.
        if state.waiting and plans[state.study].open_trials:
            raise StoreError(
                f"campaign '{campaign}': trials are left whose sampler draws by its name; run it "
                "to its end, then rename it"
            )


def _find_studies(connection: Connection, campaign: str) -> dict[str, int]:
    """The campaign's studies with those that sum it up; studies of other programs left out."""
    sql = "SELECT study_name, study_id FROM studies WHERE substr(study_name, 1, :length) = :prefix"
    found = connection.execute(sa.text(sql), under_campaign(campaign)).all()
    try:
        own = {name for name, _ in select_scope(connection, campaign).studies.values()}
    except StoreError:
        # Its record cannot be read, which may be why it is to go: its names must do.
        own = {name for name, _ in found if _is_like_ours(name)}
    own.add(campaign_study_name(campaign))
    return {name: i for name, i in found if name in own or name.endswith(INDEX_SUFFIX)}


def _is_like_ours(study: str) -> bool:
    try:
        parse_study_name(study)
    except ValueError:
        return False
    return True


def _list_artifacts(connection: Connection, where: str, ids: Iterable[int]) -> set[str]:
    """What studies refer to: splits, priors, checkpoints, kept students and saved states."""
    of_studies = (
        "SELECT a.value_json FROM study_user_attributes a JOIN studies s "
        f"ON s.study_id = a.study_id WHERE a.key = '{RECORD_KEY}' AND {where}"
    )
    # Most outcomes have no checkpoint, and are long. One that writes this otherwise is read too.
    of_trials = (
        "SELECT a.value_json FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id "
        "JOIN studies s ON s.study_id = t.study_id WHERE "
        f"(a.key IN ('{KEPT_KEY}', '{STATE_KEY}') OR (a.key = '{OUTCOME_KEY}' "
        f"AND a.value_json NOT LIKE '%\"checkpoint\": null%')) AND {where}"
    )
    return {
        sha256
        for sql in (of_studies, of_trials)
        for (text,) in connection.execute(bind_lists(sql, "ids"), {"ids": list(ids)})
        for sha256 in _SHA256.findall(text)
    }


def _delete_studies(connection: Connection, ids: Collection[int]) -> int:
    """Delete studies with all that belongs to them; how many trials they had."""
    # What refers to a row goes before it: Postgres checks foreign keys after every statement.
    empty_trials(connection, ids)
    deleted = {}
    for table in ("trials", *TABLES_OF_STUDIES, "studies"):
        sql = bind_lists(f"DELETE FROM {table} WHERE study_id IN :ids", "ids")
        deleted[table] = connection.execute(sql, {"ids": list(ids)}).rowcount
    return deleted["trials"]


def _rename_record(connection: Connection, study_id: int, new: str) -> str:
    key = {"study": study_id, "key": RECORD_KEY}
    sql = "SELECT value_json FROM study_user_attributes WHERE study_id = :study AND key = :key"
    record = load_json(connection.execute(sa.text(sql), key).scalar_one())
    record["campaign"]["name"] = new
    record["settings"] = [
        [line[0], new, *line[2:]] if line[0] == "name" else line for line in record["settings"]
    ]
    CampaignRecord.from_json(record)
    text = json.dumps(record)
    values = {study_id: {RECORD_KEY: text}}
    write_attributes(connection, "study_user_attributes", values, encode=str)
    return text
