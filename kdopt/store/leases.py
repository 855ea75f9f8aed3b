"""Claim, beat, finish, fail, release and reap: how a trial gets exactly one result.

The contract, on SQLite and Postgres alike:

- A trial row is claimed by one worker at a time: the change WAITING -> RUNNING and the lease are
  one transaction, and the database refuses the second of two claims.
- A result is taken from the holder of the lease only, in the transaction that checks the lease.
  A worker that was frozen past its lease gets :class:`LeaseLostError`, and its result is dropped.
- A lost trial goes back to WAITING in its own row, by whoever wins the stale lease. One row per
  cell for ever, so no result can be recorded twice.
- A long trial may save a state (:func:`save_state`) for the next worker to go on from. A worker
  that is lost after it saved one did not lose its time in vain, so it does not count towards
  ``MAX_ATTEMPTS``.
- An open trial (no parameters yet) is claimed only when nothing else of its study is running:
  adaptive samplers then see all earlier results, and the same campaign gives the same cells
  however many workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import Param, Params
from kdopt.errors import LeaseLostError
from kdopt.outcome import Outcome
from kdopt.store import saved_state
from kdopt.store.database import Store
from kdopt.store.params import param_rows, read_value
from kdopt.store.saved_state import SavedState
from kdopt.store.statements import insert_rows, write_attributes

T = TypeVar("T")

MAX_ATTEMPTS = 3
"""Workers a trial may take down with it, none of them any further, before it is failed instead of
tried again."""

ERROR_LIMIT = 2000
"""Characters of a failure's reason that are kept."""


@dataclass(frozen=True)
class Claim:
    """A trial that this worker may run.

    Attributes:
        trial_id: Optuna's row.
        study_id: The study's row.
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


def claim(store: Store, study_id: int, worker: str, lease_s: float) -> Claim | None:
    """Take the study's next waiting trial, or ``None`` when there is none to take."""
    skip = "FOR UPDATE SKIP LOCKED" if store.dialect == "postgresql" else ""
    take = sa.text(
        f"""
        UPDATE trials SET state = 'RUNNING', datetime_start = {store.utc}
        WHERE state = 'WAITING' AND trial_id = (
            SELECT trial_id FROM trials WHERE study_id = :study AND state = 'WAITING'
            ORDER BY trial_id LIMIT 1 {skip})
          AND (EXISTS (SELECT 1 FROM trial_params p WHERE p.trial_id = trials.trial_id)
               OR NOT EXISTS (SELECT 1 FROM trials r
                              WHERE r.study_id = :study AND r.state = 'RUNNING'))
        RETURNING trial_id, number
        """
    )
    lease = sa.text(
        f"""
        INSERT INTO kdopt_lease (trial_id, worker, attempt, expires)
        VALUES (:trial, :worker, 1, {store.now} + :lease)
        ON CONFLICT (trial_id) DO UPDATE SET
            worker = excluded.worker, attempt = kdopt_lease.attempt + 1, expires = excluded.expires
        RETURNING attempt
        """
    )

    def attempt() -> Claim | None:
        with store.write() as connection:
            if store.dialect == "postgresql":
                # Serialises claims within one study, so that two workers cannot both find that
                # "nothing is running" and take two open trials.
                connection.execute(
                    sa.text("SELECT 1 FROM studies WHERE study_id = :study FOR UPDATE"),
                    {"study": study_id},
                )
            row = connection.execute(take, {"study": study_id}).first()
            if row is None:
                return None
            tries = connection.execute(
                lease, {"trial": row.trial_id, "worker": worker, "lease": lease_s}
            ).scalar_one()
            params = _read_cell(connection, row.trial_id)
            return Claim(row.trial_id, study_id, row.number, worker, tries, params)

    return store.retry(attempt)


def choose(store: Store, claim: Claim, params: Params, space: Mapping[str, Param]) -> Claim:
    """Fill an open trial with the cell that the sampler chose.

    Raises:
        LeaseLostError: Another worker has the trial by now.
    """

    def write(connection: Connection) -> None:
        _check_lease(connection, claim)
        if not _read_cell(connection, claim.trial_id):  # else: repeated after an unclear commit
            insert_rows(connection, "trial_params", param_rows(claim.trial_id, params, space))

    _transaction(store, write)
    return Claim(
        claim.trial_id, claim.study_id, claim.number, claim.worker, claim.attempt, dict(params)
    )


