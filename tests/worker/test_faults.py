"""Faults in mid-run on both databases, with real processes: what was planned is done once.

The workers are cheap ones (see ``light_worker``), so that there can be many; the real ones are
killed, stopped and frozen in ``test_worker`` and ``test_journal``, and meet full disks here. What
came out is printed as a table (see ``tests.fault_table``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_dataset
from kdopt.errors import ArtifactError, LeaseLostError
from kdopt.service.doctor import check_campaign
from kdopt.service.planner import draw_splits, plan_campaign
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.planning import requeue_failed_trials, write_plan
from tests.conftest import list_failures, make_campaign, make_outcome, make_record
from tests.disk import mounted
from tests.freezing import freeze, thaw
from tests.link import Link
from tests.postgres import Postgres
from tests.worker.light_worker import diverges
from tests.worker.test_worker import SPEC

ROOT = Path(__file__).parents[2]
TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


def plan(store, shelf, **tune):
    """Six pairs; with a grid of 33 cells, or a budget of 30 trials each."""
    base = make_campaign(participants=3)
    campaign = dataclasses.replace(base, tune=dataclasses.replace(base.tune, **tune))
    record = make_record(campaign)
    record = dataclasses.replace(record, splits={"uniform": shelf.put(b"splits")})
    return write_plan(store, record, plan_studies).trials


GRID = {"temperatures": TEMPERATURES, "alphas": (0.1, 0.5, 0.9)}
SMALL_GRID = {"temperatures": TEMPERATURES, "alphas": (0.5,)}
ADAPTIVE = {"sampler": "tpe", "budget": 30}


LEASE_S = 600.0


class Crew:
    """Worker processes; what they said is kept.

    No lease lapses by itself while a test runs, on however busy a machine: ``lapse`` makes one.
    """

    def __init__(self, folder: Path, url: str, size: int, may_end: float = math.inf) -> None:
        self.control = folder / "control"
        self.steer(may_end=may_end)
        self.options = [url, str(LEASE_S), str(self.control)]
        self.said: list[str] = []
        self.ears: list[threading.Thread] = []
        self.all: list[subprocess.Popen[str]] = []
        self.running = [self.start() for _ in range(size)]

    def steer(self, may_end: float = math.inf, hours: float = 0.0) -> None:
        """So many trials may end, and the clocks are off by so much."""
        new = self.control.with_suffix(".new")
        new.write_text(f"{3600 * hours} {may_end}")
        new.replace(self.control)

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.worker.light_worker", *self.options]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        self.all.append(process)
        self.ears.append(threading.Thread(target=self._listen, args=(process,), daemon=True))
        self.ears[-1].start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                self.said.append(line)

    def wait(self, timeout_s: float = 600.0) -> None:
        self.steer()
        end = time.monotonic() + timeout_s
        for process in self.running:
            process.wait(timeout=max(1.0, end - time.monotonic()))
        assert [p.returncode for p in self.running] == [0] * len(self.running), self.said[-20:]
        for ear in self.ears:
            ear.join(600)

    def close(self) -> None:
        """End those whom a test that failed has left behind."""
        for process in self.all:
            process.kill()
            process.wait()

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for line in self.said)


@pytest.fixture
def crews(tmp_path):
    """Starts crews, each with a folder of its own, that end with the test."""
    made = []

    def start(*arguments, **options):
        folder = tmp_path / f"crew{len(made)}"
        folder.mkdir()
        made.append(Crew(folder, *arguments, **options))
        return made[-1]

    yield start
    for crew in made:
        crew.close()


class Held(NamedTuple):
    """A trial that a worker has now."""

    trial_id: int
    pid: int
    attempt: int


def list_held(store) -> list[Held]:
    rows = store.select_rows(
        "SELECT l.trial_id, l.worker, l.attempt FROM kdopt_lease l "
        "JOIN trials t ON t.trial_id = l.trial_id WHERE t.state = 'RUNNING' AND l.worker LIKE '%/%'"
    )
    return [Held(trial, int(worker.split("/")[1]), attempt) for trial, worker, attempt in rows]


def holders(store) -> set[int]:
    """Process numbers of those who run a trial now."""
    return {held.pid for held in list_held(store)}


def first_time_holders(store) -> set[int]:
    """The same, of those whose trial no worker was lost with."""
    return {held.pid for held in list_held(store) if held.attempt == 1}


def wait_until(true, timeout_s: float = 600.0):
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def freeze_one(store, crew, but=()) -> int:
    """Stop a worker in the middle of a trial, as if its machine were suspended; its number."""

    def try_each() -> int | None:
        for pid in holders(store) & {p.pid for p in crew.running} - set(but):
            freeze(pid, store)
            if pid in holders(store):
                return pid
            thaw(pid)
        return None

    return wait_until(try_each)


def most_left_s(store) -> float:
    """Seconds that any lease is good for, by the real clock."""
    rows = store.select_rows(
        f"SELECT max(l.expires - {store.now}) FROM kdopt_lease l "
        "JOIN trials t ON t.trial_id = l.trial_id WHERE t.state = 'RUNNING'"
    )
    return -math.inf if rows[0][0] is None else float(rows[0][0])


def lapse(store, pids) -> set[int]:
    """Let the leases of workers that give no sign of life lapse now; the trials that were theirs.

    Those that a worker is just about to write are passed over: they are locked as long as it is
    cut off in the midst of that.
    """
    skip = "FOR UPDATE SKIP LOCKED" if store.dialect == "postgresql" else ""
    with store.write() as connection:
        rows = connection.execute(sa.text(f"SELECT trial_id, worker FROM kdopt_lease {skip}")).all()
        theirs = {i for i, worker in rows if "/" in worker and int(worker.split("/")[1]) in pids}
        theirs &= {held.trial_id for held in list_held(store)}
        end = sa.text(f"UPDATE kdopt_lease SET expires = {store.now} - 1 WHERE trial_id = :trial")
        for trial in theirs:
            connection.execute(end, {"trial": trial})
    return theirs


def kill_holders(store, crew, kills: int, chance: random.Random, of=holders) -> None:
    """Kill -9 workers that hold a trial, one after the other; each is replaced."""
    for _ in range(kills):
        victims = wait_until(lambda: [p for p in crew.running if p.pid in of(store)])
        victim = chance.choice(victims)
        victim.kill()
        victim.wait()
        crew.running.remove(victim)
        crew.running.append(crew.start())


@pytest.fixture
def prove(fault_table):
    """After a fault: planned = rows, each cell once, or failed with its reason."""

    def prove(fault, store, shelf, planned, refused):
        found = check_campaign(store, shelf, "tiny")
        fault_table(fault, store.dialect, found, refused)
        assert_whole(found, planned)
        reasons = [f.error for f in list_failures(store, "tiny")]
        assert len(reasons) == found.failed
        assert "no reason recorded" not in reasons
        return found

    return prove


def assert_whole(found, planned):
    assert found.problems == ()
    assert found.planned == found.rows == planned
    assert found.duplicates == 0
    assert (found.running, found.waiting) == (0, 0)
    assert found.complete + found.failed == planned


def losses(store) -> int:
    """Trials that were taken from a worker and given to another."""
    with store.read() as connection:
        sql = sa.text("SELECT sum(attempt - 1) FROM kdopt_lease")
        return connection.execute(sql).scalar_one()


def only_diverged(store) -> bool:
    """Whether those trials failed that fail without any fault too, and no others."""
    found = {(f.study, f.number) for f in list_failures(store, "tiny")}
    trials = queries.read_trials(store, "tiny")
    return found == {(t.study, t.number) for t in trials if diverges(t.number)}


@pytest.fixture
def opened():
    """Opens stores that are closed after the test, also when it fails."""
    with contextlib.ExitStack() as after:
        yield lambda url, **how: after.enter_context(contextlib.closing(open_store(url, **how)))


@pytest.fixture
def shelf(tmp_path):
    return Artifacts(tmp_path / "artifacts")


@pytest.mark.parametrize("tune", [GRID, ADAPTIVE], ids=["grid", "adaptive"])
def test_25_kills_over_5_workers(store, store_url, shelf, tune, prove, crews):
    planned = plan(store, shelf, **tune)
    crew, chance = crews(store_url, 5), random.Random(0)
    for number in range(25):
        # Or those that live might do all of it while the others start, on a busy machine.
        crew.steer(may_end=planned * (number + 1) // 26)
        kill_holders(store, crew, 1, chance)
    crew.wait()
    budget = "TPE budgets" if tune is ADAPTIVE else "grid"
    name = f"25 kill -9 over 5 workers, {budget}"
    found = prove(name, store, shelf, planned, crew.count("refused"))
    reasons = Counter(f.error for f in list_failures(store, "tiny"))
    assert set(reasons) <= {
        "the training loss became nan in epoch 1",
        "its worker was lost 3 times (killed, out of memory, or cut off)",
    }
    given_up = sum("lost" in f.error for f in list_failures(store, "tiny"))
    assert (
        losses(store) + given_up >= 10
    )  # kills did hit running trials (some hit just after the end)
    assert (
        requeue_failed_trials(store, "tiny") and check_campaign(store, shelf, "tiny").problems == ()
    )
    assert check_campaign(store, shelf, "tiny").waiting == found.failed


def test_frozen_beyond_their_lease_late_results_are_refused(store, store_url, shelf, prove, crews):
    planned = plan(store, shelf, **GRID)
    crew = crews(store_url, 3, may_end=planned // 2)
    frozen: list[int] = []
    while len(frozen) < 2:
        frozen.append(freeze_one(store, crew, but=frozen))
    assert lapse(store, frozen)
    crew.steer()
    wait_until(lambda: not holders(store) & set(frozen))
    for pid in frozen:
        thaw(pid)
    crew.wait()
    refused = crew.count("refused")
    prove("frozen beyond the lease (SIGSTOP, SIGCONT)", store, shelf, planned, refused)
    assert only_diverged(store)
    assert refused >= len(frozen)
    # Nobody died, so whoever lost a trial came back with it and was refused.
    assert refused == losses(store)


REAPER = """
import sys, time
from kdopt.store import leases
from kdopt.store.database import open_store
store = open_store(sys.argv[1])
original = leases._requeue_trial
def slow(connection, trial_id):
    print("taken", flush=True)
    time.sleep(600)
    return original(connection, trial_id)
