#!/usr/bin/env python3
"""Measure kdopt.

    python scripts/bench.py distill    trials an hour beside three peers, a lean loop first
    python scripts/bench.py campaign   where a campaign's time goes, with one worker and with two
    python scripts/bench.py precision  bfloat16 beside float32, seed by seed
    python scripts/bench.py gpu        one GPU: its tests, steps, trials by slots, a lean loop
    python scripts/bench.py store      plan, lease, record, status, doctor, dashboard; disk space
    python scripts/bench.py queue      claim and record by one worker, looks at the queue included
    python scripts/bench.py claims     leases and results a second, by workers at once
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
        case "store":
            from benchmarks.store import bench_store

            bench_store(given.store, given.size or given.sizes)
        case "queue":
            from benchmarks.queue import bench_queue

            bench_queue(given.store, given.size or given.sizes)
        case "merge":
            from benchmarks.merge import bench_merge

            bench_merge(given.store, given.size or given.sizes)
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
