#!/usr/bin/env python3
"""Measure kdopt. ``bench.py store``: what the store costs at the paper's size and around it.

    python scripts/bench.py store                               a new SQLite file
    python scripts/bench.py store --store postgresql+psycopg://...   an empty Postgres database

Outcomes are synthetic; everything else is the product's own code.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from kdopt.outcome import Outcome, Scores
from kdopt.plan import Campaign, CampaignRecord
from kdopt.report.dashboard import make_app
from kdopt.service.doctor import check
from kdopt.service.status import read_status
from kdopt.spec import parse_spec
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.artifacts import Artifacts
from kdopt.store.open import Store, open_store
from kdopt.store.planning import write_plan

T = TypeVar("T")
SIZES = {"0.1": (7, 1), "1": (10, 5), "10": (30, 5)}
"""Participants and partitions of campaigns of about a tenth, the whole and ten times the paper's
450 pairs."""
PARTITIONS = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
CYCLES = 60
COLUMNS = ("size", "studies", "trials", "plan s", "replan s", "cycle ms", "p95 ms",
           "with queue ms", "status s", "doctor s", "dashboard list s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    store = commands.add_parser("store", help="plan, claim, record, status, doctor, dashboard")
    store.add_argument("--store", help="URL of an empty database [default: a new SQLite file]")
    store.add_argument("--size", action="append", choices=SIZES, help="[default: 0.1 and 1]")
    arguments = parser.parse_args()
    bench_store(arguments.store, arguments.size or ["0.1", "1"])


def bench_store(url: str | None, sizes: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        print("  ".join(COLUMNS))
        for size in sizes:
            location = url or f"sqlite:///{folder}/{size}.db"
            store = open_store(location, create=True)
            line = _measure(store, Artifacts(Path(folder) / "artifacts"), size)
            store.close()
            texts = (f"{v:g}" if isinstance(v, float) else str(v) for v in line)
            widths = (len(c) for c in COLUMNS)
            print("  ".join(f"{t:>{w}}" for t, w in zip(texts, widths, strict=True)), flush=True)


def _measure(store: Store, shelf: Artifacts, size: str) -> tuple[object, ...]:
    participants, n_partitions = SIZES[size]
    name = f"bench-{size.replace('.', '')}"
    campaign = _campaign(name, participants, PARTITIONS[:n_partitions])
    split = shelf.put(b"the splits of a campaign that nobody runs")
    record = CampaignRecord(campaign, (), "0" * 64, {p.name: split for p in campaign.partitions})
    plan_s, planned = _timed(lambda: write_plan(store, record, all_studies))
    _fill(store, name)
    replan_s, _ = _timed(lambda: write_plan(store, record, all_studies))
    studies = [s for s in rows.read_states(store, name) if s.waiting]
    cycles, with_queue = [], []
    for _ in range(CYCLES):
        queue_s, states = _timed(lambda: rows.read_states(store, name))
        study = random.choice([s for s in states if s.waiting])
        cycle_s, _ = _timed(lambda: _cycle(store, study.study_id))  # noqa: B023
        cycles.append(1000 * cycle_s)
        with_queue.append(1000 * (queue_s + cycle_s))
    status_s = min(_timed(lambda: read_status(store, name))[0] for _ in range(3))
    doctor_s, found = _timed(lambda: check(store, shelf, name))
    assert not found.problems, found.problems[:3]
    assert studies
    return (
        size,
        planned.studies,
        planned.trials,
        round(plan_s, 2),
        round(replan_s, 2),
        round(statistics.median(cycles), 1),
        round(sorted(cycles)[int(0.95 * CYCLES)], 1),
        round(statistics.median(with_queue), 1),
        round(status_s, 3),
        round(doctor_s, 2),
        round(_dashboard_s(store), 3),
    )


def _campaign(name: str, participants: int, partitions: tuple[str, ...]) -> Campaign:
    listed = ", ".join(f'"{p}"' for p in partitions)
    return parse_spec(
        f'name = "{name}"\nparticipants = {participants}\npartitions = [{listed}]\n'
        '[data]\nname = "cifar10"\n'
    ).campaign


def _cycle(store: Store, study_id: int) -> None:
    claim = claims.claim(store, study_id, "bench", 90.0)
    assert claim is not None
    claims.finish(store, claim, _outcome(claim.number))


def _fill(store: Store, name: str) -> None:
    """Complete every trial in bulk, but the last of each study."""
    sql = {
        "take": "UPDATE trials SET state = 'COMPLETE', datetime_start = '2026-01-01', "
        "datetime_complete = '2026-01-01' WHERE trial_id = :trial",
        "value": "INSERT INTO trial_values (trial_id, objective, value, value_type) "
        "VALUES (:trial, 0, :value, 'FINITE')",
        "attribute": "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
        "VALUES (:trial, 'kd:metrics', :json)",
    }
    with store.write() as connection:
        lines = connection.execute(
            sa.text(
                "SELECT t.trial_id AS id, t.study_id AS study, t.number AS number FROM trials t "
                "JOIN studies s ON s.study_id = t.study_id WHERE s.study_name LIKE :name"
            ),
            {"name": f"{name}/%"},
        ).all()
        last = {line.study: line.number for line in sorted(lines, key=lambda x: x.number)}
        done = [line for line in lines if line.number != last[line.study]]
        outcomes = [(line.id, _outcome(line.number)) for line in done]
        connection.execute(sa.text(sql["take"]), [{"trial": i} for i, _ in outcomes])
        connection.execute(
            sa.text(sql["value"]), [{"trial": i, "value": o.value} for i, o in outcomes]
        )
        connection.execute(
            sa.text(sql["attribute"]),
            [{"trial": i, "json": json.dumps(o.to_json())} for i, o in outcomes],
        )
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def _outcome(number: int) -> Outcome:
    chance = random.Random(number)
    scores = [
        Scores(chance.random(), tuple(chance.random() for _ in range(10)), chance.random())
        for _ in range(4)
    ]
    gains = [chance.uniform(-5, 5) for _ in range(3)]
    return Outcome(
        gains[0], scores[0], scores[1], 30, 20, 0.5, 0.5, 1.0, "cpu", "fp32",
        {"kdopt": "0", "torch": "0"}, scores[2], scores[3], *gains, 0.0,
    )  # fmt: skip


def _dashboard_s(store: Store) -> float:
    """The list of studies, as the dashboard's first page asks for it."""
    app = make_app(store.url.render_as_string(hide_password=False))
    request = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies",
        "HTTP_HOST": "127.0.0.1:8080",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": sys.stdin.buffer,
        "wsgi.errors": sys.stderr,
        "QUERY_STRING": "",
    }

    def ask() -> None:
        statuses = []
        body = app(dict(request), lambda status, *_: statuses.append(status))
        assert statuses[0].startswith("200"), statuses
        assert len(b"".join(body)) > 1000

    return min(_timed(ask)[0] for _ in range(3))


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