leases._requeue_trial = slow
leases.requeue_lost_trials(store, lambda worker: True)
"""


def test_a_reaper_killed_while_it_takes_a_trial_back_leaves_it_to_the_next(
    store, store_url, shelf, prove, crews
):
    planned = plan(store, shelf, **GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    lost = leases.claim_trial(store, study, "lost", 60)
    reaper = subprocess.Popen(
        [sys.executable, "-c", REAPER, store_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert reaper.stdout.readline() == "taken\n"
    reaper.kill()  # within its transaction: lease taken, trial not yet requeued
    reaper.communicate()
    assert leases.requeue_lost_trials(store, lambda worker: True) == 1
    assert leases.claim_trial(store, study, "next", 60).trial_id == lost.trial_id
    leases.requeue_lost_trials(store, lambda worker: True)
    crew = crews(store_url, 2)
    crew.wait()
    prove("reaper killed in mid-reap", store, shelf, planned, crew.count("refused"))
    assert only_diverged(store)


def test_clocks_of_workers_never_matter(store, store_url, shelf):
    """A worker whose clock is hours off holds, beats and finishes as any other."""
    plan(store, shelf, **GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    real = time.time
    try:
        for hours in (-5, 5):
            time.time = lambda shift=3600.0 * hours: real() + shift
            claim = leases.claim_trial(store, study, "me", 60)
            assert leases.requeue_lost_trials(store, lambda worker: False) == 0
            assert leases.renew_lease(store, claim, 60)
            time.time = real
            assert leases.requeue_lost_trials(store, lambda worker: False) == 0
            leases.release_trial(store, claim)
    finally:
        time.time = real


def test_clocks_that_jump_in_mid_run(store, store_url, shelf, prove, crews):
    """Hours ahead and back, for all alike: as on one machine, or on the database's."""
    planned = plan(store, shelf, **SMALL_GRID)
    crew = crews(store_url, 4, may_end=12)
    # Every lease lapses at each of the two steps ahead; a third would be the end of some trial.
    for hours, may_end in ((5, 24), (-5, 36), (2, planned)):
        held = freeze_one(store, crew)
        crew.steer(may_end, hours)
        if hours > 0:
            wait_until(lambda held=held: held not in holders(store))
        thaw(held)
        # A lease from before a step back is cut, or renewed, before the next step; else it would
        # outlive that one.
        wait_until(lambda hours=hours: most_left_s(store) < 3600 * hours + 2 * LEASE_S)
    crew.wait()
    refused = crew.count("refused")
    prove("clocks jump by hours, ahead and back", store, shelf, planned, refused)
    assert only_diverged(store)
    # A live worker whose trial was taken away at a jump is refused, and nobody else is.
    assert refused == losses(store) >= 2


