"""What ``storage/`` ships for a shared store, on a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdopt.campaign.stages import plan_studies
from kdopt.dashboard.server import make_app
from kdopt.errors import StoreError
from kdopt.store import leases, long_trials, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_outcome, make_record
from tests.postgres import PASSWORD

ROLES = Path(__file__).parents[1] / "storage" / "roles.sh"


@pytest.fixture(scope="module")
def urls(postgres):
    """The store by role, made as the README says: roles first, then `kdopt init` by the owner."""
    database = postgres.new_database()
    environment = {
        **os.environ,
        "PATH": f"{postgres.bin}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres.port),
        "PGPASSWORD": PASSWORD,
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": database,
        "KDOPT_WORKER_PASSWORD": "it's a worker",
        "KDOPT_READER_PASSWORD": "a reader",
    }
    subprocess.run(["sh", str(ROLES)], env=environment, check=True, capture_output=True)
    owner = postgres.url(database)
    open_store(owner, create=True).close()
    url = sa.make_url(owner)
    return {
        "owner": owner,
        **{
            role: url.set(username=f"kdopt_{role}").render_as_string(hide_password=False)
            for role in ("worker", "reader")
        },
    }


def test_a_worker_plans_and_runs_but_makes_and_drops_no_table(urls):
    store = open_store(urls["worker"])
    campaign = make_campaign()
    write_plan(store, make_record(campaign), plan_studies)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    claim = leases.claim_trial(store, study, "me", 60)
    long_trials.report_values(store, claim, {0: 0.5})
    long_trials.save_state(store, claim, 0, "0" * 64)
    assert leases.renew_lease(store, claim, 60)
    leases.finish_trial(store, claim, make_outcome(1.0))
    leases.claim_trial(store, study, "lost", 60)
    assert leases.requeue_lost_trials(store, lambda worker: True) == 1
    for sql in ("CREATE TABLE mine (x int)", "DROP TABLE trials", "TRUNCATE trials"):
        with pytest.raises(sa.exc.ProgrammingError), store.write() as connection:
            connection.execute(sa.text(sql))
    store.close()


def test_a_reader_reads_and_changes_nothing(urls):
    owner = open_store(urls["owner"])
    write_plan(owner, make_record(dataclasses.replace(make_campaign(), name="seen")), plan_studies)
    owner.close()
    store = open_store(urls["reader"])
    assert "seen" in queries.list_campaigns(store)
    assert queries.read_study_counts(store, "seen")
    study = queries.read_study_counts(store, "seen")[0].study_id
    with pytest.raises(StoreError, match="permission denied"):
        leases.claim_trial(store, study, "me", 60)
    store.close()


def test_merging_reads_as_a_reader_and_writes_as_a_worker(urls, tmp_path):
    record = make_record(dataclasses.replace(make_campaign(), name="merged"))
    shelf = Artifacts(tmp_path / "artifacts")
    record = dataclasses.replace(record, splits={"uniform": shelf.put(b"splits")})
    target, source = (open_store(urls[role]) for role in ("worker", "reader"))
    local = open_store(str(tmp_path / "kdopt.db"), create=True)
    write_plan(local, record, plan_studies)
    study = queries.read_study_counts(local, "merged")[0].study_id
    leases.finish_trial(local, leases.claim_trial(local, study, "me", 60), make_outcome(1.0))
    leases.fail_trial(local, leases.claim_trial(local, study, "me", 60), "out of memory")
    done = merge_campaign(Site(target, shelf), Site(local, shelf), "merged")
    assert (done.new_trials, done.results, done.failures) == (10, 1, 1)
    copy = open_store(str(tmp_path / "copy.db"), create=True)
    merge_campaign(Site(copy, shelf), Site(source, shelf), "merged")
    assert queries.read_trials(copy, "merged") == queries.read_trials(local, "merged")
    for store in (target, source, local, copy):
        store.close()


# The dashboard keeps its connections for as long as its process lives.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_dashboard_needs_no_more_than_a_reader(urls):
    answered = []
    app = make_app(urls["reader"])
    body = app(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/api/studies",
            "HTTP_HOST": "localhost",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8080",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "QUERY_STRING": "",
        },
        lambda status, *_: answered.append(status),
    )
    assert answered == ["200 OK"]
    assert b"seen/uniform/tune" in b"".join(body)
    del app, body
    gc.collect()
