"""``bench.py distill``: trials per hour beside a textbook loop and torchdistill.

All contenders distil the same teacher into the same student on the same images, with the same
number of epochs and batch size, using all cores; each is timed in turns with the others. Peers
evaluate the test set after every epoch, as they do; kdopt evaluates validation and test once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import gemm_gflops
from benchmarks.product import Bench
from kdopt.data.datasets import load
from kdopt.data.splits import from_arrays
from kdopt.spec import parse_spec
from kdopt.store import rows

CORES = 2
TEMPERATURE, ALPHA = 4.0, 0.5


class Case(NamedTuple):
    """What is distilled, and how many trials a turn of each contender has."""

    model: str
    images: int
    validation: int
    test: int
    epochs: int
    pretrain_epochs: int
    ours: int
    peers: int


CASES = {
    "600": Case("cnn", 600, 130, 10000, 5, 20, 24, 1),
    "5000": Case("cnn", 5000, 1100, 10000, 5, 5, 8, 1),
    "resnet18": Case("resnet18", 300, 70, 500, 2, 1, 4, 1),
}


class Turn(NamedTuple):
    """Seconds per trial of one turn, and the accuracies that came out."""

    seconds: float
    accuracies: list[float]


def bench_distill(names: list[str], turns: int, precision: str) -> None:
    """Print a table per case."""
    rates = {
        label: gemm_gflops(dtype, 1)
        for label, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
    }
    print(
        "matrix products on one core: "
        + ", ".join(f"{label} {rate:.0f} GFLOP/s" for label, rate in rates.items())
    )
    for name in names:
        with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
            _case(name, CASES[name], turns, precision, Path(folder))


def _case(name: str, case: Case, turns: int, precision: str, folder: Path) -> None:
    bench = Bench(folder)
    text = _spec(case, precision)
    # Pre-training and the first start of the workers are no part of any turn.
    campaign = bench.plan(text.format(replicates=1))
    bench.work(campaign, CORES)
    job = _job(bench, campaign, case, folder)
    replicates = 1

    def ours() -> Turn:
        nonlocal replicates
        replicates += case.ours // 2
        bench.plan(text.format(replicates=replicates))
        before = len(bench.outcomes(campaign, f"{campaign}/uniform/tune/t00-s01"))
        run = bench.work(campaign, CORES)
        new = bench.outcomes(campaign, f"{campaign}/uniform/tune/t00-s01")[before:]
        return Turn(run.working_s / run.trials, [o.test.accuracy for o in new])

    contenders: dict[str, Callable[[], Turn]] = {
        "kdopt": ours,
        "textbook": lambda: _peer("textbook", job, case),
        "torchdistill": lambda: _peer("with_torchdistill", job, case),
    }
    taken: dict[str, list[Turn]] = {label: [] for label in contenders}
    for _ in range(turns):
        for label, contender in contenders.items():
            taken[label].append(contender())
    print(
        f"\n{name}: {case.model}, {case.images} images, {case.epochs} epochs, batch 32; "
        f"test {case.test}; {turns} turns, precision of kdopt '{precision}'"
    )
    print(f"{'':14}{'s per trial':>12}{'trials/h':>10}{'times slower: median (min-max)':>34}"
          f"{'test accuracy %, mean +- sd (n)':>34}")  # fmt: skip
    for label, found in taken.items():
        seconds = statistics.median(t.seconds for t in found)
        ratios = sorted(t.seconds / o.seconds for t, o in zip(found, taken["kdopt"], strict=True))
        ratio = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"
        accuracies = [100 * a for t in found for a in t.accuracies]
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
        accuracy = f"{statistics.mean(accuracies):.2f} +- {spread:.2f} ({len(accuracies)})"
        print(f"{label:14}{seconds:>12.3f}{3600 / seconds:>10.0f}{ratio:>34}{accuracy:>34}")
    sys.stdout.flush()


def _spec(case: Case, precision: str) -> str:
    train = 2 * case.images + case.validation
    return f"""
name = "bench"
participants = 2
model = "{case.model}"
precision = "{precision}"
partitions = ["uniform"]
stages = ["tune"]
replicates = {{replicates}}
[data]
name = "fashion_mnist"
train_size = {train}
test_size = {case.test}
validation_fraction = {case.validation / train}
[pretrain]
epochs = {case.pretrain_epochs}
patience = 0
[distill]
epochs = {case.epochs}
patience = 0
[tune]
temperatures = [{TEMPERATURE}]
alphas = [{ALPHA}]
vanilla_temperature = {TEMPERATURE}
vanilla_alpha = {ALPHA}
"""


def _job(bench: Bench, campaign: str, case: Case, folder: Path) -> dict[str, object]:
    """Write what the peers need: the student's images, the test set, both checkpoints."""
    import safetensors.numpy

    record = rows.read_record(bench.store, campaign)
    dataset = load(record.campaign.data, record.campaign.seed)
    content = bench.artifacts.get(record.splits["uniform"])
    share = from_arrays(safetensors.numpy.load(content)).train[1]
    for part, pixels, labels in (
        ("train", dataset.train_images[share], dataset.train_labels[share]),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        np.save(folder / f"{part}_images.npy", pixels)
        np.save(folder / f"{part}_labels.npy", labels)
    trained = bench.outcomes(campaign, f"{campaign}/uniform/pretrain")
    for role, outcome in zip(("teacher", "student"), trained, strict=True):
        assert outcome.checkpoint is not None
        (folder / f"{role}.safetensors").write_bytes(bench.artifacts.get(outcome.checkpoint))
    settings = parse_spec(_spec(case, "auto").format(replicates=1)).campaign.distill
    return {
        "model": case.model,
        "folder": str(folder),
        "epochs": case.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "temperature": TEMPERATURE,
        "alpha": ALPHA,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "trials": case.peers,
        "seed": 0,
        "threads": CORES,
        "loader_workers": 0,
    }


def _peer(module: str, job: dict[str, object], case: Case) -> Turn:
    job["seed"] = int(str(job["seed"])) + case.peers
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module}: {done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Turn(statistics.mean(found["seconds"]), found["accuracies"])
