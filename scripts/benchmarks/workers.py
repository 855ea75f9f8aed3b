"""``bench.py workers``: a thousand workers at one PostgreSQL store.

Client processes stand for the workers: each drives some of them as threads, which share the
connections of the process (SQLAlchemy's pool: 12 at most). A worker does what a real one does but
train: it looks at its campaign, stays with a study, claims short trials a second's worth at a time,
beats every 15 s, and records a (synthetic) result; a trial is a nap. Figures are of a window after
a warm-up that is as long.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.crew import start_crew
from kdopt.errors import LeaseLostError
from kdopt.outcome import Outcome
from kdopt.store import leases
from kdopt.store.database import RETRY_S, Store, open_store
from kdopt.worker.heartbeat import BEAT_S, LEASE_S, Heartbeat
from kdopt.worker.scheduling import StudyBoard
from kdopt.worker.worker import LOOK_S

NAME = "workers"
CONNECTIONS = 12
"""Most that a client process opens."""
SAMPLE_S = 0.25
COLUMNS = (
    "workers", "trial s", "asked/s", "done/s", "claim ms", "p95 ms", "record ms", "rec p95 ms",
    "DB cores", "DB ms", "lock waits", "active", "connections", "beats/s",
)  # fmt: skip
"""``asked``: workers / seconds of a trial, what they would do if the store took no time. ``DB``:
CPU of the server, in all and per trial. ``lock waits``, ``active``: sessions at a time, on average.
"""


def bench_workers(
    url: str | None,
    size: str,
    workers: Sequence[int],
    seconds: Sequence[float],
    window_s: float,
    clients: int,
    table: Path | None,
) -> None:
    """Print a line per trial length and number of workers; also into a CSV file if one is given."""
    from benchmarks.server import open_server
    from benchmarks.store import fill, record_of, unfinished
    from kdopt.campaign.stages import plan_studies
    from kdopt.service.doctor import check_campaign
    from kdopt.store.artifacts import Artifacts
    from kdopt.store.planning import write_plan

    with (
        tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder,
        open_server(url, connections=CONNECTIONS * clients + 20) as server,
    ):
        store = open_store(server.url, create=True)
        shelf = Artifacts(Path(folder) / "artifacts")
        planned = write_plan(store, record_of(NAME, shelf, size), plan_studies)
        lines = unfinished(store, NAME)
        fill(store, lines[: len(lines) // 2])
        print(
            f"{planned.studies:,} studies, {planned.trials:,} trials, half of them done; windows "
            f"of {window_s:g} s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
            + "  ".join(COLUMNS),
            flush=True,
        )
        found = []
        for trial_s in seconds:
            for n in workers:
                line = _measure(server, clients, n, trial_s, window_s)
                found.append(line)
                texts = (f"{v:>{len(c)}.4g}" for v, c in zip(line, COLUMNS, strict=True))
                print("  ".join(texts), flush=True)
                _put_back(store)
        if table is not None:
            with table.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *found])
        checked = check_campaign(store, shelf, NAME)
        assert (checked.problems, checked.duplicates) == ((), 0), checked.problems[:3]
        print("nothing lost, nothing twice")
        store.close()


def _measure(
    server: Any, clients: int, n: int, trial_s: float, window_s: float
) -> tuple[float, ...]:
    from benchmarks.store import outcome_of

    clients = min(n, clients)
    share = [n // clients + (i < n % clients) for i in range(clients)]
    outcomes = [outcome_of(0, pretrained).to_json() for pretrained in (False, True)]
    crew = start_crew("workers", clients)
    for process, mine in zip(crew, share, strict=True):
        # The URL goes through the pipe: it may hold a password.
        _tell(process, {"url": server.url, "n": mine, "trial_s": trial_s, "outcomes": outcomes})
    for process in crew:
        assert process.stdout.readline() == "working\n"
    # All begin at once, each with a look at the whole campaign, which later ones are spared.
    time.sleep(window_s)
    for process in crew:
        _tell(process, "count")
    cpu, began = server.read_cpu_s(), time.monotonic()
    waits, active, connections = _sample(server, began + window_s)
    took = time.monotonic() - began
    cpu = server.read_cpu_s() - cpu
    for process in crew:
        _tell(process, "stop")
    said = [json.loads(process.communicate()[0]) for process in crew]
    assert not any(process.returncode for process in crew)
    claims, records = ([t for one in said for t in one[k]] for k in ("claims", "records"))
    beats = sum(one["beats"] for one in said)
    return (
        n,
        trial_s,
        n / trial_s,
        len(records) / took,
        *_middle_and_p95(claims),
        *_middle_and_p95(records),
        cpu / took,
        1000 * cpu / max(1, len(records)),
        waits,
        active,
        connections,
        beats / took,
    )


def _tell(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _middle_and_p95(seconds: list[float]) -> tuple[float, float]:
    found = sorted(1000 * s for s in seconds) or [float("nan")]
    return statistics.median(found), found[int(0.95 * (len(found) - 1))]


def _sample(server: Any, end: float) -> tuple[float, float, int]:
    """Sessions that wait for locks and that are active, on average, and the most there were."""
    sql = """
        SELECT count(*) FILTER (WHERE wait_event_type = 'Lock' AND state = 'active'),
            count(*) FILTER (WHERE state = 'active'), count(*)
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    found = []
    with server.connect() as connection:
        while time.monotonic() < end:
            found.append(connection.execute(sql).fetchone())
            time.sleep(SAMPLE_S)
    waits, active, connections = zip(*found, strict=True)
    return statistics.fmean(waits), statistics.fmean(active), max(connections)