def beat(store: Store, claim: Claim, lease_s: float) -> bool:
    """Prolong the lease; ``False`` when it is no longer this worker's."""
    sql = sa.text(
        f"UPDATE kdopt_lease SET expires = {store.now} + :lease "
        "WHERE trial_id = :trial AND worker = :worker AND attempt = :attempt"
    )

    def attempt() -> bool:
        with store.write() as connection:
            return connection.execute(sql, {**_holder(claim), "lease": lease_s}).rowcount == 1

    return store.retry(attempt)


def save_state(store: Store, claim: Claim, step: int, sha256: str) -> None:
    """Record the state to go on from; it replaces the one before.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """
    state = SavedState(step, sha256, claim.attempt)

    def write(connection: Connection) -> None:
        _check_lease(connection, claim)
        saved_state.write(connection, claim.trial_id, state)

    _transaction(store, write)


def read_state(store: Store, claim: Claim) -> SavedState | None:
    """The last state that any run of this trial saved."""

    def read() -> SavedState | None:
        with store.read() as connection:
            return saved_state.read(connection, claim.trial_id)

    return store.retry(read)


def report(store: Store, claim: Claim, values: Mapping[int, float]) -> None:
    """Record intermediate values by step, as Optuna does; a newer value replaces an older.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """
    sql = sa.text(
        """
        INSERT INTO trial_intermediate_values
            (trial_id, step, intermediate_value, intermediate_value_type)
        VALUES (:trial, :step, :value, 'FINITE')
        ON CONFLICT (trial_id, step) DO UPDATE SET intermediate_value = excluded.intermediate_value
        """
    )
    lines = [{"trial": claim.trial_id, "step": s, "value": v} for s, v in values.items()]

    def write(connection: Connection) -> None:
        _check_lease(connection, claim)
        connection.execute(sql, lines)

    _transaction(store, write)


def finish(store: Store, claim: Claim, outcome: Outcome) -> None:
    """Record a result.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """

    def write(connection: Connection) -> None:
        if not _end(store, connection, claim, "COMPLETE"):
            return
        value = {
            "trial_id": claim.trial_id,
            "objective": 0,
            "value": outcome.value,
            "value_type": "FINITE",
        }
        insert_rows(connection, "trial_values", [value])
        # Scalars are columns that the dashboard can sort by; the whole outcome is one JSON text.
        scalars = {
            "test_gain": outcome.test_gain,
            "test_accuracy": outcome.test.accuracy,
            "seconds": round(outcome.seconds, 3),
        }
        attributes = {k: v for k, v in scalars.items() if v is not None}
        write_attributes(connection, claim.trial_id, attributes | {"kd:metrics": outcome.to_json()})

    _transaction(store, write)


def fail(store: Store, claim: Claim, reason: str) -> None:
    """Record that a trial cannot be done, and why; it is not tried again.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """

    def write(connection: Connection) -> None:
        if _end(store, connection, claim, "FAIL"):
            write_attributes(connection, claim.trial_id, {"kd:error": reason[:ERROR_LIMIT]})

    _transaction(store, write)


def release(store: Store, claim: Claim) -> None:
    """Give a trial back unfinished, at once; it does not count as an attempt."""

    def write(connection: Connection) -> None:
        freed = connection.execute(
            sa.text(
                "UPDATE kdopt_lease SET worker = '', attempt = attempt - 1 "
                "WHERE trial_id = :trial AND worker = :worker AND attempt = :attempt"
            ),
            _holder(claim),
        ).rowcount
        if freed:
            state = saved_state.read(connection, claim.trial_id)
            if state is not None and state.attempt == claim.attempt:
                saved_state.write(
                    connection, claim.trial_id, state._replace(attempt=state.attempt - 1)
                )
            _requeue(connection, claim.trial_id)

    _transaction(store, write)


def _keep(_sha256: str) -> None:
    pass


