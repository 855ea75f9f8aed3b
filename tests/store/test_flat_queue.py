"""What a worker asks of the store takes as long in a large campaign as in a small one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from kdopt.campaign.studies import Param, StudyPlan
from kdopt.store import leases, queries
from kdopt.store.database import Store, open_store
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_outcome, make_record

OTHERS = 3_000


def plan_study(pair: str, n: int) -> StudyPlan:
    cells = tuple({"temperature": 1.0, "alpha": 0.5, "replicate": i} for i in range(n))
    space = {"temperature": Param("float", 1.0, 2.0), "alpha": Param("float", 0.0, 1.0)}
    return StudyPlan(
        name=f"tiny/uniform/tune/{pair}",
        campaign="tiny",
        partition="uniform",
        stage="tune",
        objective="gain",
        space={**space, "replicate": Param("int", 0, n - 1)},
        cells=cells,
        teacher=0,
        student=1,
        open_trials=0,
    )


def make_queue(path: str, n_others: int) -> tuple[Store, int]:
    """A store with a study of twenty trials, beside one of many, half of them done; its id."""
    store = open_store(path, create=True)
    plans = [plan_study("t00-s01", 20), plan_study("t01-s00", 2 * n_others)]
    write_plan(store, make_record(make_campaign()), lambda campaign: plans)
    mine, others = (s.study_id for s in queries.read_study_counts(store, "tiny"))
    half = f"study_id = {others} AND number < {n_others}"
    with store.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO kdopt_lease (trial_id, worker, attempt, expires) "
            f"SELECT trial_id, 'them', 1, 0 FROM trials WHERE {half}"
        )
        connection.exec_driver_sql(f"UPDATE trials SET state = 'COMPLETE' WHERE {half}")
    return store, mine


@contextmanager
def counting_steps(store: Store) -> Iterator[list[int]]:
    """Counts instructions of SQLite's virtual machine, which the machine's load does not change."""
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    def watch(connection: sa.engine.interfaces.DBAPIConnection, *_: object) -> None:
        connection.set_progress_handler(count, 1)

    sa.event.listen(store.engine, "checkout", watch)
    yield steps
    sa.event.remove(store.engine, "checkout", watch)


def count_steps(store: Store, study: int) -> dict[str, int]:
    taken: list[leases.Lease] = []
    calls: dict[str, Callable[[], object]] = {
        "claim one": lambda: taken.extend(leases.claim_trials(store, study, "me", 60)),
        "claim several": lambda: taken.extend(leases.claim_trials(store, study, "me", 60, 8)),
        "renew": lambda: leases.renew_lease(store, taken[0], 60),
        "finish": lambda: leases.finish_trial(store, taken[0], make_outcome(0.1)),
        "fail": lambda: leases.fail_trial(store, taken[1], "no"),
        "give back": lambda: leases.release_trial(store, taken[2]),
        "take from the lost": lambda: leases.requeue_lost_trials(store, lambda worker: False),
    }
    found = {}
    for name, call in calls.items():
        with counting_steps(store) as steps:
            call()
        found[name] = steps[0]
    assert len(taken) == 9
    return found


def test_no_step_of_a_trial_depends_on_the_size_of_the_campaign(tmp_path):
    counts = []
    for n_others in (1, OTHERS):
        store, study = make_queue(str(tmp_path / f"{n_others}.db"), n_others)
        counts.append(count_steps(store, study))
        store.close()
    small, large = counts
    # Going through the others would be thousands of steps; a deeper tree of an index is a few.
    assert large == {name: pytest.approx(n, abs=100) for name, n in small.items()}
