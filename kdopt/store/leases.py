"""Leases: who may run a trial, and how it gets exactly one result.

The contract, on SQLite and Postgres alike:

- One worker at a time claims a trial row: the change WAITING -> RUNNING and the lease are
  one transaction, and the database refuses the second of two claims.
- A result is taken from the holder of the lease only, in the transaction that checks the lease.
  A worker that was frozen past its lease gets :class:`LeaseLostError`, and its result is dropped.
- A lost trial goes back to WAITING in its own row, by whoever wins the stale lease. One row per
  cell for ever, so no result can be recorded twice.
- A long trial may save a state (:mod:`kdopt.store.long_trials`) for the next worker to go on from.
  A worker that is lost after it saved one does not count towards ``MAX_ATTEMPTS``.
- A worker may claim several planned trials of a study at once. Each has its own lease, is recorded
  on its own and is lost on its own.
- An open trial (no parameters yet) is claimed only when nothing else of its study is running:
  adaptive samplers then see all earlier results, and the same campaign gives the same cells
  however many workers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import Param, Params
from kdopt.errors import LeaseLostError
from kdopt.outcome import Outcome
from kdopt.store.attributes import (
    ERROR_KEY,
    OUTCOME_KEY,
    SavedState,
    drop_notes_of_runs,
    drop_saved_states,
    list_shown_values,
    read_saved_state,
    write_saved_state,
    write_trial_attributes,
)
from kdopt.store.database import Store
from kdopt.store.foreign import check_recorded, check_there
from kdopt.store.given_back import count_giving_back, forget_giving_back
from kdopt.store.kept import Kept, keep_better, lock_kept
from kdopt.store.params import list_param_rows, read_params
from kdopt.store.statements import insert_rows
from kdopt.store.waiting import FIRST, PLANNED_AND_NEW, grant_leases, take_waiting

MAX_ATTEMPTS = 3
"""Workers a trial may take down with it, none of them any further, before it is failed instead of
tried again."""

ERROR_LIMIT = 2000
"""Characters of a failure's reason that are kept."""

# The attempt too: a worker that lost a trial and took it again is another holder than before.
# And the trial: its lease outlives one that another program deletes.
_HELD = """WHERE trial_id = :trial AND worker = :worker AND attempt = :attempt
    AND EXISTS (SELECT 1 FROM trials t WHERE t.trial_id = kdopt_lease.trial_id)"""


@dataclass(frozen=True)
class Lease:
    """A trial that this worker may run.

    Attributes:
        trial_id, study_id: Optuna's rows.
        number: The trial's number within its study.
        worker: Who holds the lease.
        attempt: 1 for the first run of this trial, more after a worker was lost.
        params: Its parameters; empty for an open trial.
    """

    trial_id: int
    study_id: int
    number: int
    worker: str
    attempt: int
    params: Params


def claim_trial(store: Store, study_id: int, worker: str, lease_s: float) -> Lease | None:
    """Take the study's next waiting trial, or ``None`` when there is none to take."""
    return next(iter(claim_trials(store, study_id, worker, lease_s)), None)


def claim_trials(
    store: Store, study_id: int, worker: str, lease_s: float, at_most: int = 1
) -> list[Lease]:
    """Take the study's next waiting trials: the first, and more where nothing speaks against it.

    A trial that a worker was lost with is taken alone, and so is an open one. Otherwise the trials
    beside one that takes its worker down would be given up with it.

    Args:
        store: The store.
        study_id: The study.
        worker: Who takes them.
        lease_s: Seconds that each lease is good for.
        at_most: How many.

    Returns:
        Their leases, in order of the trials; none when there is nothing to take.
    """

    def take_trials(connection: Connection) -> list[Lease]:
        # Serialises claims within one study, so that two workers cannot both find that "nothing
        # is running" and take two open trials.
        lock = f"SELECT {store.unwaited} FROM studies WHERE study_id = :study {store.row_lock}"
        connection.execute(sa.text(lock), {"study": study_id})
        taken = take_waiting(store, connection, study_id, FIRST, 1)
        found = grant(connection, taken)
        if at_most > 1 and found and found[0].params and found[0].attempt == 1:
            more = take_waiting(store, connection, study_id, PLANNED_AND_NEW, at_most - 1)
            found += grant(connection, more)
        return found

    def grant(connection: Connection, taken: Mapping[int, int]) -> list[Lease]:
        if not taken:
            return []
        attempts = grant_leases(store, connection, list(taken), worker, lease_s)
        params = read_params(connection, "t.trial_id IN :trials", {"trials": list(taken)}, "trials")
        return [Lease(i, study_id, n, worker, attempts[i], params[i]) for i, n in taken.items()]

    return store.run_write(take_trials)


def record_params(store: Store, lease: Lease, params: Params, space: Mapping[str, Param]) -> Lease:
    """Fill an open trial with the cell that the sampler chose.

    Raises:
        LeaseLostError: Another worker has the trial by now.
    """

    def write(connection: Connection) -> None:
        check_lease(connection, lease)
        if not _read_params(connection, lease.trial_id):  # else: repeated after an unclear commit
            insert_rows(connection, "trial_params", list_param_rows(lease.trial_id, params, space))

    store.run_write(write)
    return replace(lease, params=dict(params))