def reap(
    store: Store,
    is_dead: Callable[[str], bool],
    max_attempts: int = MAX_ATTEMPTS,
    forget: Callable[[str], None] = _keep,
) -> int:
    """Put trials of lost workers back into the queue, or fail them when they were lost too often.

    Args:
        store: The store.
        is_dead: Whether a worker is known to be gone, so that its lease need not be waited for.
            It must say no when it cannot tell.
        max_attempts: Workers a trial may lose.
        forget: Called with the sha256 of a state that no trial needs any more.

    Returns:
        Number of trials taken from lost workers.
    """
    stale = sa.text(
        f"""
        SELECT l.trial_id, l.worker, l.attempt, l.expires < {store.now} AS late
        FROM kdopt_lease l JOIN trials t ON t.trial_id = l.trial_id
        WHERE t.state = 'RUNNING'
        """
    )

    def find() -> list[tuple[int, str, int]]:
        with store.read() as connection:
            rows = connection.execute(stale).all()
        return [(t, w, a) for t, w, a, late in rows if late or is_dead(w)]

    taken = 0
    for trial_id, worker, attempt in store.retry(find):
        done, left = _take_from(store, trial_id, worker, attempt, max_attempts, is_dead(worker))
        taken += done
        if left is not None:
            forget(left.sha256)
    return taken


def _take_from(
    store: Store, trial_id: int, worker: str, attempt: int, max_attempts: int, dead: bool
) -> tuple[bool, SavedState | None]:
    """Whether the trial was taken, and the state it leaves behind if that was its end."""
    late = "" if dead else f"AND expires < {store.now}"
    sql = sa.text(
        "UPDATE kdopt_lease SET worker = '' "
        f"WHERE trial_id = :trial AND worker = :worker AND attempt = :attempt {late}"
    )

    def write(connection: Connection) -> tuple[bool, SavedState | None]:
        holder = {"trial": trial_id, "worker": worker, "attempt": attempt}
        if connection.execute(sql, holder).rowcount != 1:
            return False, None  # its worker came back, or another reaper was quicker
        state = saved_state.read(connection, trial_id)
        if attempt - (state.attempt if state else 0) < max_attempts:
            return _requeue(connection, trial_id), None
        failed = _set_state(store, connection, trial_id, "FAIL")
        if failed:
            reason = f"its worker was lost {attempt} times (killed, out of memory, or cut off)"
            write_attributes(connection, trial_id, {"kd:error": reason})
            saved_state.drop(connection, trial_id)
        return failed, state if failed else None

    return _transaction(store, write)


def _holder(claim: Claim) -> dict[str, Any]:
    return {"trial": claim.trial_id, "worker": claim.worker, "attempt": claim.attempt}


def _check_lease(connection: Connection, claim: Claim) -> None:
    mine = connection.execute(
        sa.text(
            "UPDATE kdopt_lease SET worker = worker "
            "WHERE trial_id = :trial AND worker = :worker AND attempt = :attempt"
        ),
        _holder(claim),
    ).rowcount
    if mine != 1:
        raise LeaseLostError(f"trial {claim.trial_id}: the lease of worker {claim.worker} is gone")


def _end(store: Store, connection: Connection, claim: Claim, state: str) -> bool:
    """Close a trial that this worker holds; ``False`` when an earlier try did so already."""
    _check_lease(connection, claim)
    saved_state.drop(connection, claim.trial_id)
    return _set_state(store, connection, claim.trial_id, state)


def _set_state(store: Store, connection: Connection, trial_id: int, state: str) -> bool:
    sql = sa.text(
        f"UPDATE trials SET state = '{state}', datetime_complete = {store.utc} "
        "WHERE trial_id = :trial AND state = 'RUNNING'"
    )
    return connection.execute(sql, {"trial": trial_id}).rowcount == 1


def _requeue(connection: Connection, trial_id: int) -> bool:
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


def _read_cell(connection: Connection, trial_id: int) -> Params:
    rows = connection.execute(
        sa.text(
            "SELECT param_name, param_value, distribution_json FROM trial_params "
            "WHERE trial_id = :trial ORDER BY param_id"
        ),
        {"trial": trial_id},
    )
    return {name: read_value(value, distribution) for name, value, distribution in rows}


def _transaction(store: Store, write: Callable[[Connection], T]) -> T:
    def attempt() -> T:
        with store.write() as connection:
            return write(connection)

    return store.retry(attempt)
