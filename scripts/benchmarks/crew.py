"""Processes that benchmarks start: several of one module here, or one that is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def start_crew(module: str, n: int) -> list[subprocess.Popen[str]]:
    """Start ``n`` processes of a module; what is a secret goes through their pipes."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(n)
    ]


def run_measured(*arguments: str, log: Path) -> tuple[float, float]:
    """Seconds, and peak resident memory in MiB, of a command of kdopt; it must succeed."""
    command = [sys.executable, "-m", "kdopt", *arguments]
    out = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    started = time.perf_counter()
    process = os.posix_spawn(
        command[0],
        command,
        {**os.environ},
        file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)],
    )
    os.close(out)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(log.read_text()[-2000:])
    return time.perf_counter() - started, usage.ru_maxrss / 1024
