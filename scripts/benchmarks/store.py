"""``bench.py store``: what the store costs at the paper's size and around it.

Outcomes are synthetic; everything else is the product's own code.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from benchmarks.sizes import PARTITIONS, SIZES
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.dashboard.server import make_app
from kdopt.outcome import Outcome, Scores, measure_change, measure_gain
from kdopt.service.doctor import check_campaign
from kdopt.service.status import read_status
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.planning import write_plan

T = TypeVar("T")
SPLIT = b"the splits of a campaign that nobody runs"
CYCLES = 60
COLUMNS = ("size", "studies", "trials", "plan s", "replan s", "cycle ms", "p95 ms",
           "with queue ms", "status s", "doctor s", "dashboard list s",
           "MB per 10,000")  # fmt: skip


def bench_store(url: str | None, sizes: list[str]) -> None:
    """Print a line per size, for an empty database or new SQLite files."""
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
    record = record_of(f"bench-{size.replace('.', '')}", shelf, size)
    name = record.campaign.name
    empty = store_bytes(store)
    plan_s, planned = timed(lambda: write_plan(store, record, plan_studies))
    fill(store, unfinished(store, name))
    megabytes = (store_bytes(store) - empty) / 1e6
    replan_s, _ = timed(lambda: write_plan(store, record, plan_studies))
    studies = [s for s in queries.read_study_counts(store, name) if s.waiting]
    cycles, with_queue = [], []
    for _ in range(CYCLES):
        queue_s, states = timed(lambda: queries.read_study_counts(store, name))
        study = random.choice([s for s in states if s.waiting])
        cycle_s, done = timed(lambda: cycle(store, study.study_id))  # noqa: B023
        assert done
        cycles.append(1000 * cycle_s)
        with_queue.append(1000 * (queue_s + cycle_s))
    status_s = min(timed(lambda: read_status(store, name))[0] for _ in range(3))
    doctor_s, found = timed(lambda: check_campaign(store, shelf, name))
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
        round(10_000 * megabytes / planned.trials, 1),
    )


def record_of(name: str, shelf: Artifacts, size: str) -> CampaignRecord:
    """A campaign of that size whose images nobody will open."""
    participants, n_partitions = SIZES[size]
    listed = ", ".join(f'"{p}"' for p in PARTITIONS[:n_partitions])
    campaign = parse_spec(
        f'name = "{name}"\nparticipants = {participants}\npartitions = [{listed}]\n'
        '[data]\nname = "cifar10"\n'
    ).campaign
    split = shelf.put(SPLIT)
    return CampaignRecord(campaign, (), "0" * 64, {p.name: split for p in campaign.partitions})


def store_bytes(store: Store) -> int:
    """The database's size on disk."""
    if store.dialect == "sqlite":
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(str(store.url.database)).stat().st_size
    with store.read() as connection:
        sql = "SELECT pg_database_size(current_database())"
        return int(connection.execute(sa.text(sql)).scalar_one())


def cycle(store: Store, study_id: int) -> bool:
    """Claim a trial and record its result, if the study has one left."""
    claim = leases.claim_trial(store, study_id, "bench", 90.0)
    if claim is None:
        return False
    leases.finish_trial(store, claim, outcome_of(claim.number, "participant" in claim.params))
    return True


class Line(NamedTuple):
    """A trial to be completed."""

    trial: int
    study: int
    number: int
    pretrained: bool


def unfinished(store: Store, name: str) -> list[Line]:
    """The trials of a new campaign without the last one of each study but pre-training."""
    sql = sa.text(
        "SELECT t.trial_id, t.study_id, t.number, s.study_name LIKE '%/pretrain' FROM trials t "
        "JOIN studies s ON s.study_id = t.study_id WHERE s.study_name LIKE :name"
    )
    spared = {
        (s.study_id, s.total - 1)
        for s in queries.read_study_counts(store, name)
        if s.name.stage != "pretrain"
    }
    with store.read() as connection:
        lines = [Line(*found) for found in connection.execute(sql, {"name": f"{name}/%"})]
    return [line for line in lines if (line.study, line.number) not in spared]


def fill(store: Store, lines: Iterable[Line]) -> None:
    """Complete trials in bulk."""
    outcomes = [(line.trial, outcome_of(line.number, line.pretrained)) for line in lines]
    when = "2026-01-01 00:00:00.000000"
    with store.write() as connection:
        connection.execute(
            sa.text(
                f"UPDATE trials SET state = 'COMPLETE', datetime_start = '{when}', "
                f"datetime_complete = '{when}' WHERE trial_id = :trial"
            ),
            [{"trial": i} for i, _ in outcomes],
        )
        connection.execute(
            sa.text(
                "INSERT INTO trial_values (trial_id, objective, value, value_type) "
                "VALUES (:trial, 0, :value, 'FINITE')"
            ),
            [{"trial": i, "value": o.value} for i, o in outcomes],
        )
        connection.execute(
            sa.text(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
                "VALUES (:trial, 'kd:metrics', :json)"
            ),
            [{"trial": i, "json": json.dumps(o.to_json())} for i, o in outcomes],
        )
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def outcome_of(number: int, pretrained: bool = False) -> Outcome:
    """An outcome of ten classes, the same for the same number: of pre-training, or a gain on it."""
    before = [_draw_scores(random.Random(f"{part} before")) for part in ("validation", "test")]
    how = (30, 20, 0.5, 0.5, 1.0, "cpu", "fp32", {"kdopt": "0", "torch": "0"})
    if pretrained:
        weights = hashlib.sha256(SPLIT).hexdigest()
        return Outcome(before[0].accuracy, *before, *how, checkpoint=weights)
    chance = random.Random(number)
    after = [_draw_scores(chance) for _ in range(2)]
    gains = [measure_gain(*pair) for pair in zip(after, before, strict=True)]
    change = measure_change(after[1], before[1])
    return Outcome(gains[0], *after, *how, *before, *gains, *change)


def _draw_scores(chance: random.Random) -> Scores:
    classes = tuple(chance.random() for _ in range(10))
    return Scores(statistics.fmean(classes), classes, chance.random())


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

    return min(timed(ask)[0] for _ in range(3))


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result
