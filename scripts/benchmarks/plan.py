"""``bench.py plan``: what ``kdopt plan`` takes as campaigns grow, images and splits included."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sizes import PARTITIONS, SIZES

SPEC = """
name = "bench"
participants = {participants}
partitions = {partitions}
model = "cnn"
[data]
name = "fashion_mnist"
[partition.label_chunks]
chunk_size = 100
[transfer]
public_unlabeled_small = 500
public_unlabeled_large = 5000
public_labeled = 500
"""


def bench_plan(sizes: list[str]) -> None:
    """Time the command, and the same again when all is planned, on a new SQLite store."""
    print(f"{'size':>5}{'studies':>10}{'trials':>10}{'plan s':>8}{'again s':>9}")
    for size in sizes:
        participants, n_partitions = SIZES[size]
        with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
            spec = Path(folder) / "bench.toml"
            partitions = str(list(PARTITIONS[:n_partitions])).replace("'", '"')
            spec.write_text(SPEC.format(participants=participants, partitions=partitions))
            command = [sys.executable, "-m", "kdopt", "plan", str(spec)]
            command += ["--store", str(Path(folder) / "kdopt.db")]
            times = []
            for _ in range(2):
                started = time.perf_counter()
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                times.append(time.perf_counter() - started)
            studies, trials = (w for w in said.split() if w.replace(",", "").isdigit() and w != "0")
            print(f"{size:>5}{studies:>10}{trials:>10}{times[0]:>8.2f}{times[1]:>9.2f}", flush=True)
