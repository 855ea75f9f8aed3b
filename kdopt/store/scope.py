"""Which rows of the store belong to a campaign, and the record that says what they mean.

A store is shared: other campaigns and other programs have studies in it, also under names that
begin like a campaign's (``optuna.copy_study``). A study is a campaign's when its name is one that
the campaign plans. The record is kept twice: with the study ``CAMPAIGN/campaign``, which people see
in the dashboard and may delete or change there, and in kdopt's own table.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.compatibility import list_differences
from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS, FEDAVG
from kdopt.campaign.names import (
    INDEX_SUFFIX,
    PAIR_STAGES,
    STAGES,
    StudyName,
    campaign_study_name,
    parse_study_name,
    study_name,
)
from kdopt.campaign.plain import read_plain
from kdopt.campaign.record import CampaignRecord
from kdopt.errors import StoreError
from kdopt.store.attributes import IGNORED_KEY, RECORD_KEY, RETRIED_KEY
from kdopt.store.reading import UnreadableError, parse_json, parse_record
from kdopt.store.statements import select_scalar

TRIALS = "trials t JOIN studies s ON s.study_id = t.study_id"
"""SQL for all trials ``t`` with their studies ``s``."""

# Exact, where LIKE would take '_' for any character (and, in SQLite, 'A' for 'a').
# Studies that sum up others are no work and are left out here, for every query.
UNDER_CAMPAIGN = (
    "substr(s.study_name, 1, :length) = :prefix "
    f"AND substr(s.study_name, length(s.study_name) - {len(INDEX_SUFFIX) - 1}) <> '{INDEX_SUFFIX}'"
)

# A failed trial that is tried again lives on in the row that tries it (kdopt.store.planning); one
# that another program ended never was one of the campaign's (kdopt.store.foreign).
LIVE = (
    "(t.state <> 'FAIL' OR NOT EXISTS (SELECT 1 FROM trial_user_attributes x "
    f"WHERE x.trial_id = t.trial_id AND x.key IN ('{RETRIED_KEY}', '{IGNORED_KEY}')))"
)


class Scope(NamedTuple):
    """What of the store is a campaign's.

    Attributes:
        record: Its record.
        where: SQL that holds for its studies ``s``, its own without trials left out.
        values: What the named values of ``where`` are.
        studies: Its studies by id: the names, whole and taken apart, in order of planning.
        foreign: Names under its prefix that it does not plan.
    """

    record: CampaignRecord
    where: str
    values: dict[str, object]
    studies: dict[int, tuple[str, StudyName]]
    foreign: tuple[str, ...]

    def name(self, study_id: int) -> str:
        """The name of one of its studies."""
        return self.studies[study_id][0]


class KeptRecord(NamedTuple):
    """A campaign's record in kdopt's own table.

    Attributes:
        campaign: Its name.
        planned_as: Hash of the record when it was first planned; every study has it too.
        record: The record's JSON text as it was written last.
    """

    campaign: str
    planned_as: str
    record: str


def select_scope(connection: Connection, campaign: str) -> Scope:
    """What of the store is a campaign's, as this transaction sees it.

    Raises:
        StoreError: There is no such campaign, or its record cannot be read.
    """
    # Several questions about one moment (Store.run_at_one_moment) share it.
    known: dict[str, Scope] = connection.get_execution_options().get("kdopt_scopes", {})
    if campaign not in known:
        known[campaign] = scope_of(connection, select_record(connection, campaign))
    return known[campaign]


def scope_of(connection: Connection, record: CampaignRecord) -> Scope:
    """What of the store is a campaign's that has this record."""
    campaign = record.campaign.name
    studies, foreign, left_out = {}, [], []
    planned = frozenset(record.splits), record.campaign.participants
    for study_id, text in select_names(connection, campaign):
        name = _parse_own_name(text, *planned)
        if name is not None:
            studies[study_id] = (text, name)
            continue
        left_out.append(study_id)
        if text != campaign_study_name(campaign):
            foreign.append(text)
    # Numbers that the database gave, in the text itself: databases limit how many values may be
    # bound, and there may be any number of them.
    listed = ", ".join(map(str, left_out))
    where = f"{UNDER_CAMPAIGN} AND s.study_id NOT IN ({listed})" if left_out else UNDER_CAMPAIGN
    return Scope(record, where, under_campaign(campaign), studies, tuple(foreign))


