"""Read the store: the campaigns, a campaign's record, its studies' counts and its trials.

What changes from second to second is in :mod:`kdopt.store.activity`.

Plain SQL and ``json.loads``: a campaign of 24,750 trials is read in about a second, where
Optuna's own objects take six to ten.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.names import StudyName, parse_study_name
from kdopt.campaign.plain import describe_value
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import get_needed_params
from kdopt.campaign.studies import Params, ParamValue
from kdopt.errors import StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.store.attributes import (
    ERROR_KEY,
    IGNORED_KEY,
    OTHER_WEIGHTS_KEY,
    OUTCOME_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STATE_KEY,
    parse_saved_state,
)
from kdopt.store.database import Store
from kdopt.store.params import read_params
from kdopt.store.reading import (
    UnreadableError,
    parse_outcome,
    parse_plain,
    parse_reason,
    refuse_trial,
)
from kdopt.store.scope import (
    LIVE,
    TRIALS,
    list_kept_campaigns,
    select_names,
    select_record,
    select_scope,
)
from kdopt.store.statements import bind_lists

WITH_ERROR = (
    f"LEFT JOIN trial_user_attributes e ON e.trial_id = t.trial_id AND e.key = '{ERROR_KEY}'"
)
"""SQL that adds the reason of a failed trial as ``e.value_json``."""

STATES = ("WAITING", "RUNNING", "COMPLETE", "FAIL")
"""What a trial of a campaign can be; any other state is another program's work."""


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


@dataclass(frozen=True)
class Row:
    """One trial of a study, as planning and merging need it.

    Attributes:
        trial_id: Its id.
        number: Its number within the study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE`` or ``FAIL``.
        params: Its parameters; empty for an open trial that was not claimed yet.
        retry_of: The failed trial whose cell it tries again.
        retried: Whether it does not count: another row tries this failed cell again, or another
            program ended it.
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

    def read(connection: Connection) -> set[str]:
        found = connection.execute(
            sa.text("SELECT study_name FROM studies WHERE study_name LIKE '%/campaign'")
        ).scalars()
        # Studies of other programs may lie in the same database: 'a/b/campaign' is none of ours.
        names = {name.removesuffix("/campaign") for name in found if name.count("/") == 1}
        # The study of its own may have been deleted, which takes nothing from a campaign.
        kept = set(list_kept_campaigns(connection)) - names
        return names | {name for name in kept if select_names(connection, name)}

    return sorted(store.run_read(read))


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
            + ("name one of them" if names else "run 'kdopt plan SPEC' first")
        )
    if name not in names:
        raise StoreError(
            f"store {store.label}: no campaign '{name}'; it has: {known}; "
            "give one of these, or run 'kdopt plan SPEC' first"
        )
    return name


def read_record(store: Store, campaign: str) -> CampaignRecord:
    """The resolved spec of a campaign, as it was planned last.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    return store.run_read(lambda connection: select_record(connection, campaign))


def read_study_counts(store: Store, campaign: str) -> list[StudyCounts]:
    """Every study of a campaign and how far it is, in order of planning.

    What another program put into a state that kdopt has not counts as failed.
    """

    def read(connection: Connection) -> list[StudyCounts]:
        scope = select_scope(connection, campaign)
        counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        # Without a join: the index on state and study answers for all of the store, in less time
        # than it takes to look at the name of each trial's study.
        rows = connection.execute(
            sa.text(
                f"SELECT t.study_id, t.state, count(*) FROM trials t WHERE {LIVE} "
                "GROUP BY t.state, t.study_id"
            )
        )
        for study_id, state, n in rows:
            if study_id in scope.studies:
                counts[study_id][state if state in STATES else "FAIL"] += n
        return [
            StudyCounts(study_id, scope.studies[study_id][1], scope.name(study_id), *by_state)
            for study_id, n in sorted(counts.items())
            for by_state in [[n[state] for state in STATES]]
        ]

    return store.run_read(read)


