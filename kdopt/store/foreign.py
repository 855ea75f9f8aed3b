"""Trials that another program took, ended or added, such as Optuna's ``study.optimize``.

Kdopt writes the end of a trial and what it recorded in one transaction, and the start of one with
its lease. A row that has one without the other is another program's work: it says nothing about
the campaign. Such a row is marked as failed and to be ignored, with the reason in its attributes,
and its place is planned again in a new row. Rows are never deleted and never reset, see
:mod:`kdopt.store.planning`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import LeaseLostError, TrialGoneError
from kdopt.store.attributes import (
    ERROR_KEY,
    FIXED_PARAMS_KEY,
    IGNORED_KEY,
    OUTCOME_KEY,
    drop_saved_states,
    write_attributes,
)
from kdopt.store.database import Store
from kdopt.store.orphans import drop_orphaned_leases
from kdopt.store.planning import plan_missing_trials
from kdopt.store.queries import STATES
from kdopt.store.scope import LIVE, TRIALS, Scope, select_scope
from kdopt.store.statements import execute_many

logger = logging.getLogger(__name__)


def _has_no(key: str) -> str:
    return (
        "NOT EXISTS (SELECT 1 FROM trial_user_attributes x "
        f"WHERE x.trial_id = t.trial_id AND x.key = '{key}')"
    )


# Questions of other tables stand behind the state, so that each trial is asked one of them.
_FOREIGN = f"""
    FROM {TRIALS}
    WHERE ((t.state = 'COMPLETE' AND {_has_no(OUTCOME_KEY)})
        OR (t.state = 'FAIL' AND {_has_no(ERROR_KEY)})
        OR (t.state = 'RUNNING' AND NOT EXISTS (SELECT 1 FROM kdopt_lease l
            WHERE l.trial_id = t.trial_id AND l.worker <> ''))
        OR (t.state = 'WAITING' AND EXISTS (SELECT 1 FROM trial_system_attributes f
            WHERE f.trial_id = t.trial_id AND f.key = '{FIXED_PARAMS_KEY}'))
        OR t.state NOT IN ({", ".join(f"'{state}'" for state in STATES)}))
    AND {LIVE}
"""


def count_foreign_trials(connection: Connection, scope: Scope) -> int:
    """How many trials of a campaign another program took, ended or added."""
    sql = sa.text(f"SELECT count(*) {_FOREIGN} AND {scope.where}")
    return int(connection.execute(sql, scope.values).scalar_one())


def take_back_trials(
    store: Store,
    campaign: str,
    studies: Callable[[Campaign], Sequence[StudyPlan]],
    unreadable: Mapping[int, str] | None = None,
) -> int:
    """Ignore what other programs did to a campaign's trials, and plan their places again.

    Args:
        store: The store.
        campaign: The campaign.
        studies: The studies of a campaign.
        unreadable: Further rows to ignore, by id, and why.

    Returns:
        How many rows are ignored now that counted before.
    """
    unreadable = unreadable or {}
    # Looked for without the right to write: nearly always there is nothing to do.
    n = store.run_read(lambda c: count_foreign_trials(c, select_scope(c, campaign)))
    if not n and not unreadable:
        return 0

    def write(connection: Connection) -> int:
        store.lock_planning(connection)
        drop_orphaned_leases(connection)
        scope = select_scope(connection, campaign)
        found = _select_foreign(connection, scope) | dict(unreadable)
        names = _ignore_trials(store, connection, scope, found)
        plans = [p for p in studies(scope.record.campaign) if p.name in names]
        plan_missing_trials(connection, scope, plans)
        return len(found)

    taken = store.run_write(write)
    logger.warning("took back %d trial(s) that another program took, ended or added", taken)
    return taken


def check_recorded(connection: Connection, trial_id: int, state: str) -> bool:
    """Whether a trial that is not running any more ended with what its worker recorded: it did.

    Raises:
        TrialGoneError: It was deleted.
        LeaseLostError: Another program ended it.
    """
    row = connection.execute(
        sa.text(
            "SELECT t.state, x.trial_id AS recorded FROM trials t "
            "LEFT JOIN trial_user_attributes x ON x.trial_id = t.trial_id AND x.key = :key "
            "WHERE t.trial_id = :trial"
        ),
        {"trial": trial_id, "key": OUTCOME_KEY if state == "COMPLETE" else ERROR_KEY},
    ).first()
    if row is None:
        raise _make_gone_error(trial_id)
    if row.state != state or row.recorded is None:
        raise LeaseLostError(f"trial {trial_id} was ended by another program ({row.state})")
    return True


def check_there(connection: Connection, trial_id: int) -> None:
    """See that a trial is in the store still.

    Raises:
        TrialGoneError: It is not.
    """
    sql = sa.text("SELECT 1 FROM trials WHERE trial_id = :trial")
    if connection.execute(sql, {"trial": trial_id}).first() is None:
        raise _make_gone_error(trial_id)


def _make_gone_error(trial_id: int) -> TrialGoneError:
    return TrialGoneError(f"trial {trial_id} is gone from the store: its study was deleted")


def _select_foreign(connection: Connection, scope: Scope) -> dict[int, str]:
    """Why each foreign trial is none of kdopt's, by its id."""
    rows = connection.execute(
        sa.text(f"SELECT t.trial_id, t.state {_FOREIGN} AND {scope.where}"), scope.values
    )
    reasons = {
        "COMPLETE": "another program ended it: it is complete without a record of kdopt",
        "FAIL": "another program ended it: it failed without a reason",
        "RUNNING": "another program took it: it ran without a lease of kdopt",
        # Also where a sampler could take it: the same file is to give the same table.
        "WAITING": "another program enqueued it, and a campaign runs what stands in its file: name "
        "its values there",
    }
    return {
        trial_id: reasons.get(state, f"another program ended it: {state}")
        for trial_id, state in rows
    }


def _ignore_trials(
    store: Store, connection: Connection, scope: Scope, reasons: Mapping[int, str]
) -> set[str]:
    """Mark rows as none of the campaign's; the names of their studies."""
    rows = [{"trial": trial_id} for trial_id in reasons]
    # Optuna's failed trials have no value.
    execute_many(connection, "DELETE FROM trial_values WHERE trial_id = :trial", rows)
    execute_many(connection, "DELETE FROM kdopt_lease WHERE trial_id = :trial", rows)
    drop_saved_states(connection, list(reasons))
    execute_many(
        connection,
        "UPDATE trials SET state = 'FAIL', "
        f"datetime_start = coalesce(datetime_start, {store.utc}), "
        f"datetime_complete = coalesce(datetime_complete, {store.utc}) WHERE trial_id = :trial",
        rows,
    )
    values = {trial_id: {IGNORED_KEY: reason} for trial_id, reason in reasons.items()}
    write_attributes(connection, "trial_user_attributes", values)
    found = connection.execute(sa.text("SELECT trial_id, study_id FROM trials"))
    return {scope.name(study) for trial, study in found if trial in reasons}
