"""``bench.py claims``: how many trials a second a store gives out and takes back.

Every claimer does what a worker does for each trial, but the training: it looks at the queue,
claims, and records a (synthetic) result. A worker whose trials take t seconds asks for 1 / t of
these cycles a second.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.crew import start_crew
from benchmarks.store import cycle, record_of
from kdopt.campaign.stages import plan_studies
from kdopt.service.doctor import check_campaign
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan

COLUMNS = ("claimers", "cycles", "cycles/s", "median ms", "p95 ms", "max ms", "CPU ms")
"""CPU is what a claimer spends per cycle; with SQLite that is all, as there is no server."""


def bench_claims(url: str | None, size: str, claimers: list[int], seconds: float) -> None:
    """Print a line per number of claimers, for an empty database or a new SQLite file."""
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        location = url or str(Path(folder) / "kdopt.db")
        store = open_store(location, create=True)
        shelf = Artifacts(Path(folder) / "artifacts")
        record = record_of("claims", shelf, size)
        planned = write_plan(store, record, plan_studies)
        print(f"{planned.studies:,} studies, {planned.trials:,} trials, {seconds:g} s each")
        print("  ".join(COLUMNS))
        for n in claimers:
            line = _measure(location, n, seconds)
            widths = (len(c) for c in COLUMNS)
            print(
                "  ".join(f"{v:>{w},.10g}" for v, w in zip(line, widths, strict=True)), flush=True
            )
        found = check_campaign(store, shelf, "claims")
        assert (found.problems, found.duplicates, found.running) == ((), 0, 0)
        store.close()


def _measure(location: str, n: int, seconds: float) -> tuple[float, ...]:
    # The location goes through the pipe: it may hold a password.
    crew = start_crew("claims", n)
    for process in crew:
        process.stdin.write(f"{location}\n")
        process.stdin.flush()
    for process in crew:
        assert process.stdout.readline() == "ready\n"
    for process in crew:
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
    said = [json.loads(process.communicate()[0]) for process in crew]
    times = [t for found in said for t in found["times"]]
    milliseconds = sorted(1000 * t for t in times)
    return (
        n,
        len(times),
        round(len(times) / seconds, 1),
        round(statistics.median(milliseconds), 1),
        round(milliseconds[int(0.95 * len(times))], 1),
        round(milliseconds[-1]),
        round(1000 * sum(found["cpu_s"] for found in said) / len(times), 1),
    )


def _claimer() -> None:
    store = open_store(sys.stdin.readline().strip())
    queries.read_study_counts(store, "claims")
    print("ready", flush=True)
    seconds = float(sys.stdin.readline())
    times = []
    started, cpu_started = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < started + seconds:
        waiting = [s for s in queries.read_study_counts(store, "claims") if s.waiting]
        # Another one may have been quicker to a study's last trial.
        if cycle(store, random.choice(waiting).study_id):
            times.append(time.perf_counter() - now)
    print(json.dumps({"times": times, "cpu_s": time.process_time() - cpu_started}))
    store.close()


if __name__ == "__main__":
    _claimer()