def read_trials(store: Store, campaign: str, study_id: int | None = None) -> list[TrialRow]:
    """All trials of a campaign, or of one of its studies, in order of planning.

    Raises:
        StoreError: What a trial holds is not what kdopt writes.
    """

    def read(connection: Connection) -> list[TrialRow]:
        scope = select_scope(connection, campaign)
        where, values = f"{scope.where} AND {LIVE}", scope.values
        if study_id is not None:
            where, values = f"{where} AND s.study_id = :study", {**values, "study": study_id}
        sql = sa.text(
            f"""
            SELECT t.trial_id, t.study_id, t.number, t.state,
                   m.value_json AS metrics, e.value_json AS error
            FROM {TRIALS} {WITH_ERROR}
            LEFT JOIN trial_user_attributes m
                ON m.trial_id = t.trial_id AND m.key = '{OUTCOME_KEY}'
            WHERE {where} ORDER BY t.trial_id
            """
        )
        # In one moment with the rows (Store.read), or a trial could be claimed between the two.
        params = read_params(connection, where, values)
        everyone = scope.record.campaign.participants
        found = []
        for trial_id, study, number, state, metrics, error in connection.execute(sql, values):
            text, name = scope.studies[study]
            cell = params[trial_id]
            try:
                if type(number) is not int:
                    raise UnreadableError(f"number {describe_value(number)}")
                _check_trial(name, state, cell, everyone)
                outcome = _read_outcome(state, metrics)
            except UnreadableError as reason:
                raise refuse_trial(text, number, OUTCOME_KEY, reason) from reason
            failure = parse_reason(error) if state == "FAIL" else None
            where_it_is = (name.partition, name.stage, name.teacher, name.student)
            found.append(
                TrialRow(text, *where_it_is, number, state, cell, outcome, failure, name.method)
            )
        return found

    return store.run_read(read)


def read_rows(
    connection: Connection, where: str, values: Mapping[str, object], *lists: str
) -> dict[int, list[Row]]:
    """The rows of every study that a condition chooses, by study, in order of their ids.

    Arguments as :func:`kdopt.store.params.read_params`. Results are left out, being large.
    """
    params = read_params(connection, f"{where} AND {LIVE}", values, *lists)
    marks: dict[int, dict[str, str]] = defaultdict(dict)
    keys = (RETRY_OF_KEY, RETRIED_KEY, IGNORED_KEY, OTHER_WEIGHTS_KEY, STATE_KEY)
    marked = bind_lists(
        "SELECT x.trial_id, x.key, x.value_json FROM trial_user_attributes x "
        "JOIN trials t ON t.trial_id = x.trial_id JOIN studies s ON s.study_id = t.study_id "
        f"WHERE x.key IN :keys AND {where}",
        "keys",
        *lists,
    )
    for trial_id, key, text in connection.execute(marked, {**values, "keys": keys}):
        marks[trial_id][key] = text
    listed = bind_lists(
        f"SELECT t.trial_id, t.study_id, s.study_name, t.number, t.state FROM {TRIALS} "
        f"WHERE {where} ORDER BY t.trial_id",
        *lists,
    )
    found: dict[int, list[Row]] = defaultdict(list)
    for trial_id, study_id, study, number, state in connection.execute(listed, values):
        mark = marks[trial_id]
        saved = parse_saved_state(mark.get(STATE_KEY))
        retried = state == "FAIL" and (RETRIED_KEY in mark or IGNORED_KEY in mark)
        if state not in STATES:
            raise refuse_trial(study, number, "state", f"'{state}' is none of kdopt's")
        try:
            if not retried:
                _check_trial(parse_study_name(study), state, params[trial_id], sys.maxsize)
            retry_of = mark.get(RETRY_OF_KEY)
            row = Row(
                trial_id,
                number,
                state,
                params[trial_id],
                retry_of=None if retry_of is None else parse_plain(int, retry_of),
                retried=retried,
                mixed=OTHER_WEIGHTS_KEY in mark,
                saved=None if saved is None else saved.sha256,
            )
        except UnreadableError as error:
            raise refuse_trial(study, number, "its row", error) from error
        found[study_id].append(row)
    return found


def _check_trial(
    name: StudyName, state: str, params: Mapping[str, ParamValue], participants: int
) -> None:
    """Refuse a trial that is not one of its stage's."""
    if state not in STATES:
        raise UnreadableError(f"state '{state}' is none of kdopt's")
    missing = get_needed_params(name.stage, name.method) - params.keys()
    # Trials of adaptive samplers have none until they are claimed.
    if missing and (params or name.stage != "tune"):
        raise UnreadableError(f"parameter {min(missing)} is missing")
    who = params.get("participant", params.get("student"))
    if who is not None and not (isinstance(who, int) and who < participants):
        raise UnreadableError(f"participant {who}, where the campaign has {participants}")


def _read_outcome(state: str, text: object) -> Outcome | None:
    if state != "COMPLETE":
        return None
    if text is None:
        raise UnreadableError("complete without a record: another program ended it")
    return parse_outcome(text)