def test_a_restart_of_the_database_is_outlived(
    postgres, postgres_template, shelf, prove, opened, crews
):
    url = postgres.url(postgres.new_database(postgres_template))
    store = opened(url)
    planned = plan(store, shelf, **GRID)
    crew = crews(url, 4)
    for part, mode in enumerate(("fast", "immediate"), start=1):
        # The survivor must not do all of it while the others start.
        crew.steer(may_end=part * planned // 3)
        # Nobody twice: with a second one that restarts are slow enough for it would be the third
        # loss, and the trial's end.
        kill_holders(store, crew, 3, random.Random(1), of=first_time_holders)
        postgres.restart(mode)
    for _ in range(2):
        done = crew.count("finished")
        with postgres.crashing():  # with it the last claims are forgotten
            wait_until(lambda done=done: crew.count("finished") >= done + 3)
    crew.wait()
    name = "database restarts, shut down and crashed, and 6 kill -9"
    prove(name, store, shelf, planned, crew.count("refused"))
    assert only_diverged(store)


def test_a_claim_that_a_crashed_server_forgot_counts_for_nothing(
    postgres, postgres_template, shelf, opened
):
    store = opened(postgres.url(postgres.new_database(postgres_template)))
    plan(store, shelf, **SMALL_GRID)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    with postgres.crashing():
        forgotten = leases.claim_trial(store, study, "one", 60)
        assert leases.renew_lease(store, forgotten, 60)
    claim = leases.claim_trial(store, study, "other", 60)
    assert dataclasses.replace(claim, worker="one") == forgotten  # only the worker differs
    assert not leases.renew_lease(store, forgotten, 60)
    leases.release_trial(store, forgotten)
    for record, what in ((leases.finish_trial, make_outcome(1.0)), (leases.fail_trial, "why")):
        with pytest.raises(LeaseLostError):
            record(store, forgotten, what)
    with postgres.crashing():
        leases.finish_trial(store, claim, make_outcome(1.0))
        again = leases.claim_trial(store, study, "one", 60)
    with pytest.raises(LeaseLostError):
        leases.finish_trial(store, again, make_outcome(1.0))
    (counts,) = (s for s in queries.read_study_counts(store, "tiny") if s.study_id == study)
    assert (counts.complete, counts.running) == (1, 0)


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_link_that_is_cut_in_mid_run(
    postgres, postgres_template, shelf, how, prove, opened, crews
):
    """Workers of another machine, over TCP; one of this machine goes on meanwhile."""
    url = postgres.url(postgres.new_database(postgres_template))
    store = opened(url)
    planned = plan(store, shelf, **GRID)
    link = Link(postgres.port)
    far = crews(url.replace(f":{postgres.port}/", f":{link.port}/"), 2, may_end=40)
    near = crews(url, 1, may_end=10)
    away = {process.pid for process in far.running}
    try:
        wait_until(lambda: count_ended_by(store, away) > 5 and holders(store) >= away)
        link.silent() if how == "silent" else link.down()
        cut_at = count_ended_by(store, away)
        # Of what the far workers hold, all that they are not just about to write.
        taken = lapse(store, away)
        leases.requeue_lost_trials(store, lambda worker: False)
        assert not taken & {held.trial_id for held in list_held(store) if held.pid in away}
        near.steer()
        time.sleep(1.0)
        # What was under way when the link was cut may have arrived.
        assert count_ended_by(store, away) - cut_at <= len(away)
        link.heard() if how == "silent" else link.up()
        far.wait()
        near.wait()
    finally:
        link.heard()
        link.close()
    refused = far.count("refused") + near.count("refused")
    found = prove(f"link to far workers cut, {how}", store, shelf, planned, refused)
    assert only_diverged(store)
    done = far.count("finished") + near.count("finished")
    # A worker that could not hear the answer may have recorded its result and not know.
    assert found.complete + found.failed - 2 <= done <= found.complete + found.failed


def count_ended_by(store, pids) -> int:
    """Trials that these workers recorded."""
    rows = store.select_rows(
        "SELECT l.worker FROM kdopt_lease l JOIN trials t ON t.trial_id = l.trial_id "
        "WHERE t.state IN ('COMPLETE', 'FAIL') AND l.worker LIKE '%/%'"
    )
    return sum(int(worker.split("/")[1]) in pids for (worker,) in rows)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "small", 64 << 20) as made:
        yield made


