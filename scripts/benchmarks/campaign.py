"""``bench.py campaign``: where a campaign's time goes, with one worker and with two.

"Ideal" is what its training alone takes, so the rest is start-up, the store (looking, claiming,
recording), evaluation, and waiting for what others do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.product import Bench

SPEC = """
name = "bench"
participants = {participants}
model = "cnn"
partitions = ["label_dirichlet"]
stages = ["tune"]
[data]
name = "fashion_mnist"
train_size = {train}
test_size = 1000
validation_fraction = 0.1
[pretrain]
epochs = 3
patience = 0
[distill]
epochs = {epochs}
patience = 0
"""
COLUMNS = ("workers", "trials", "s/trial", "wall s", "start-up", "training", "evaluation", "store",
           "waiting", "other", "hits: images", "checkpoints", "logits")  # fmt: skip


def bench_campaign(turns: int, participants: int, images: int, epochs: int) -> None:
    """Run the same campaign with one and two workers in turns; shares of the workers' time."""
    text = SPEC.format(participants=participants, train=images * participants, epochs=epochs)
    print(
        f"{participants * (participants - 1)} pairs, full grid, about {images} images each, "
        f"{epochs} epochs; shares are of all workers' time"
    )
    print("  ".join(COLUMNS))
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for workers, taken in walls.items():
            with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
                taken.append(_run(Path(folder), text, workers))
    ratios = sorted(a / b for a, b in zip(walls[1], walls[2], strict=True))
    print(
        f"2 workers are {statistics.median(ratios):.2f} times as fast as 1 once started "
        f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
    )


def _run(folder: Path, text: str, workers: int) -> float:
    """One campaign in a new store; its wall time without the start of the workers."""
    bench = Bench(folder)
    campaign = bench.plan(text)
    here = [str(folder / "kdopt.db"), str(folder / "artifacts"), campaign]
    started = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.probe", *here],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers)
    ]
    said = [json.loads(p.communicate()[0].splitlines()[-1]) for p in processes]
    wall = time.perf_counter() - started
    total = sum(s["starting"] + s["working"] for s in said)

    def share(name: str) -> float:
        return sum(s.get(name, 0.0) for s in said) / total

    parts = [
        share(n) for n in ("starting", "in training", "in evaluation", "in store", "in waiting")
    ]
    hits = [
        sum(s["caches"][c][1] for s in said) / max(1, sum(s["caches"][c][0] for s in said))
        for c in ("images", "checkpoints", "logits")
    ]
    trials = sum(s["trials"] for s in said)
    working = max(s["working"] for s in said)
    figures = [
        str(workers),
        str(trials),
        f"{working * workers / trials:.3f}",
        f"{wall:.1f}",
        *(f"{100 * p:.1f} %" for p in [*parts, 1 - sum(parts)]),
        *(f"{100 * h:.2f} %" for h in hits),
    ]
    print("  ".join(f"{f:>{len(c)}}" for f, c in zip(figures, COLUMNS, strict=True)), flush=True)
    return working
