"""Faults in mid-run on both databases, with real processes: what was planned is done once.

The workers are cheap ones (see ``light_worker``), so that there can be many; the real ones are
killed, stopped and frozen in ``test_worker`` and ``test_journal``.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdopt.errors import ArtifactError
from kdopt.service.doctor import check
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.artifacts import Artifacts
from kdopt.store.open import open_store
from kdopt.store.planning import write_plan
from kdopt.store.retry import retry_failed
from tests.conftest import make_campaign, make_record
from tests.link import Link

ROOT = Path(__file__).parents[2]
TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


def plan(store, shelf, **tune):
    """Six pairs; with a grid of 33 cells, or a budget of 30 trials each."""
    base = make_campaign(participants=3)
    campaign = dataclasses.replace(base, tune=dataclasses.replace(base.tune, **tune))
    record = make_record(campaign)
    record = dataclasses.replace(record, splits={"uniform": shelf.put(b"splits")})
    return write_plan(store, record, all_studies).trials


GRID = {"temperatures": TEMPERATURES, "alphas": (0.1, 0.5, 0.9)}
ADAPTIVE = {"sampler": "tpe", "budget": 30}


class Crew:
    """Worker processes; what they said is kept."""

    def __init__(self, url: str, size: int, lease_s: float = 30.0) -> None:
        self.url, self.lease_s = url, lease_s
        self.said: list[str] = []
        self.running = [self.start() for _ in range(size)]

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.service.light_worker", self.url]
        process = subprocess.Popen(
            [*command, str(self.lease_s)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                self.said.append(line)

    def wait(self, timeout_s: float = 120.0) -> None:
        end = time.monotonic() + timeout_s
        for process in self.running:
            process.wait(timeout=max(1.0, end - time.monotonic()))
        assert [p.returncode for p in self.running] == [0] * len(self.running)

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for line in self.said)


def holders(store) -> dict[int, str]:
    """Process numbers of those who run a trial now."""
    running = rows.read_running(store, "tiny")
    return {int(r.worker.split("/")[1]): r.study for r in running if r.worker not in ("", "?")}


def wait_until(true, timeout_s: float = 60.0):
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def kill_holders(store, crew, kills: int, chance: random.Random) -> None:
    """Kill -9 workers that hold a trial, one after the other; each is replaced."""
    for _ in range(kills):
        victims = wait_until(lambda: [p for p in crew.running if p.pid in holders(store)])
        victim = chance.choice(victims)
        victim.kill()
        victim.wait()
        crew.running.remove(victim)
        crew.running.append(crew.start())


def prove(store, shelf, planned):
    """After a fault: planned = rows, each cell once, or failed with its reason."""
    found = check(store, shelf, "tiny")
    assert found.problems == ()
    assert found.planned == found.rows == planned
    assert found.duplicates == 0
    assert (found.running, found.waiting) == (0, 0)
    assert found.complete + found.failed == planned
    return found


@pytest.fixture
def shelf(tmp_path):
    return Artifacts(tmp_path / "artifacts")


@pytest.mark.parametrize("tune", [GRID, ADAPTIVE], ids=["grid", "adaptive"])
def test_25_kills_over_5_workers(store, store_url, shelf, tune):
    planned = plan(store, shelf, **tune)
    crew = Crew(store_url, 5)
    kill_holders(store, crew, 25, random.Random(0))
    crew.wait()
    found = prove(store, shelf, planned)
    reasons = Counter(f.reason for f in rows.read_failures(store, "tiny"))
    assert set(reasons) <= {
        "the training loss became nan in epoch 1",
        "its worker was lost 3 times (killed, out of memory, or cut off)",
    }
    with store.read() as connection:
        lost = connection.execute(sa.text("SELECT sum(attempt - 1) FROM kdopt_lease")).scalar_one()
    given_up = sum("lost" in f.reason for f in rows.read_failures(store, "tiny"))
    assert lost + given_up >= 10  # kills did hit running trials (some hit just after the end)
    assert retry_failed(store, "tiny") and check(store, shelf, "tiny").problems == ()
    assert check(store, shelf, "tiny").waiting == found.failed


def test_frozen_beyond_their_lease_late_results_are_refused(store, store_url, shelf):
    planned = plan(store, shelf, **GRID)
    crew = Crew(store_url, 3, lease_s=1.5)
    frozen = []
    for process in crew.running[:2]:
        wait_until(lambda pid=process.pid: pid in holders(store))
        os.kill(process.pid, signal.SIGSTOP)
        frozen.append(process)
    # Stopped in the act of holding a trial? One may just have finished; the others go on.
    held = [p for p in frozen if p.pid in holders(store)]
    wait_until(lambda: not holders(store).keys() & {p.pid for p in held})
    for process in frozen:
        os.kill(process.pid, signal.SIGCONT)
    crew.wait()
    prove(store, shelf, planned)
    wait_until(lambda: crew.count("refused") >= len(held))
    assert held


REAPER = """
import sys, time
from kdopt.store import claims
from kdopt.store.open import open_store
store = open_store(sys.argv[1])
original = claims._requeue
def slow(connection, trial_id):
    print("taken", flush=True)
    time.sleep(60)
    return original(connection, trial_id)