def test_a_full_disk_stops_with_one_clear_message_and_loses_nothing(disk):
    shelf = Artifacts(disk.path / "artifacts")
    kept = shelf.put(b"a" * 200_000)
    disk.leave(400_000)
    with pytest.raises(ArtifactError, match="cannot be written: No space left"):
        shelf.put(b"b" * 600_000)
    assert [p for p in (disk.path / "artifacts").rglob("*") if p.name.endswith(".tmp")] == []
    assert shelf.get(kept) == b"a" * 200_000


SEVERAL = SPEC.replace("participants = 2", "participants = 3").replace(
    '["uniform"]', '["uniform", "specialized"]'
)
FEW_CELLS = "temperatures = [1, 4]\nalphas = [0.5, 0.9]"


def work_through(url, shelf, size):
    """Real workers until all have ended; their exit codes and what they said."""
    command = [sys.executable, "-m", "kdopt", "worker", "--artifacts", str(shelf.root)]
    workers = [
        subprocess.Popen(
            command,
            env={**os.environ, "KDOPT_STORE": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(size)
    ]
    try:
        said = [w.communicate(timeout=600)[0] for w in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [w.returncode for w in workers], said


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_disk_that_fills_up_in_mid_campaign(request, disk, dialect, prove, opened):
    """SQLite: the database and the artifacts are on it. Postgres: the artifacts."""
    shelf = Artifacts(disk.path / "artifacts")
    if dialect == "sqlite":
        url = f"sqlite:///{disk.path / 'kdopt.db'}"
        open_store(url, create=True).close()
        name, room = "disk of database and artifacts full", 700_000
    else:
        postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.new_database(request.getfixturevalue("postgres_template")))
        name, room = "disk of artifacts full", 330_000  # three checkpoints
    store = opened(url)
    campaign = parse_spec(SEVERAL.format(epochs=1, tune=FEW_CELLS, rate=1e-3))
    dataset = load_dataset(campaign.campaign)
    splits = draw_splits(campaign.campaign, dataset)
    planned = plan_campaign(campaign, dataset, splits, store, shelf).trials
    disk.leave(room)
    codes, said = work_through(url, shelf, 2)
    assert codes == [2, 2], said
    for text in said:
        assert "Traceback" not in text
        assert "free space" in text
    before = check_campaign(store, shelf, "tiny")
    assert 0 < before.complete < planned == before.rows
    assert before.failed == 0
    disk.resize(64 << 20)
    codes, more = work_through(url, shelf, 1)
    assert codes == [0], more
    dropped = [re.search(r"(\d+) results? dropped", text) for text in [*said, *more]]
    found = prove(name, store, shelf, planned, sum(int(d[1]) for d in dropped if d))
    assert found.complete == planned


def test_a_full_disk_under_the_database_server_is_waited_for(disk, shelf, prove, opened, crews):
    disk.resize(200 << 20)
    server = Postgres(disk.path / "data")
    try:
        url = server.url(server.new_database())
        store = opened(url, create=True)
        planned = plan(store, shelf, **GRID)
        crew = crews(url, 3, may_end=20)
        wait_until(lambda: crew.count("finished") > 10)
        filler = disk.fill()
        crew.steer()
        wait_until(lambda: any("trying again" in line for line in crew.said))
        assert crew.count("finished") < planned
        assert [p.poll() for p in crew.running] == [None] * 3
        filler.unlink()
        server.restart()  # it gives itself up when it cannot write its log
        crew.wait()
        name = "disk of the database server full"
        prove(name, store, shelf, planned, crew.count("refused"))
        assert only_diverged(store)
    finally:
        server.stop()
