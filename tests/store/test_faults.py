"""Servers and roles that take no writes: refused by name, read as ever, and outlived."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kdopt.cli.inputs import open_store_at
from kdopt.errors import StoreError
from kdopt.service.status import read_status
from kdopt.store import activity, leases, queries
from kdopt.store.database import open_store
from tests.conftest import make_outcome
from tests.postgres import Postgres, Standby
from tests.store.test_leases import plan_queue

ROLE = "default_transaction_read_only is 'on': this role or database takes no writes; give the URL"
STANDBY = "pg_is_in_recovery is true: this server is a standby, which takes no writes; give the URL"


def test_a_database_that_takes_no_writes_is_refused_by_name_and_can_be_read(
    postgres, postgres_template
):
    database = postgres.new_database(postgres_template)
    url = postgres.url(database)
    store = open_store(url)
    study = plan_queue(store, 2)
    store.close()
    postgres.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with contextlib.closing(open_store_at(url)) as store:
        assert read_status(store, "tiny").left == 2
        for write in (
            lambda: open_store_at(url, writes=True),  # worker, launch
            lambda: open_store(url, create=True),  # init, plan, run
            lambda: leases.claim_trial(store, study, "me", 60),  # any other
        ):
            with pytest.raises(StoreError, match=ROLE):
                write()


def test_a_failover_to_a_promoted_standby_loses_nothing():
    """Both servers are in one URL; the primary crashes while a trial is in hand."""
    with tempfile.TemporaryDirectory(prefix="kdopt-pair-", ignore_cleanup_errors=True) as folder:
        primary = Postgres(Path(folder) / "primary")
        database = primary.new_database()
        open_store(primary.url(database), create=True).close()
        standby = Standby(primary)
        try:
            _fail_over(primary, standby, database)
        finally:
            standby.stop()
            with contextlib.suppress(subprocess.CalledProcessError):  # it has crashed already
                primary.stop()


def _fail_over(primary, standby, database):
    alone = primary.url(database).replace(f":{primary.port}/", f":{standby.port}/")
    both = primary.url(database).replace(
        f"@127.0.0.1:{primary.port}/{database}",
        f"@/{database}?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
        "&target_session_attrs=read-write",
    )
    store = open_store(both)
    # What is not at the standby yet is lost with the primary: it is to answer for each commit.
    primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.run("SELECT pg_reload_conf()")
    study = plan_queue(store, 3)
    done, held = (leases.claim_trial(store, study, "me", 60) for _ in range(2))
    leases.finish_trial(store, done, make_outcome(1.0))

    behind = open_store(alone)
    with pytest.raises(StoreError, match=STANDBY):
        leases.claim_trial(behind, study, "me", 60)
    with pytest.raises(StoreError, match=STANDBY):
        open_store(alone, create=True)
    assert len(activity.read_running_trials(behind, "tiny")) == 1

    primary.stop()
    threading.Thread(target=lambda: (time.sleep(1.0), standby.promote())).start()
    leases.finish_trial(store, held, make_outcome(2.0))
    leases.finish_trial(store, done, make_outcome(1.0))  # again, after an unclear commit
    rows = queries.read_trials(store, "tiny")
    assert sorted(r.state for r in rows) == ["COMPLETE", "COMPLETE", "WAITING"]
    leases.finish_trial(behind, leases.claim_trial(behind, study, "me", 60), make_outcome(3.0))
    assert {r.state for r in queries.read_trials(store, "tiny")} == {"COMPLETE"}
    store.close()
    behind.close()