def _put_back(store: Store) -> None:
    """Let what was done wait again, so that the next line finds the same store."""
    # Trials that were filled in have no lease.
    mine = "trial_id IN (SELECT trial_id FROM kdopt_lease)"
    with store.write() as connection:
        for table in ("trial_values", "trial_user_attributes", "trial_system_attributes"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE {mine}")
        connection.exec_driver_sql(
            "UPDATE trials SET state = 'WAITING', datetime_start = NULL, datetime_complete = NULL "
            f"WHERE {mine}"
        )
        connection.exec_driver_sql("DELETE FROM kdopt_lease")


class _Client:
    """The workers of one process."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.store = open_store(told["url"], patience_s=RETRY_S)  # many start at once
        self.trial_s: float = told["trial_s"]
        self.outcomes = [Outcome.from_text(json.dumps(one)) for one in told["outcomes"]]
        self.bundle = max(1, min(16, int(1.0 / self.trial_s)))
        self.end = threading.Event()
        self.claims: list[float] = []
        self.records: list[float] = []
        self.beats = 0
        self._renew = leases.renew_lease
        leases.renew_lease = self._count_beat
        self.threads = [threading.Thread(target=self._work, args=(i,)) for i in range(told["n"])]

    def _count_beat(self, store: Store, lease: leases.Lease, lease_s: float) -> bool:
        self.beats += 1
        return self._renew(store, lease, lease_s)

    def _work(self, index: int) -> None:
        chance = random.Random(f"{os.getpid()} {index}")
        worker, board = f"sim-{os.getpid()}-{index}", StudyBoard(self.store, NAME)
        # Out of step with the others.
        self.end.wait(chance.uniform(0, min(self.trial_s, 2.0)))
        nap, next_look = chance.uniform(0, self.trial_s), 0.0
        waiting: list[int] = []
        while not self.end.is_set():
            if not waiting or time.monotonic() > next_look:
                last = waiting[-1:]
                waiting = [s.study_id for s in board.look() if s.waiting]
                next_look = time.monotonic() + LOOK_S
                if not waiting:
                    self.end.wait(1.0)
                    continue
                chance.shuffle(waiting)
                waiting += [study for study in last if study in waiting]
            began = time.perf_counter()
            taken = leases.claim_trials(self.store, waiting[-1], worker, LEASE_S, self.bundle)
            self.claims.append(time.perf_counter() - began)
            if not taken:
                waiting.pop()
                continue
            with Heartbeat(self.store, taken, BEAT_S, LEASE_S):
                for at, lease in enumerate(taken):
                    following = taken[at + 1] if at + 1 < len(taken) else None
                    self._run(lease, following, nap)
                    nap = self.trial_s

    def _run(self, lease: leases.Lease, following: leases.Lease | None, nap: float) -> None:
        if self.end.wait(nap):
            leases.release_trial(self.store, lease)
            return
        outcome = self.outcomes["participant" in lease.params]
        began = time.perf_counter()
        try:
            leases.finish_trial(self.store, lease, outcome, then=following)
        except LeaseLostError:  # a server that no longer keeps up; its trials are run again
            return
        self.records.append(time.perf_counter() - began)


def _serve() -> None:
    client = _Client(json.loads(sys.stdin.readline()))
    for thread in client.threads:
        thread.start()
    print("working", flush=True)
    assert json.loads(sys.stdin.readline()) == "count"
    first = len(client.claims), len(client.records), client.beats
    assert json.loads(sys.stdin.readline()) == "stop"
    claims, records = client.claims[first[0] :], client.records[first[1] :]
    found = {"claims": claims, "records": records, "beats": client.beats - first[2]}
    client.end.set()
    for thread in client.threads:
        thread.join()
    client.store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    _serve()