def select_names(connection: Connection, campaign: str) -> list[tuple[int, str]]:
    """All studies under a campaign's prefix but summaries: ids and names, in order of their ids."""
    sql = (
        f"SELECT s.study_id, s.study_name FROM studies s WHERE {UNDER_CAMPAIGN} ORDER BY s.study_id"
    )
    return [
        (i, str(name)) for i, name in connection.execute(sa.text(sql), under_campaign(campaign))
    ]


def under_campaign(campaign: str) -> dict[str, object]:
    """The values that :data:`UNDER_CAMPAIGN` is bound to."""
    prefix = f"{campaign}/"
    return {"prefix": prefix, "length": len(prefix)}


@functools.lru_cache(maxsize=65536)  # every question asks for all of a campaign
def _parse_own_name(text: str, partitions: frozenset[str], participants: int) -> StudyName | None:
    """The parts of a study's name; ``None`` if no study of the campaign is called so."""
    name = _parse_canonical_name(text)
    if name is None or name.partition not in partitions:
        return None
    if name.stage not in STAGES or (name.teacher is not None) != (name.stage in PAIR_STAGES):
        return None
    if name.stage == "federate" and name.method not in (None, *ALGORITHM_FACTS.keys() - {FEDAVG}):
        return None
    who = [] if name.teacher is None else [name.teacher, name.student]
    everyone = range(participants)
    return name if len(set(who)) == len(who) and all(w in everyone for w in who) else None


def _parse_canonical_name(text: str) -> StudyName | None:
    try:
        name = parse_study_name(text)
    except ValueError:
        return None
    # Leading zeros and the like: only one text is the name.
    return name if study_name(*name) == text else None


def select_record(connection: Connection, campaign: str) -> CampaignRecord:
    """The record of a campaign, as it was planned last.

    Raises:
        StoreError: There is none, or it cannot be read, or it was changed since it was planned.
    """
    text, kept = select_record_text(connection, campaign), select_kept_record(connection, campaign)
    if text is None:
        raise StoreError(f"no campaign '{campaign}' in the store")
    try:
        record = parse_record(text)
    except (UnreadableError, TypeError) as error:
        raise refuse_record(campaign, error) from error
    if kept is not None and kept.record != text:
        # An older version may have let it grow, which changes no result.
        changed = list_differences(parse_record(kept.record), record)
        if changed or record.campaign.name != campaign:
            names = ", ".join(changed) or "name"
            raise refuse_record(campaign, f"changed since it was planned, in: {names}")
    if record.campaign.name != campaign:
        raise refuse_record(campaign, "it is another campaign's")
    return record


def select_record_text(connection: Connection, campaign: str) -> str | None:
    """The JSON of a campaign's record: where people see it, or the copy if that was deleted.

    A campaign all of whose studies were deleted is no more.
    """
    text: str | None = select_scalar(connection, _RECORD, {"name": campaign_study_name(campaign)})
    if text is None and select_names(connection, campaign):
        kept = select_kept_record(connection, campaign)
        text = kept and kept.record
    return text


def refuse_record(campaign: str, reason: object) -> StoreError:
    """The error that says what is wrong with a campaign's record."""
    return StoreError(
        f"campaign '{campaign}': {RECORD_KEY}: {reason}; 'kdopt doctor --repair' puts back the "
        "copy that kdopt keeps, or take a backup of the store"
    )


