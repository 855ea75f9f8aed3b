"""``bench.py races``: claims and results raced for, with connections cut around COMMIT.

Processes with a few threads each claim and record trials of the same studies as fast as they can.
A share of all COMMITs loses its connection: before it is sent, after it was answered, or when it
was sent and the answer was not read, so that nobody knows. Leases are short, so that what is lost
with a claim is taken back while others still beat and record. At the end of each round every trial
must be done, once, by whoever was told so or by one who could not be told.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.crew import start_crew
from kdopt.errors import LeaseLostError
from kdopt.outcome import Outcome
from kdopt.store import leases
from kdopt.store.database import Store, open_store

NAME = "races"
CUT = 0.2
"""Share of COMMITs that lose their connection."""

LEASE_S = 1.5
THREADS = 4


def bench_races(
    url: str | None, size: str, processes: int, wanted: int, seconds: float
) -> tuple[int, int, int]:
    """Race until so many commits were cut, or so many seconds passed; commits, lost, double."""
    from benchmarks.server import open_server
    from benchmarks.store import record_of
    from kdopt.campaign.stages import plan_studies
    from kdopt.service.doctor import check_campaign
    from kdopt.store.artifacts import Artifacts
    from kdopt.store.planning import write_plan

    total: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with (
        tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder,
        open_server(url, connections=12 * processes + 20) as server,
    ):
        store = open_store(server.url, create=True)
        shelf = Artifacts(Path(folder) / "artifacts")
        planned = write_plan(store, record_of(NAME, shelf, size), plan_studies).trials
        while True:
            told = _run_round(server.url, processes, total)
            _judge(store, told, total)
            checked = check_campaign(store, shelf, NAME)
            # Trials are lost to cut connections here more often than kdopt lets a trial be lost.
            problems = [p for p in checked.problems if "its lease is of run" not in p]
            assert (problems, checked.duplicates) == ([], 0), problems[:3]
            assert checked.complete == planned, (checked.complete, planned)
            print(", ".join(f"{total[k]:,} {k}" for k in COUNTED), flush=True)
            if total["commits cut"] >= wanted or time.monotonic() > end:
                break
            _put_back(store)
        store.close()
    assert total["lost"] == total["double"] == 0
    return total["commits"], total["lost"], total["double"]


COUNTED = ("commits", "commits cut", "results", "results refused", "taken back", "lost", "double")


def _run_round(url: str, processes: int, total: Counter[str]) -> Counter[int]:
    """Let all race until every trial is done; how often each was told to be recorded."""
    from benchmarks.store import outcome_of

    outcomes = [outcome_of(0, pretrained).to_json() for pretrained in (False, True)]
    crew = start_crew("races", processes)
    for process in crew:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"url": url, "outcomes": outcomes}) + "\n")
        process.stdin.flush()
    told: Counter[int] = Counter()
    for process in crew:
        said = json.loads(process.communicate()[0])
        told.update(said.pop("told"))
        total.update(said)
    assert not any(process.returncode for process in crew)
    return told


def _judge(store: Store, told: Counter[int], total: Counter[str]) -> None:
    """Count trials without a result, and those with more than one or recorded by two."""
    rows = store.select_rows(
        "SELECT t.trial_id, t.state, count(v.trial_value_id) FROM trials t "
        "LEFT JOIN trial_values v ON v.trial_id = t.trial_id GROUP BY t.trial_id, t.state"
    )
    for trial, state, values in rows:
        total["lost"] += state != "COMPLETE" or values == 0
        total["double"] += values > 1 or told[trial] > 1


def _put_back(store: Store) -> None:
    with store.write() as connection:
        for table in ("trial_values", "trial_user_attributes", "kdopt_lease"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql(
            "UPDATE trials SET state = 'WAITING', datetime_start = NULL, datetime_complete = NULL"
        )


class _Racers:
    """The threads of one process."""

    def __init__(self, told: dict[str, Any]) -> None:
        # What comes of each try is known; the log would be of nothing else.
        logging.disable(logging.WARNING)
        self.store = open_store(told["url"])
        self.outcomes = [Outcome.from_text(json.dumps(one)) for one in told["outcomes"]]
        self.told: list[int] = []
        self.counted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.store.engine.dialect.do_commit = self._commit

    def _count(self, what: str, n: int = 1) -> None:
        with self._lock:
            self.counted[what] += n

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        self._count("commits")
        if random.random() >= CUT:
            connection.commit()
            return
        self._count("commits cut")
        how = random.choice(["before", "during", "after"])
        if how == "after":
            connection.commit()
        elif how == "during":
            # Sent, and never read: the server commits, or finds that nobody is there.
            connection.pgconn.send_query(b"COMMIT")
            connection.pgconn.flush()
        connection.pgconn.finish()
        raise psycopg.OperationalError(f"cut {how} the commit")

    def race(self, index: int) -> None:
        """Claim and record until nothing waits or runs."""
        worker = f"racer-{os.getpid()}-{index}"
        while True:
            taken = leases.requeue_lost_trials(self.store, lambda _: False, 10**6, lease_s=LEASE_S)
            self._count("taken back", taken)
            studies = self.store.select_rows(
                "SELECT DISTINCT study_id, state FROM trials WHERE state IN ('WAITING', 'RUNNING')"
            )
            waiting = sorted({row.study_id for row in studies if row.state == "WAITING"})
            if not studies:
                return
            if not waiting:
                time.sleep(0.1)  # for leases that nobody knows of
                continue
            # Few studies, so that all race for the same trials.
            study = random.choice(waiting[:3])
            for _ in range(20):
                claims = leases.claim_trials(self.store, study, worker, LEASE_S, 3)
                for claim in claims:
                    self._record(claim)
                if not claims:
                    break

    def _record(self, claim: leases.Lease) -> None:
        chance = random.random()
        if chance < 0.02:
            time.sleep(1.5 * LEASE_S)  # beyond its lease: whoever has it now must win
        elif chance < 0.05:
            leases.release_trial(self.store, claim)
            return
        elif chance < 0.15:
            leases.renew_lease(self.store, claim, LEASE_S)
        try:
            outcome = self.outcomes["participant" in claim.params]
            leases.finish_trial(self.store, claim, outcome)
        except LeaseLostError:
            self._count("results refused")
            return
        with self._lock:
            self.counted["results"] += 1
            self.told.append(claim.trial_id)


def _serve() -> None:
    racers = _Racers(json.loads(sys.stdin.readline()))
    threads = [threading.Thread(target=racers.race, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    racers.store.close()
    print(json.dumps({**racers.counted, "told": racers.told}))


if __name__ == "__main__":
    _serve()
