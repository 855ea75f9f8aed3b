"""Connections to PostgreSQL through a pooler, which gives each transaction some session."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.store import leases, queries
from kdopt.store.database import Store, open_store
from kdopt.store.engines import open_optuna_storage
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_outcome, make_record
from tests.postgres import Pooler, Postgres

OFTEN = 12
"""Times after which psycopg has prepared what it asks."""


def ask(store: Store, sql: str) -> object:
    return store.select_rows(sql)[0][0]


@pytest.fixture
def pooled(postgres: Postgres) -> Iterator[Store]:
    """An empty store, made through PgBouncer."""
    pooler = Pooler(postgres)
    try:
        with contextlib.closing(open_store(pooler.url(postgres), create=True)) as store:
            yield store
    finally:
        pooler.stop()


def test_workers_share_the_sessions_of_a_pooler(pooled: Store) -> None:
    record = make_record(make_campaign(participants=3))
    planned = write_plan(pooled, record, plan_studies).trials
    done: Counter[int] = Counter()

    def work(name: str) -> None:
        for state in queries.read_study_counts(pooled, "tiny"):
            while claim := leases.claim_trial(pooled, state.study_id, name, 60):
                assert leases.renew_lease(pooled, claim, 60)
                leases.finish_trial(pooled, claim, make_outcome(1.0))
                done[claim.trial_id] += 1

    workers = [threading.Thread(target=work, args=(str(i),)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(done) == planned
    assert set(done.values()) == {1}
    storage = open_optuna_storage(pooled.url)
    studies = [study._study_id for study in storage.get_all_studies()]
    assert Counter(t.state.name for i in studies for t in storage.get_all_trials(i)) == {
        "COMPLETE": planned
    }
    storage.remove_session()
    storage.engine.dispose()
    assert ask(pooled, "SHOW lock_timeout") == "3s"


@pytest.mark.parametrize("is_pooled", [True, False])
def test_behind_a_pooler_nothing_is_left_in_a_session(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_pooled: bool
) -> None:
    """A pooler is known by a number of the session that is not the server's."""
    if is_pooled:
        monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", -1)
    store = open_store(postgres_url)
    for _ in range(OFTEN):
        ask(store, "SELECT 1")
    assert ask(store, "SHOW lock_timeout") == "3s"
    assert (ask(store, "SELECT count(*) FROM pg_prepared_statements") == 0) is is_pooled
    with store.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert driver.execute("SHOW lock_timeout").fetchone() == ("0" if is_pooled else "3s",)
    store.close()
