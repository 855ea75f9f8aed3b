"""What a long trial leaves in the store while it runs: a state to go on from, and its curve."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.store.attributes import SavedState, read_saved_state, write_saved_state
from kdopt.store.database import Store
from kdopt.store.leases import Lease, check_lease


def save_state(store: Store, lease: Lease, step: int, sha256: str) -> None:
    """Record the state to go on from; it replaces the one before.

    Raises:
        LeaseLostError: Another worker has the trial by now; nothing was recorded.
    """
    state = SavedState(step, sha256, lease.attempt)

    def write(connection: Connection) -> None:
        check_lease(connection, lease)
        write_saved_state(connection, lease.trial_id, state)

    store.run_write(write)


def read_state(store: Store, lease: Lease) -> SavedState | None:
    """The last state that any run of this trial saved."""
    return store.run_read(lambda connection: read_saved_state(connection, lease.trial_id))


def report_values(store: Store, lease: Lease, values: Mapping[int, float]) -> None:
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
    lines = [{"trial": lease.trial_id, "step": s, "value": v} for s, v in values.items()]

    def write(connection: Connection) -> None:
        check_lease(connection, lease)
        connection.execute(sql, lines)

    store.run_write(write)
