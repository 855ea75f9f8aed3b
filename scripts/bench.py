#!/usr/bin/env python3
"""Measure kdopt.

    python scripts/bench.py store     plan, claim, record, status, doctor, dashboard; disk space
    python scripts/bench.py claims    claims and results a second, by workers at once
    python scripts/bench.py merge     taking over what another store has

Each uses new SQLite files, or the empty Postgres database of --store postgresql+psycopg://...
"""

from __future__ import annotations

import argparse

from benchmarks.sizes import SIZES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, sized in (("store", "0.1 and 1"), ("claims", "1"), ("merge", "0.1 and 1")):
        command = commands.add_parser(name)
        command.add_argument("--store", help="URL of an empty database [default: SQLite files]")
        command.add_argument("--size", action="append", choices=SIZES, help=f"[default: {sized}]")
        if name == "claims":
            command.add_argument("--claimers", type=int, nargs="+", default=[1, 4, 8, 16])
            command.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    sizes = given.size or ["0.1", "1"]
    if given.command == "store":
        from benchmarks.store import bench_store

        bench_store(given.store, sizes)
    elif given.command == "merge":
        from benchmarks.merge import bench_merge

        bench_merge(given.store, sizes)
    else:
        from benchmarks.claims import bench_claims

        bench_claims(given.store, (given.size or ["1"])[-1], given.claimers, given.seconds)


if __name__ == "__main__":
    main()
