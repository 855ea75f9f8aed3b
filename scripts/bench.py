#!/usr/bin/env python3
"""Measure kdopt.

    python scripts/bench.py distill    trials an hour beside three peers, a lean loop first
    python scripts/bench.py campaign   where a campaign's time goes, with one worker and with two
    python scripts/bench.py precision  bfloat16 beside float32, seed by seed
    python scripts/bench.py gpu        one GPU: its tests, steps, trials by slots, a lean loop
    python scripts/bench.py store      plan, lease, record, status, doctor, dashboard; disk space
    python scripts/bench.py queue      claim and record by one worker, looks at the queue included
    python scripts/bench.py claims     leases and results a second, by workers at once
    python scripts/bench.py workers    a thousand workers at one PostgreSQL store
    python scripts/bench.py races      claims and results with connections cut around COMMIT
    python scripts/bench.py merge      importing what another store has
    python scripts/bench.py plan       planning, images and splits included
    python scripts/bench.py report     analysis and page: seconds, memory, size
    python scripts/bench.py memory     a worker's peak by participants and by images

Ratios come from turns in one run, since machines are noisy. Those on stores use new SQLite files,
or the empty Postgres database of --store postgresql+psycopg://... ; 'distill' needs torchdistill
(pip install 'kdopt[bench]').
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from benchmarks.sizes import SIZES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("store", "queue", "claims", "merge", "plan", "report"):
        command = commands.add_parser(name)
        default = ["1"] if name == "claims" else ["0.1", "1"]
        command.add_argument("--size", action="append", choices=SIZES, help=f"[default: {default}]")
        command.set_defaults(sizes=default)
        if name in ("store", "queue", "claims", "merge"):
            command.add_argument("--store", help="URL of an empty database [default: SQLite files]")
        if name == "claims":
            command.add_argument("--claimers", type=int, nargs="+", default=[1, 4, 8, 16])
            command.add_argument("--seconds", type=float, default=10.0)
    _add_many_workers(commands)
    distill = commands.add_parser("distill")
    distill.add_argument("--case", action="append", choices=["600", "5000", "resnet18"])
    distill.add_argument("--turns", type=int, default=3)
    distill.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    distill.add_argument(
        "--quick", action="store_true", help="seconds of the processor, beside the lean loop alone"
    )
    gpu = commands.add_parser("gpu")
    gpu.add_argument("--device", default="cuda")
    gpu.add_argument("--small", action="store_true", help="seconds, to see whether it runs")
    gpu.add_argument("--model", nargs="+", default=["cnn", "resnet18"])
    gpu.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4])
    gpu.add_argument("--no-tests", action="store_true")
    campaign = commands.add_parser("campaign")
    campaign.add_argument("--turns", type=int, default=3)
    campaign.add_argument("--participants", type=int, default=3)
    campaign.add_argument("--images", type=int, default=600, help="of each, about")
    campaign.add_argument("--epochs", type=int, default=5)
    precision = commands.add_parser("precision")
    precision.add_argument("--images", type=int, default=600, help="of the student, about")
    precision.add_argument("--epochs", type=int, default=5)
    precision.add_argument("--seeds", type=int, default=20)
    precision.add_argument("--test", type=int, default=10000)
    memory = commands.add_parser("memory")
    memory.add_argument("--participants", type=int, nargs="+", default=[5, 20, 50])
    memory.add_argument("--images", type=int, nargs="+", default=[6000, 30000, 60000])
    _run(parser.parse_args())


def _add_many_workers(commands: Any) -> None:
    workers = commands.add_parser("workers")
    workers.add_argument("--store", help="URL of an empty database [default: a server of its own]")
    workers.add_argument("--small", action="store_true", help="seconds, to see whether it runs")
    workers.add_argument("--size", choices=SIZES, default="1")
    workers.add_argument("--workers", type=int, nargs="+", default=[16, 64, 250, 500, 1000])
    workers.add_argument("--trial", type=float, nargs="+", default=[0.2, 2.0, 60.0], help="seconds")
    workers.add_argument("--seconds", type=float, default=20.0, help="of a window")
    workers.add_argument("--clients", type=int, default=64, help="processes, at most")
    workers.add_argument("--csv", type=Path, help="file for the table")
    workers.add_argument("--picture", type=Path, help="SVG or PNG to draw of the table")
    races = commands.add_parser("races")
    races.add_argument("--store", help="URL of an empty database [default: a server of its own]")
    races.add_argument("--small", action="store_true", help="one round of two processes")
    races.add_argument("--processes", type=int, default=4)
    races.add_argument("--cuts", type=int, default=100_000, help="commits to cut at least")
    races.add_argument("--seconds", type=float, default=3600.0, help="at most, but for a round")


def _run(given: argparse.Namespace) -> None:
    # Imported where they are used: some need torch, some a server, some neither.
    match given.command:
        case "distill":
            from benchmarks.distill import CASES, bench_distill

            cases = given.case or list(CASES)
            bench_distill(cases, given.turns, given.precision, given.quick)
        case "gpu":
            from benchmarks.gpu import bench_gpu

            bench_gpu(given.device, given.small, given.model, given.slots, not given.no_tests)
        case "campaign":
            from benchmarks.campaign import bench_campaign

            bench_campaign(given.turns, given.participants, given.images, given.epochs)
        case "precision":
            from benchmarks.precision import bench_precision

            bench_precision(given.images, given.epochs, given.seeds, given.test)
        case "memory":
            from benchmarks.memory import bench_memory

            bench_memory(given.participants, given.images)
        case "workers":
            from benchmarks.workers import bench_workers

            small = ("0.01", [2, 8], [0.2], 1.0, 2)
            asked = (given.size, given.workers, given.trial, given.seconds, given.clients)
            bench_workers(given.store, *(small if given.small else asked), given.csv)
            if given.picture is not None:
                from benchmarks.workers_picture import draw_saturation

                draw_saturation(given.csv).write_image(given.picture, width=760, height=400)
        case "store" | "queue" | "merge" as name:
            bench = getattr(importlib.import_module(f"benchmarks.{name}"), f"bench_{name}")
            bench(given.store, given.size or given.sizes)
        case "races":
            from benchmarks.races import bench_races

            small = ("0.01", 2, 0, 0.0)
            asked_races = ("0.1", given.processes, given.cuts, given.seconds)
            bench_races(given.store, *(small if given.small else asked_races))
        case "plan":
            from benchmarks.plan import bench_plan

            bench_plan(given.size or given.sizes)
        case "report":
            from benchmarks.report import bench_report

            bench_report(given.size or given.sizes)
        case _:
            from benchmarks.claims import bench_claims

            size = (given.size or given.sizes)[-1]
            bench_claims(given.store, size, given.claimers, given.seconds)


if __name__ == "__main__":
    main()
