"""Which worker process has which trial of a store, and leases that lapse when a test says so.

Workers are those of this machine: their ids end in ``/`` and the number of their process.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from kdopt.store.database import Store


class HeldTrial(NamedTuple):
    """A trial that a worker has now; how often it was given out, this time included."""

    trial_id: int
    pid: int
    attempt: int


def list_held_trials(store: Store) -> list[HeldTrial]:
    """The trials that run now."""
    rows = store.select_rows(
        "SELECT l.trial_id, l.worker, l.attempt FROM kdopt_lease l "
        "JOIN trials t ON t.trial_id = l.trial_id WHERE t.state = 'RUNNING' AND l.worker LIKE '%/%'"
    )
    return [HeldTrial(trial, _read_pid(worker), attempt) for trial, worker, attempt in rows]


def list_holders(store: Store) -> set[int]:
    """Process numbers of those who run a trial now."""
    return {held.pid for held in list_held_trials(store)}


def list_first_holders(store: Store) -> set[int]:
    """The same, of those whose trial no worker was lost with."""
    return {held.pid for held in list_held_trials(store) if held.attempt == 1}


def measure_longest_lease(store: Store) -> float:
    """Seconds that any lease is good for, by the real clock; minus infinity where there is none."""
    rows = store.select_rows(
        f"SELECT max(l.expires - {store.now}) FROM kdopt_lease l "
        "JOIN trials t ON t.trial_id = l.trial_id WHERE t.state = 'RUNNING'"
    )
    return -math.inf if rows[0][0] is None else float(rows[0][0])


def lapse_leases(store: Store, pids: Collection[int]) -> set[int]:
    """Let the leases of workers that give no sign of life lapse now; the trials that were theirs.

    Those that a worker is just about to write are passed over: they are locked as long as it is
    cut off in the midst of that.
    """
    skip = "FOR UPDATE SKIP LOCKED" if store.dialect == "postgresql" else ""
    with store.write() as connection:
        rows = connection.execute(sa.text(f"SELECT trial_id, worker FROM kdopt_lease {skip}")).all()
        theirs = {trial for trial, worker in rows if "/" in worker and _read_pid(worker) in pids}
        theirs &= {held.trial_id for held in list_held_trials(store)}
        end = sa.text(f"UPDATE kdopt_lease SET expires = {store.now} - 1 WHERE trial_id = :trial")
        for trial in theirs:
            connection.execute(end, {"trial": trial})
    return theirs


def count_recorded(store: Store, pids: Collection[int]) -> int:
    """Trials that these workers recorded."""
    rows = store.select_rows(
        "SELECT l.worker FROM kdopt_lease l JOIN trials t ON t.trial_id = l.trial_id "
        "WHERE t.state IN ('COMPLETE', 'FAIL') AND l.worker LIKE '%/%'"
    )
    return sum(_read_pid(worker) in pids for (worker,) in rows)


def count_losses(store: Store) -> int:
    """How often a trial was taken from a worker and given to another."""
    return int(store.select_rows("SELECT sum(attempt - 1) FROM kdopt_lease")[0][0])


def _read_pid(worker: str) -> int:
    return int(worker.split("/")[1])