def renew_lease(store: Store, lease: Lease, lease_s: float) -> bool:
    """Prolong the lease; ``False`` when it is no longer this worker's."""
    # Whether the lease has lapsed is not asked: until the trial is taken, it is this worker's.
    until = f"{store.now} + :lease_s"
    sql = sa.text(f"UPDATE kdopt_lease SET expires = {until} {_HELD} RETURNING {store.unwaited}")

    def write(connection: Connection) -> bool:
        return bool(connection.execute(sql, {**_name_holder(lease), "lease_s": lease_s}).all())

    return store.run_write(write)


def finish_trial(
    store: Store,
    lease: Lease,
    outcome: Outcome,
    student: Kept | None = None,
    then: Lease | None = None,
) -> list[str]:
    """Record a result.

    Args:
        store: The store.
        lease: The trial.
        outcome: Its result.
        student: Its student, to be kept if it is the best so far.
        then: The trial that its worker begins now, of those that it claimed with this one.

    Returns:
        The sha256 of each student that nothing refers to any more.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """
    dropped: list[str] = []

    def write(connection: Connection) -> None:
        if student is not None:
            # Before the lease, as in claims and merges: two orders of locks are a deadlock.
            lock_kept(store, connection, student)
        if not _close_trial(store, connection, lease, "COMPLETE", then):
            return
        value = {"trial_id": lease.trial_id, "objective": 0, "value": outcome.value}
        insert_rows(connection, "trial_values", [value | {"value_type": "FINITE"}])
        # Scalars are columns that the dashboard can sort by; the whole outcome is one JSON text.
        attributes = {k: v for k, v in list_shown_values(outcome).items() if v is not None}
        write_trial_attributes(
            connection, lease.trial_id, attributes | {OUTCOME_KEY: outcome.to_json()}
        )
        if student is not None:
            # In place of what an earlier try found: a transaction may be run again.
            dropped[:] = keep_better(connection, lease.trial_id, student)

    store.run_write(write)
    return dropped


def fail_trial(store: Store, lease: Lease, reason: str, then: Lease | None = None) -> None:
    """Record that a trial cannot be done, and why; it is not tried again.

    ``then`` is the trial that its worker begins now, of those that it claimed with this one.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """

    def write(connection: Connection) -> None:
        if _close_trial(store, connection, lease, "FAIL", then):
            write_trial_attributes(connection, lease.trial_id, {ERROR_KEY: reason[:ERROR_LIMIT]})

    store.run_write(write)


def release_trial(store: Store, lease: Lease, stopped: bool = False) -> None:
    """Give a trial back unfinished, at once; it does not count as an attempt.

    Where its worker was told to stop, that is counted (:mod:`kdopt.store.given_back`).
    """

    def write(connection: Connection) -> None:
        # Not deleted: the row counts the attempts, also of runs to come.
        free = sa.text(f"UPDATE kdopt_lease SET worker = '', attempt = attempt - 1 {_HELD}")
        if not connection.execute(free, _name_holder(lease)).rowcount:
            return
        state = read_saved_state(connection, lease.trial_id)
        if state is not None and state.attempt == lease.attempt:
            # Or the next run, which has the same number, would seem to have got this far itself.
            before = state._replace(attempt=state.attempt - 1)
            write_saved_state(connection, lease.trial_id, before)
            forget_giving_back(connection, lease.trial_id)
        elif stopped:
            count_giving_back(store, connection, lease.trial_id)
        _requeue_trial(connection, lease.trial_id)

    store.run_write(write)


def requeue_lost_trials(
    store: Store,
    is_dead: Callable[[str], bool],
    max_attempts: int = MAX_ATTEMPTS,
    discard_state: Callable[[str], object] = lambda _sha256: None,
    lease_s: float = math.inf,
) -> int:
    """Put trials of lost workers back into the queue, or fail them when they were lost too often.

    Args:
        store: The store.
        is_dead: Whether a worker is known to be gone, so that its lease need not be waited for.
            It must say no when it cannot tell.
        max_attempts: Workers a trial may lose.
        discard_state: Called with the sha256 of a state that no trial needs any more.
        lease_s: Seconds that a lease is good for; one with more left is cut to that.

    Returns:
        Number of trials taken from lost workers.
    """
    stale = store.select_rows(
        f"""
        SELECT l.trial_id, l.worker, l.attempt, l.expires < {store.now} AS late,
            l.expires > {store.now} + :lease_s AS long
        FROM kdopt_lease l JOIN trials t ON t.trial_id = l.trial_id
        WHERE t.state = 'RUNNING'
        """,
        {"lease_s": lease_s},
    )
    taken = 0
    for trial_id, worker, attempt, late, long in stale:
        if not isinstance(worker, str) or not isinstance(attempt, int):
            continue  # none that kdopt wrote: kdopt.service.repair takes the trial back
        holder: _Holder = {"trial": trial_id, "worker": worker, "attempt": attempt}
        if not (dead := is_dead(worker)) and not late:
            if long:
                _shorten_lease(store, holder, lease_s)
            continue
        done, left = _take_from_worker(store, holder, max_attempts, dead)
        taken += done
        if left is not None:
            discard_state(left.sha256)
    return taken


