"""Several processes of one module of this folder, told what to do through their pipes."""

from __future__ import annotations

import subprocess
import sys
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
