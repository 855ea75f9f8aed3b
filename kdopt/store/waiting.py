"""The two statements of a claim: trials out of the queue, and a lease on each."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.store.database import Store
from kdopt.store.statements import bind_lists

_PLANNED = "EXISTS (SELECT 1 FROM trial_params p WHERE p.trial_id = trials.trial_id)"

FIRST = (
    f"({_PLANNED} OR NOT EXISTS "
    "(SELECT 1 FROM trials r WHERE r.study_id = :study AND r.state = 'RUNNING'))"
)
"""SQL that holds for the trial that a worker may take first: a planned one, or an open one while
nothing else of its study runs."""

PLANNED_AND_NEW = (
    f"{_PLANNED} AND NOT EXISTS "
    "(SELECT 1 FROM kdopt_lease l WHERE l.trial_id = trials.trial_id AND l.attempt > 0)"
)
"""SQL that holds for trials that it may take besides: planned, and no worker was lost with them."""


def take_waiting(
    store: Store, connection: Connection, study_id: int, condition: str, at_most: int
) -> dict[int, int]:
    """Let those of a study's next waiting trials run for which a condition holds.

    Returns:
        The numbers of the trials by their ids, and in that order.
    """
    skip = "FOR UPDATE SKIP LOCKED" if store.dialect == "postgresql" else ""
    # The state is asked for twice: between the SELECT and the UPDATE another may have taken it.
    # A WITH, as Postgres may run a subquery again while it updates, and lock more rows than asked.
    # In a CASE, as SQLite would else go through all that waits in the store by the states' index.
    take = sa.text(
        f"""
        WITH next AS (
            SELECT trial_id FROM trials WHERE study_id = :study AND state = 'WAITING'
            ORDER BY trial_id LIMIT :n {skip})
        UPDATE trials SET state = 'RUNNING', datetime_start = {store.utc}
        WHERE CASE state WHEN 'WAITING' THEN TRUE ELSE FALSE END
        AND trial_id IN (SELECT trial_id FROM next) AND {condition}
        RETURNING trial_id, number
        """
    )
    rows = connection.execute(take, {"study": study_id, "n": at_most}).all()
    return dict(sorted((row.trial_id, row.number) for row in rows))


def grant_leases(
    store: Store, connection: Connection, trials: Sequence[int], worker: str, lease_s: float
) -> dict[int, int]:
    """Give a worker the leases of trials; how often each was leased by now.

    A lease outlives its run, as that count is in it.
    """
    grant = bind_lists(
        f"""
        INSERT INTO kdopt_lease (trial_id, worker, attempt, expires)
        SELECT trial_id, :worker, 1, {store.now} + :lease_s FROM trials WHERE trial_id IN :trials
        ON CONFLICT (trial_id) DO UPDATE SET
            worker = excluded.worker, attempt = kdopt_lease.attempt + 1, expires = excluded.expires
        RETURNING trial_id, attempt
        """,
        "trials",
    )
    # Another program may have put a complete trial back, and left its value.
    left = bind_lists("DELETE FROM trial_values WHERE trial_id IN :trials", "trials")
    connection.execute(left, {"trials": list(trials)})
    values = {"trials": list(trials), "worker": worker, "lease_s": lease_s}
    return {row.trial_id: row.attempt for row in connection.execute(grant, values)}