def _shorten_lease(store: Store, holder: _Holder, lease_s: float) -> None:
    # The clock stepped back. A worker that lives renews its lease in time; one that died would hold
    # its trial until the clock is there again.
    until = f"{store.now} + :lease_s"
    cut = sa.text(f"UPDATE kdopt_lease SET expires = {until} {_HELD} AND expires > {until}")
    store.run_write(lambda connection: connection.execute(cut, {**holder, "lease_s": lease_s}))


class _Holder(TypedDict):
    """The values that :data:`_HELD` is bound to."""

    trial: int
    worker: str
    attempt: int


def _name_holder(lease: Lease) -> _Holder:
    return {"trial": lease.trial_id, "worker": lease.worker, "attempt": lease.attempt}


def _take_from_worker(
    store: Store, holder: _Holder, max_attempts: int, dead: bool
) -> tuple[bool, SavedState | None]:
    """Whether the trial was taken, and the state it leaves behind if that was its end."""
    # Asked once more: the lease may have been renewed since it was found to be late.
    late = "" if dead else f"AND expires < {store.now}"
    take = sa.text(f"UPDATE kdopt_lease SET worker = '' {_HELD} {late}")
    trial_id, attempt = holder["trial"], holder["attempt"]

    def write(connection: Connection) -> tuple[bool, SavedState | None]:
        if connection.execute(take, holder).rowcount != 1:
            return False, None  # its worker came back, or another reaper was quicker
        state = read_saved_state(connection, trial_id)
        if attempt - (state.attempt if state else 0) < max_attempts:
            return _requeue_trial(connection, trial_id), None
        failed = _set_state(store, connection, trial_id, "FAIL")
        if failed:
            reason = f"its worker was lost {attempt} times (killed, out of memory, or cut off)"
            write_trial_attributes(connection, trial_id, {ERROR_KEY: reason})
            drop_saved_states(connection, [trial_id])
        return failed, state if failed else None

    return store.run_write(write)


def check_lease(connection: Connection, lease: Lease) -> None:
    """Refuse to write for a worker that lost its trial.

    Raises:
        LeaseLostError: Another worker has the trial by now.
    """
    # An UPDATE that changes nothing: it locks the lease, so that no reaper can take it between
    # this check and the end of the transaction.
    check = sa.text(f"UPDATE kdopt_lease SET worker = worker {_HELD}")
    if connection.execute(check, _name_holder(lease)).rowcount != 1:
        check_there(connection, lease.trial_id)
        raise LeaseLostError(f"trial {lease.trial_id}: the lease of worker {lease.worker} is gone")


def _close_trial(
    store: Store, connection: Connection, lease: Lease, state: str, then: Lease | None
) -> bool:
    """Close a trial that this worker holds; ``False`` when an earlier try did so already."""
    check_lease(connection, lease)
    drop_notes_of_runs(connection, lease.trial_id)
    set_now = _set_state(store, connection, lease.trial_id, state)
    # Also where an earlier try closed this trial: its worker goes on with the next one either way.
    if then is not None:
        _begin_trial(store, connection, then)
    return set_now or not check_recorded(connection, lease.trial_id, state)


def _set_state(store: Store, connection: Connection, trial_id: int, state: str) -> bool:
    sql = sa.text(
        f"UPDATE trials SET state = '{state}', datetime_complete = {store.utc} "
        "WHERE trial_id = :trial AND state = 'RUNNING'"
    )
    return connection.execute(sql, {"trial": trial_id}).rowcount == 1


def _begin_trial(store: Store, connection: Connection, lease: Lease) -> None:
    # Of trials that were claimed at once and run in turn, all but the first waited since then.
    sql = sa.text(
        f"UPDATE trials SET datetime_start = {store.utc} WHERE trial_id = :trial "
        f"AND state = 'RUNNING' AND EXISTS (SELECT 1 FROM kdopt_lease {_HELD})"
    )
    connection.execute(sql, _name_holder(lease))


def _requeue_trial(connection: Connection, trial_id: int) -> bool:
    # Whoever goes on reports the steps of the saved state again; those after it are void.
    connection.execute(
        sa.text("DELETE FROM trial_intermediate_values WHERE trial_id = :trial"),
        {"trial": trial_id},
    )
    changed = connection.execute(
        sa.text(
            "UPDATE trials SET state = 'WAITING', datetime_start = NULL "
            "WHERE trial_id = :trial AND state = 'RUNNING'"
        ),
        {"trial": trial_id},
    )
    return changed.rowcount == 1


def _read_params(connection: Connection, trial_id: int) -> Params:
    return read_params(connection, "t.trial_id = :trial", {"trial": trial_id})[trial_id]