claims._requeue = slow
claims.reap(store, lambda worker: True)
"""


def test_a_reaper_killed_while_it_takes_a_trial_back_leaves_it_to_the_next(store, store_url, shelf):
    planned = plan(store, shelf, **GRID)
    study = rows.read_states(store, "tiny")[1].study_id
    lost = claims.claim(store, study, "lost", 60)
    reaper = subprocess.Popen(
        [sys.executable, "-c", REAPER, store_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert reaper.stdout.readline() == "taken\n"
    reaper.kill()  # within its transaction: lease taken, trial not yet requeued
    reaper.communicate()
    assert claims.reap(store, lambda worker: True) == 1
    assert claims.claim(store, study, "next", 60).trial_id == lost.trial_id
    claims.reap(store, lambda worker: True)
    crew = Crew(store_url, 2)
    crew.wait()
    prove(store, shelf, planned)


def test_clocks_of_workers_never_matter(store, store_url, shelf):
    """A worker whose clock is hours off holds, beats and finishes as any other."""
    plan(store, shelf, **GRID)
    study = rows.read_states(store, "tiny")[1].study_id
    real = time.time
    try:
        for hours in (-5, 5):
            time.time = lambda shift=3600.0 * hours: real() + shift
            claim = claims.claim(store, study, "me", 60)
            assert claims.reap(store, lambda worker: False) == 0
            assert claims.beat(store, claim, 60)
            time.time = real
            assert claims.reap(store, lambda worker: False) == 0
            claims.release(store, claim)
    finally:
        time.time = real


def test_a_restart_of_the_database_is_outlived(postgres, postgres_template, shelf):
    url = postgres.url(postgres.new_database(postgres_template))
    store = open_store(url)
    planned = plan(store, shelf, **GRID)
    crew = Crew(url, 4)
    for mode in ("fast", "immediate"):
        wait_until(lambda: len(holders(store)) >= 2)
        kill_holders(store, crew, 3, random.Random(1))
        postgres.restart(mode)
    crew.wait()
    found = prove(store, shelf, planned)
    assert found.failed == sum(
        f.reason.startswith("the training loss") for f in rows.read_failures(store, "tiny")
    )
    store.close()


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_link_that_is_cut_in_mid_run(postgres, postgres_template, shelf, how):
    """Workers of another machine, over TCP; one of this machine goes on meanwhile."""
    url = postgres.url(postgres.new_database(postgres_template))
    store = open_store(url)
    planned = plan(store, shelf, **GRID)
    link = Link(postgres.port)
    far = Crew(url.replace(f":{postgres.port}/", f":{link.port}/"), 2, lease_s=3.0)
    near = Crew(url, 1, lease_s=3.0)
    try:
        wait_until(lambda: far.count("finished") > 5)
        link.silent() if how == "silent" else link.down()
        cut_at = far.count("finished")
        time.sleep(5.0)  # beyond the lease: what the far workers held is taken from them
        assert far.count("finished") - cut_at <= 2
        link.heard() if how == "silent" else link.up()
        far.wait()
        near.wait()
    finally:
        link.heard()
        link.down()
    found = prove(store, shelf, planned)
    assert all("became nan" in f.reason for f in rows.read_failures(store, "tiny"))
    done = far.count("finished") + near.count("finished")
    # A worker that could not hear the answer may have recorded its result and not know.
    assert found.complete + found.failed - 2 <= done <= found.complete + found.failed
    store.close()


def test_a_full_disk_stops_with_one_clear_message_and_loses_nothing(tmp_path):
    """A real file system of 600 kB, where mounting one is allowed."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        shelf = Artifacts(small / "artifacts")
        kept = shelf.put(b"a" * 200_000)
        with pytest.raises(ArtifactError, match="cannot be written: No space left"):
            shelf.put(b"b" * 600_000)
        assert [p for p in (small / "artifacts").rglob("*") if p.name.endswith(".tmp")] == []
        assert shelf.get(kept) == b"a" * 200_000
    finally:
        subprocess.run(["umount", str(small)], check=True)