def select_kept_record(connection: Connection, campaign: str) -> KeptRecord | None:
    """The copy of a campaign's record in kdopt's own table; ``None`` where older versions planned.

    Raises:
        StoreError: It cannot be read.
    """
    text = select_scalar(
        connection,
        "SELECT value FROM kdopt_meta WHERE key = :key",
        {"key": _make_meta_key(campaign)},
    )
    if text is None:
        return None
    try:
        kept: KeptRecord = read_plain(KeptRecord, parse_json(text))
        parse_record(kept.record)
    except ValueError as error:
        raise StoreError(
            f"campaign '{campaign}': kdopt's own copy of its record cannot be read: {error}; "
            "take a backup of the store"
        ) from error
    return kept


def list_kept_campaigns(connection: Connection) -> list[str]:
    """The campaigns of which there is a copy of the record."""
    sql = f"SELECT value FROM kdopt_meta WHERE key LIKE '{_META_PREFIX}%'"
    names = []
    for text in connection.execute(sa.text(sql)).scalars():
        try:
            names.append(str(parse_json(text)["campaign"]))
        except (UnreadableError, KeyError, TypeError):
            continue  # whoever asks for this campaign is told
    return names


def list_unreadable_copies(connection: Connection) -> list[str]:
    """The keys of copies of records that kdopt did not write so."""
    sql = f"SELECT key, value FROM kdopt_meta WHERE key LIKE '{_META_PREFIX}%' ORDER BY key"
    found = []
    for key, text in connection.execute(sa.text(sql)):
        try:
            kept: KeptRecord = read_plain(KeptRecord, parse_json(text))
            parse_record(kept.record)
            fine = key == _make_meta_key(kept.campaign)
        except ValueError:
            fine = False
        if not fine:
            found.append(str(key))
    return found


def write_kept_record(
    connection: Connection, campaign: str, record: str, first: str | None = None
) -> str:
    """Keep a copy of a campaign's record; gives the hash of the one that was first planned.

    ``first`` is that hash as its study has it, for where there is no copy.
    """
    try:
        kept = select_kept_record(connection, campaign)
    except StoreError:
        kept = None
    new = first or hashlib.sha256(record.encode()).hexdigest()[:16]
    planned_as = kept.planned_as if kept else new
    _write_kept_record(connection, KeptRecord(campaign, planned_as, record))
    return planned_as


def _write_kept_record(connection: Connection, kept: KeptRecord) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO kdopt_meta (key, value) VALUES (:key, :value) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        ),
        {
            "key": _make_meta_key(kept.campaign),
            "value": json.dumps(kept._asdict()),
        },
    )


def drop_kept_record(connection: Connection, campaign: str) -> None:
    """Forget the copy of a campaign's record."""
    sql = sa.text("DELETE FROM kdopt_meta WHERE key = :key")
    connection.execute(sql, {"key": _make_meta_key(campaign)})


def rename_kept_record(connection: Connection, campaign: str, new: str, record: str) -> None:
    """Keep a copy under a campaign's new name; its studies still have the hash of the first."""
    kept = select_kept_record(connection, campaign)
    drop_kept_record(connection, campaign)
    if kept is not None:
        _write_kept_record(connection, KeptRecord(new, kept.planned_as, record))


def keep_newer_keys(before: Any, now: Any) -> Any:
    """What is to be written in place of a record: with the keys that only a newer version knows."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return {**before, **{k: keep_newer_keys(before.get(k), v) for k, v in now.items()}}
    if isinstance(before, list) and isinstance(now, list | tuple):
        known = {
            item["name"]: item for item in before if isinstance(item, Mapping) and "name" in item
        }
        return [
            keep_newer_keys(known.get(i["name"]), i) if isinstance(i, Mapping) else i for i in now
        ]
    return now


_RECORD = (
    "SELECT a.value_json FROM study_user_attributes a JOIN studies s ON s.study_id = a.study_id "
    f"WHERE s.study_name = :name AND a.key = '{RECORD_KEY}'"
)
_META_PREFIX = "record:"


def _make_meta_key(campaign: str) -> str:
    # The column takes 64 characters, which a campaign's name alone may have.
    return _META_PREFIX + hashlib.sha256(campaign.encode()).hexdigest()[:40]
