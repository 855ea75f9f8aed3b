"""``kdopt merge`` as two sites use it: real training, real processes, then one table."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.store import queries
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from tests.cli.test_cli import kdopt, refused
from tests.conftest import make_campaign, make_record
from tests.postgres import PASSWORD, PASSWORD_IN_URL
from tests.small_campaigns import make_spec

SPEC = make_spec(
    participants=3,
    stages=["tune", "federate"],
    distill={"epochs": 2},
    tune={"temperatures": [1, 4], "alphas": [0.5, 0.9]},
    federate={"initial_models": ["random"], "rounds": 2},
)
STORE = "storage/kdopt.db"


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    (folder / "tiny.toml").write_text(SPEC)
    assert kdopt(folder, "plan", "tiny.toml").returncode == 0
    return folder


@pytest.fixture
def sites(tmp_path, planned):
    """Three folders in which the same campaign is planned."""
    return [shutil.copytree(planned, tmp_path / name) for name in ("whole", "here", "there")]


def results(folder):
    """By study and cell, what was computed; where and how fast aside."""
    with closing(open_store(str(folder / STORE))) as store:
        return {
            (r.study, tuple(r.params.items())): dataclasses.replace(r.outcome, seconds=0.0)
            for r in queries.read_trials(store, "tiny")
            if r.outcome is not None
        }


def work_until(folder, n):
    """A worker that is told to stop once it has so many results."""
    worker = subprocess.run(
        [sys.executable, "-m", "tests.worker.stopping_worker", str(n), "--quiet"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (worker.returncode, worker.stderr) == (0, "")
    assert len(results(folder)) == n


def doctor(folder):
    end = kdopt(folder, "doctor", "--deep", "--json")
    assert end.returncode == 0, end.stdout
    return json.loads(end.stdout)[0]


def test_two_halves_of_a_campaign_become_the_whole(sites):
    whole, here, there = sites
    assert kdopt(whole, "worker", "--quiet").returncode == 0
    for folder, n in ((here, 8), (there, 12)):
        work_until(folder, n)
    mine, theirs = results(here), results(there)

    done = kdopt(here, "merge", "../there/" + STORE, "--json")
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)
    assert merged["results"] == len(theirs.keys() - mine.keys()) > 0
    assert merged["same"] == len(theirs.keys() & mine.keys()) > 0
    assert (merged["differing"], merged["parted"], merged["other_weights"]) == ([], [], 0)
    assert results(here) == mine | theirs
    found = doctor(here)
    assert (found["planned"], found["complete"]) == (3 + 3 + 6 * 4 + 1, len(mine | theirs))

    again = kdopt(here, "merge", "../there/" + STORE)
    assert again.returncode == 0, again.stderr
    assert "tiny: 0 results and 0 failures imported, 0 artifacts copied" in again.stdout
    assert f"both have {len(theirs):,} equal results and 0 that differ" in again.stdout

    assert kdopt(here, "worker", "--quiet").returncode == 0
    assert doctor(here)["complete"] == 31
    assert results(here) == results(whole)
    assert kdopt(there, "merge", "../here/" + STORE).returncode == 0
    assert doctor(there)["complete"] == 31
    assert results(there) == results(whole)


def test_what_cannot_be_merged_is_said(sites):
    _, here, there = sites
    refused(kdopt(here, "merge"), "OTHER")
    refused(kdopt(here, "merge", "../nowhere/kdopt.db"), "../nowhere/kdopt.db: there is none")
    refused(kdopt(here, "merge", STORE), "this is the store itself")
    refused(kdopt(here, "merge", "../there/" + STORE, "--campaign", "big"), "no campaign 'big'")
    (there / "tiny.toml").write_text(SPEC.replace("epochs = 2", "epochs = 3"))
    other = "../there/other.db"
    assert kdopt(there, "plan", "tiny.toml", "--store", "other.db").returncode == 0
    refused(kdopt(here, "merge", other), "other values of: distill", "nothing was merged")


def test_the_other_stores_password_shows_nowhere(tmp_path, postgres_url):
    with closing(open_store(postgres_url)) as store:
        write_plan(store, make_record(make_campaign()), plan_studies)
    environment = {"KDOPT_OTHER_STORE": postgres_url}
    assert kdopt(tmp_path, "init").returncode == 0
    ends = [kdopt(tmp_path, "merge", **environment)]  # its splits are nowhere
    refused(ends[0], "splits of uniform", "missing", "--other-artifacts")
    ends += [kdopt(tmp_path, "merge", "--store", postgres_url, **environment)]
    refused(ends[1], "this is the store itself")
    ends += [kdopt(tmp_path, "merge", "--campaign", "no", **environment)]
    refused(ends[2], "no campaign 'no'")
    for end in ends:
        for secret in (PASSWORD, PASSWORD_IN_URL):
            assert secret not in end.stdout + end.stderr


def test_merging_does_not_import_torch(sites):
    _, here, there = sites
    script = (
        "import sys; sys.argv = ['kdopt', 'merge', sys.argv[1]]\n"
        "from kdopt.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'torchvision'} & {m.split('.')[0] for m in sys.modules}\n"
    )
    end = subprocess.run(
        [sys.executable, "-c", script, str(there / STORE)],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 0, end.stderr
