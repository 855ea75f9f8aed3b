"""``kdopt doctor --repair``: take back what is a campaign's, remove what belongs to nothing."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.engine import Connection

from kdopt.campaign.stages import plan_studies
from kdopt.service.study_checks import check_study
from kdopt.service.trial_checks import LONGEST_LEASE_S, read_trial
from kdopt.store.database import Store
from kdopt.store.foreign import take_back_trials
from kdopt.store.orphans import drop_orphaned_leases
from kdopt.store.planning import restore_record, rewrite_studies
from kdopt.store.raw_rows import RawTrial, read_raw_trials, select_raw_studies
from kdopt.store.scope import select_kept_record, select_scope
from kdopt.store.statements import execute_many


class Repaired(NamedTuple):
    """What was repaired of a campaign.

    Attributes:
        campaign: Its name.
        trials: Rows that count no more, and whose places are planned again.
        record: Whether its record was put back.
        studies: Studies that say again what they are.
    """

    campaign: str
    trials: int
    record: bool
    studies: int


def repair_campaign(store: Store, campaign: str) -> Repaired:
    """Put back the record, and plan again what other programs ended or what cannot be read.

    What can be read and only does not add up stays as it is: which of two numbers is right is not
    known here.

    Raises:
        StoreError: The record cannot be read, and there is no copy of it.
    """
    record = store.run_write(lambda connection: restore_record(connection, campaign))
    studies = store.run_write(lambda connection: _restore_studies(connection, campaign))
    trials = read_raw_trials(store, campaign)
    endless = [trial.trial_id for trial in trials if _has_endless_lease(trial)]

    def drop(connection: Connection) -> None:
        execute_many(
            connection,
            "DELETE FROM kdopt_lease WHERE trial_id = :trial",
            [{"trial": trial_id} for trial_id in endless],
        )

    if endless:
        store.run_write(drop)
    unreadable = {
        trial.trial_id: f"it cannot be read: {problems[0]}"
        for trial in trials
        if trial.counts and (problems := read_trial(trial).problems)
    }
    taken = take_back_trials(store, campaign, plan_studies, unreadable)
    return Repaired(campaign, taken, record, studies)


def _restore_studies(connection: Connection, campaign: str) -> int:
    """Let studies say again what they are, where they do not."""
    scope, kept = select_scope(connection, campaign), select_kept_record(connection, campaign)
    planned_as = kept and kept.planned_as
    plans = {plan.name: plan for plan in plan_studies(scope.record.campaign)}
    changed = [
        plans[study.name]
        for study in select_raw_studies(connection, campaign)
        if study.name in plans and any(check_study(study, plans[study.name], planned_as))
    ]
    ids = {name: study_id for study_id, (name, _) in scope.studies.items()}
    if changed:
        rewrite_studies(connection, ids, changed, planned_as)
    return len(changed)


def drop_leases_of_nothing(store: Store) -> int:
    """Remove the leases of trials that are no more; how many."""
    return store.run_write(drop_orphaned_leases)


def _has_endless_lease(trial: RawTrial) -> bool:
    lease = trial.lease
    if trial.state != "RUNNING" or lease is None:
        return False
    odd = not isinstance(lease.worker, str) or type(lease.attempt) is not int
    return odd or lease.left_s is None or not lease.left_s <= LONGEST_LEASE_S
