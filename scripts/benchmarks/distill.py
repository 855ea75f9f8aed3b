"""``bench.py distill``: trials per hour beside a textbook loop and torchdistill.

All contenders distil the same teacher into the same student on the same images, with the same
number of epochs and batch size, using all cores; each is timed in turns with the others. Peers
evaluate the test set after every epoch, as they do, but for the lean loop, which evaluates it once
and keeps images and logits in memory; kdopt evaluates validation and test once.
"Of the limit" is the arithmetic of kdopt's own trial (its training and its one evaluation) at the
measured rate of matrix products of one core times the cores, over the time taken.

``--quick`` is for a machine that is busy, and takes a minute or two: the processor's seconds of
kdopt and of the lean loop, one thread each, in turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.machine import gemm_gflops, per_image
from benchmarks.product import Bench
from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import read_dataset
from kdopt.data.splits import unpack_splits
from kdopt.store import queries
from kdopt.train.engine import make_engine

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
    lean: int


CASES = {
    "600": Case("cnn", 600, 130, 10000, 5, 20, 24, 1, 6),
    "5000": Case("cnn", 5000, 1100, 10000, 5, 5, 16, 1, 3),
    "resnet18": Case("resnet18", 300, 70, 500, 2, 1, 12, 1, 2),
}


class Turn(NamedTuple):
    """Seconds per trial of one turn, and the accuracies that came out."""

    seconds: float
    accuracies: list[float]


QUICK_TRIALS, QUICK_TURNS = 8, 2


def bench_distill(names: list[str], turns: int, precision: str, quick: bool) -> None:
    """Print a table per case, or a line where it is to be quick."""
    resolved = make_engine(precision, "cpu").precision  # type: ignore[arg-type]
    print(f"kdopt's precision: {precision}, which is {resolved} here")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
            if quick:
                _compare_cpu(name, CASES[name], resolved, Path(folder))
            else:
                _case(name, CASES[name], turns, resolved, Path(folder))


def _compare_cpu(name: str, case: Case, precision: str, folder: Path) -> None:
    """Print seconds of the processor per trial, of one worker and of the lean loop."""
    bench = Bench(folder)
    text = _spec(case, precision)
    campaign = bench.plan(text.format(replicates=1))
    bench.work(campaign, CORES)
    job = _job(bench, campaign, case, folder) | {"threads": 1, "trials": 2}
    here = [str(folder / "kdopt.db"), str(folder / "artifacts"), campaign]
    ours, lean = [], []
    for turn in range(1, QUICK_TURNS + 1):
        # The control is a cell of its own, so each replicate is two trials.
        bench.plan(text.format(replicates=1 + turn * QUICK_TRIALS // 2))
        said = _run_module("probe", *here)
        ours.append(said["cpu"] / said["trials"])
        lean.append(_run_module("lean", json.dumps(job))["cpu"])
    ratios = sorted(a / b for a, b in zip(lean, ours, strict=True))
    print(
        f"{name}: {case.model}, {case.images} images; seconds of the processor per trial: kdopt "
        f"{statistics.median(ours):.3f}, lean {statistics.median(lean):.3f}; "
        f"{statistics.median(ratios):.1f} times ({ratios[0]:.1f}-{ratios[-1]:.1f})",
        flush=True,
    )


def _rates() -> dict[str, float]:
    """GFLOP/s of matrix products on one core."""
    return {"bf16": gemm_gflops(torch.bfloat16, 1), "fp32": gemm_gflops(torch.float32, 1)}


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
        "lean": lambda: _peer("lean", job | {"trials": case.lean}),
        "textbook": lambda: _peer("textbook", job),
        "torchdistill": lambda: _peer("with_torchdistill", job),
    }
    taken: dict[str, list[Turn]] = {label: [] for label in contenders}
    rates = []
    for turn in range(turns):
        job["seed"] = 100 * turn
        rates.append(_rates())
        for label, contender in contenders.items():
            taken[label].append(contender())
    print(
        f"\n{name}: {case.model}, {case.images} images, {case.epochs} epochs, batch 32; "
        f"test {case.test}; {turns} turns"
    )
    rate = {label: statistics.median(r[label] for r in rates) for label in rates[0]}
    print(
        "matrix products on one core, median of turns: "
        + ", ".join(f"{label} {value:.0f} GFLOP/s" for label, value in rate.items())
    )
    limit = _gflop(case) / rate[precision] / CORES
    print(f"kdopt's trial is {_gflop(case):.1f} GFLOP: {limit:.3f} s at the limit")
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
    seconds = statistics.median(t.seconds for t in taken["kdopt"])
    print(f"kdopt: {100 * limit / seconds:.0f} % of the limit", flush=True)


def _gflop(case: Case) -> float:
    """The arithmetic of one trial of kdopt; the teacher's logits are shared by all of them."""
    each = per_image(case.model, (1, 28, 28), 10)
    return case.epochs * case.images * each.training + (case.validation + case.test) * each.forward


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

    record = queries.read_record(bench.store, campaign)
    dataset = read_dataset(record.campaign.data, record.campaign.seed)
    content = bench.artifacts.get(record.splits["uniform"])
    share = unpack_splits(safetensors.numpy.load(content)).train[1]
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


def _peer(module: str, job: dict[str, object]) -> Turn:
    found = _run_module(module, json.dumps(job))
    return Turn(statistics.mean(found["seconds"]), found["accuracies"])


def _run_module(module: str, *arguments: str) -> dict[str, Any]:
    """What a module of this folder prints last, as JSON."""
    threads = {"OMP_NUM_THREADS": "1"} if module == "probe" else {}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
