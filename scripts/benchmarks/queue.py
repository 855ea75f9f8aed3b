"""``bench.py queue``: what a worker's claim and record take, the look at the queue included.

Half of the campaign is done but for one trial of each study, which is left alone. Beside it, in
turns, the way of older versions: a look at all studies before each trial, and one trial at a time.
Outcomes are synthetic, so that nothing is computed.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator

from benchmarks.store import cycle, fill, outcome_of, record_of, unfinished
from kdopt.campaign.stages import plan_studies
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.planning import write_plan
from kdopt.worker.scheduling import StudyBoard
from kdopt.worker.worker import LOOK_S

TRIALS = 120
TURNS = 3


def bench_queue(url: str | None, sizes: list[str]) -> None:
    """Print a line per size and way, for an empty database or new SQLite files."""
    print(f"{'size':>5}{'trials':>10}  {'way':<34}{'ms per trial':>13}{'least':>8}{'CPU ms':>8}")
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        for size in sizes:
            store = open_store(url or f"{folder}/{size}.db", create=True)
            record = record_of(f"queue-{size.replace('.', '')}", Artifacts(folder), size)
            name = record.campaign.name
            planned = write_plan(store, record, plan_studies).trials
            lines = unfinished(store, name)
            fill(store, lines[: len(lines) // 2])
            ways = {
                "a look at all before each trial": lambda: _look_each_time(store, name),  # noqa: B023
                "stay with the study, one by one": lambda: _stay(store, name, 1),  # noqa: B023
                "stay with the study, bundles of 8": lambda: _stay(store, name, 8),  # noqa: B023
            }
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(TURNS):
                for way, run in ways.items():
                    found[way].append(_time(run()))
            for way, turns in found.items():
                wall = [w for w, _ in turns]
                print(
                    f"{size:>5}{planned:>10,}  {way:<34}{statistics.median(wall):>13.2f}"
                    f"{min(wall):>8.2f}{min(c for _, c in turns):>8.2f}",
                    flush=True,
                )
            store.close()


def _time(trials: Iterator[None]) -> tuple[float, float]:
    """Milliseconds a trial, of the clock and of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    done = 0
    for _ in trials:
        done += 1
        if done == TRIALS:
            break
    return (
        1000 * (time.perf_counter() - began) / done,
        1000 * (time.process_time() - cpu) / done,
    )


def _look_each_time(store: Store, name: str) -> Iterator[None]:
    while waiting := [s for s in queries.read_study_counts(store, name) if s.waiting > 1]:
        if cycle(store, random.choice(waiting).study_id):
            yield


def _stay(store: Store, name: str, at_most: int) -> Iterator[None]:
    """As :class:`kdopt.worker.worker._Worker` does: study after study, and a look now and then."""
    board = StudyBoard(store, name)
    while waiting := [s.study_id for s in board.look() if s.waiting > 1]:
        random.shuffle(waiting)
        next_look = time.monotonic() + LOOK_S
        while waiting and time.monotonic() < next_look:
            claims = leases.claim_trials(store, waiting[-1], "bench", 90.0, at_most)
            if not claims:
                waiting.pop()
            for claim in claims:
                outcome = outcome_of(claim.number, "participant" in claim.params)
                leases.finish_trial(store, claim, outcome)
                yield
