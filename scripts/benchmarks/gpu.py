"""``bench.py gpu``: what kdopt does on the GPU at hand, beside a lean loop on the same GPU.

Needs no network and no data set: images are drawn here. "Recorded" steps are replayed as CUDA
graphs, as kdopt's workers do, of several students at once; "plain" ones are asked for operation by
operation.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import per_image
from benchmarks.made_images import SHAPES, write_images
from benchmarks.product import Bench
from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Engine, Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.losses import DistillationLoss
from kdopt.train.models import make_model
from kdopt.train.steps import StepKeeper, Student, make_recorder

BATCH, EPOCHS, TEST = 32, 5, 10_000
SCRIPTS = Path(__file__).parents[1]
DATA = {"cnn": "fashion_mnist", "resnet18": "cifar10"}
PAPER = {"trials": 24_750, "images": 4_000, "epochs": 30, "validation": 5_000, "test": 10_000}
"""Its grid: 50,000 images less 5,000 for validation and 5,000 public ones, shared by ten."""


class Case(NamedTuple):
    """What is distilled, and how many trials each slot runs in a turn."""

    model: str
    images: int
    trials: int


CASES = (Case("cnn", 600, 128), Case("cnn", 5000, 32), Case("resnet18", 600, 32),
         Case("resnet18", 5000, 16))  # fmt: skip
CELLS = 32
"""Trials of a replicate: both pairs' grids, of which a worker takes eight at a time on a GPU."""


class Measured(NamedTuple):
    """One way to run a case."""

    slots: int
    seconds: float
    busy: float
    memory_mib: float


def bench_gpu(
    device: str, small: bool, models: list[str], slots: list[int], with_tests: bool
) -> None:
    """Print everything; ``small`` shrinks it to seconds, for a look whether it runs."""
    engine = make_engine("auto", device)
    rate = _say_where(engine, small)
    if with_tests:
        _run_tests()
    evaluating = _measure_steps(device, ["cnn"] if small else models, small)
    cases = [Case("cnn", 64, 2)] if small else [c for c in CASES if c.model in models]
    found = {case: _measure_case(case, device, small, slots, rate) for case in cases}
    if "resnet18" in models and not small:
        _project(found, evaluating["resnet18"])


def _say_where(engine: Engine, small: bool) -> float:
    """The machine and its rate of bfloat16 matrix products in GFLOP/s."""
    print(", ".join(f"{k} {v}" for k, v in engine.list_versions().items()))
    side = 256 if small else 8192
    a, b = (torch.randn(side, side, device=engine.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = _time(lambda: torch.mm(a, b), 10, engine.device)
    rate = 2 * side**3 / seconds / 1e9
    print(f"precision {engine.precision}; bf16 matrix products {rate / 1000:,.1f} TFLOP/s; "
          f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}", flush=True)  # fmt: skip
    return rate


def _run_tests() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Others may have other versions of what warns.
    command += ["-o", "filterwarnings=default", "--noconftest", "tests/train/test_cuda.py"]
    done = subprocess.run(
        command, cwd=SCRIPTS.parent, capture_output=True, text=True, check=False, timeout=300
    )
    print(done.stdout[-3000:] if done.returncode else done.stdout.strip().splitlines()[-1])
    print(f"tests on CUDA: {'FAILED' if done.returncode else 'none failed'}", flush=True)


def _measure_steps(device: str, models: list[str], small: bool) -> dict[str, float]:
    """A table of milliseconds per step; seconds that evaluating an image takes, by model."""
    print(f"\nmilliseconds per training step of {BATCH} images, median of 3")
    print(f"{'deterministic':16}{'plain: yes':>12}{'no':>8}{'recorded: yes':>15}{'no':>8}"
          f"{'to record':>11}{'2 at once, each':>17}{'4':>8}{'8':>8}")  # fmt: skip
    evaluating = {}
    for model in models:
        for precision in ("bf16", "fp32"):
            line, cost = [], 0.0
            for recorded in (False, True):
                for deterministic in (True, False):
                    engine = make_engine(precision, device, deterministic=deterministic)
                    taken, costs = zip(
                        *(_step(model, engine, recorded, 3 if small else 60) for _ in range(3)),
                        strict=True,
                    )
                    line.append(1000 * statistics.median(taken))
                    cost = 1000 * statistics.median(costs)
            engine = make_engine(precision, device)
            several = [
                1000 * _step(model, engine, True, 3 if small else 60, students)[0]
                for students in (2, 4, 8)
            ]
            print(f"{model:10}{precision:6}{line[0]:>12.3f}{line[1]:>8.3f}{line[2]:>15.3f}"
                  f"{line[3]:>8.3f}{cost:>11.1f}{several[0]:>17.3f}{several[1]:>8.3f}"
                  f"{several[2]:>8.3f}", flush=True)  # fmt: skip
        engine = make_engine("auto", device)
        images, net = _make_images(model, 64 if small else TEST, device), _make_net(model, engine)
        net.eval()
        seconds = _time(lambda n=net, i=images, e=engine: predict_logits(n, i, e), 5, engine.device)
        evaluating[model] = seconds / len(images)
        print(f"{model:10}evaluating {len(images):,} images: {1000 * seconds:.1f} ms", flush=True)
    return evaluating


def _step(
    model: str, engine: Engine, recorded: bool, count: int, students: int = 1
) -> tuple[float, float]:
    """Seconds of a step of each student, and of recording it."""
    images = _make_images(model, 640, str(engine.device))
    teacher = torch.randn(len(images), 10, device=engine.device)
    keeper = StepKeeper(make_recorder if recorded else lambda device: None)
    crew = [
        Student(
            _make_net(model, engine).train(),
            DistillationLoss(teacher, images.labels).set_cell(4.0, 0.5),
            lambda net: 0.0,
        )
        for _ in range(students)
    ]
    run = keeper.prepare(crew, images, TrainSettings(), engine).run
    index = torch.randperm(len(images))[:BATCH].to(engine.device).repeat(students, 1)
    run(index)
    cost = _time(lambda: run(index), 1, engine.device, warm=0)
    return _time(lambda: run(index), count, engine.device) / students, cost


def _make_net(model: str, engine: Engine) -> torch.nn.Module:
    with seeded(0, engine.device):
        return engine.move(make_model(model, SHAPES[DATA[model]], 10))


def _make_images(model: str, count: int, device: str) -> Images:
    shape = SHAPES[DATA[model]]
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    )
    labels = torch.arange(count) % 10
    channels = shape[0]
    return Images(pixels.to(device), labels.to(device), (0.5,) * channels, (0.3,) * channels)


def _time(what: Callable[[], object], count: int, device: torch.device, warm: int = 3) -> float:
    """Seconds per call."""
    for _ in range(warm):
        what()
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        what()
    _wait(device)
    return (time.perf_counter() - started) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measure_case(
    case: Case, device: str, small: bool, slots: list[int], rate: float
) -> list[Measured]:
    """Workers with a store, and lean loops, by the number of processes on the GPU."""
    test, validation = (100, 64) if small else (TEST, max(100, case.images // 5))
    shape = SHAPES[DATA[case.model]]
    each = per_image(case.model, shape, 10)
    gflop = EPOCHS * case.images * each.training + (validation + test) * each.forward
    size = "x".join(map(str, shape))
    print(f"\n{case.model}, {case.images:,} images of {size}, {EPOCHS} epochs, batch {BATCH}, "
          f"test {test:,}: {gflop:,.0f} GFLOP a trial")  # fmt: skip
    print(f"{'':26}{'processes':>10}{'s per trial':>13}{'trials/h':>10}{'GPU busy':>10}"
          f"{'MiB each':>10}{'of the rate':>13}")  # fmt: skip
    found = []
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        root = write_images(
            Path(folder) / "images", DATA[case.model], 2 * case.images + validation, test
        )
        bench = Bench(Path(folder), device)
        text = _spec(case, root, validation)
        campaign, replicates = bench.plan(text.format(replicates=1)), 1
        bench.work(campaign, 1)
        for count in slots:
            replicates += max(1, case.trials * count // CELLS)
            bench.plan(text.format(replicates=replicates))
            with GpuWatch(device) as watch:
                run = bench.work(campaign, count)
            found.append(Measured(count, run.working_s / run.trials, watch.busy, watch.memory_mib))
            _print_line("kdopt", found[-1], gflop, rate)
        bench.store.close()
    for count, bf16 in ((1, False), (4, False), (1, True)):
        with GpuWatch(device) as watch:
            seconds = _run_lean(case, shape, test, device, bf16, count)
        label = "lean, bf16, fused Adam" if bf16 else "lean"
        _print_line(label, Measured(count, seconds, watch.busy, watch.memory_mib), gflop, rate)
    return found


def _print_line(label: str, found: Measured, gflop: float, rate: float) -> None:
    print(f"{label:26}{found.slots:>10}{found.seconds:>13.4f}{3600 / found.seconds:>10,.0f}"
          f"{found.busy:>8.0f} %{found.memory_mib / found.slots:>10,.0f}"
          f"{100 * gflop / found.seconds / rate:>11.2f} %", flush=True)  # fmt: skip


def _spec(case: Case, root: Path, validation: int) -> str:
    return f"""
name = "bench"
participants = 2
model = "{case.model}"
partitions = ["uniform"]
stages = ["tune"]
control = false
replicates = {{replicates}}
[data]
name = "{DATA[case.model]}"
root = "{root}"
checksum = "none"
validation_fraction = {validation / (2 * case.images + validation)}
[pretrain]
epochs = 1
patience = 0
[distill]
epochs = {EPOCHS}
patience = 0
[tune]
temperatures = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
alphas = [0.5, 0.9]
vanilla_temperature = 4.0
vanilla_alpha = 0.5
"""


def _run_lean(
    case: Case, shape: tuple[int, ...], test: int, device: str, bf16: bool, count: int
) -> float:
    """Seconds per trial of so many lean loops at once."""
    trials = max(1, case.trials // 8)
    job = {"model": case.model, "shape": shape, "images": case.images, "test": test}
    job |= {"device": device, "bf16": bf16, "epochs": EPOCHS, "trials": trials}
    crew = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lean_gpu", json.dumps(job)],
            cwd=SCRIPTS,
            env={**os.environ, "PYTHONPATH": _python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in crew:
        assert process.stdout.readline() == "ready\n"
    for process in crew:
        process.stdin.write("go\n")
        process.stdin.flush()
    spans = [json.loads(process.communicate()[0]) for process in crew]
    return (max(end for _, end in spans) - min(start for start, _ in spans)) / (trials * count)


def _python_path() -> str:
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS), *([given] if given else [])])


class GpuWatch:
    """How busy the GPU is and how much of its memory is taken, while the block runs.

    Attributes:
        busy: Percent of time in which a kernel ran, by ``nvidia-smi``: the mean of the busier half
            of the samples, so that starts and ends do not count.
        memory_mib: The most memory in use.
    """

    def __init__(self, device: str) -> None:
        self._watched = device.startswith("cuda")
        self.busy = self.memory_mib = float("nan")

    def __enter__(self) -> GpuWatch:
        if self._watched:
            query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
            self._process = subprocess.Popen(
                ["nvidia-smi", *query, "-lms", "250"], stdout=subprocess.PIPE, text=True
            )
            self._lines: list[str] = []
            self._thread = threading.Thread(target=self._read)
            self._thread.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines += self._process.stdout

    def __exit__(self, *_: object) -> None:
        if not self._watched:
            return
        self._process.terminate()
        self._thread.join()
        self._process.wait()
        samples = [tuple(map(float, line.split(","))) for line in self._lines if "," in line]
        if samples:
            busy = sorted(b for b, _ in samples)
            self.busy = statistics.mean(busy[len(busy) // 2 :])
            self.memory_mib = max(m for _, m in samples)


def _project(found: dict[Case, list[Measured]], evaluating_s: float) -> None:
    """Hours for the paper's grid, if no trial stops early."""
    few, many = (found[case] for case in CASES if case.model == "resnet18")
    steps = [EPOCHS * -(-case.images // BATCH) for case in CASES if case.model == "resnet18"]
    print(f"\nthe paper's grid, {PAPER['trials']:,} trials of ResNet-18, all {PAPER['epochs']} "
          "epochs each, validated after every one")  # fmt: skip
    for one, other in zip(few, many, strict=True):
        step_s = (other.seconds - one.seconds) / (steps[1] - steps[0])
        shown = PAPER["epochs"] * PAPER["validation"] + PAPER["test"]
        trial_s = PAPER["epochs"] * PAPER["images"] / BATCH * step_s + shown * evaluating_s
        print(f"{one.slots} slots: {1000 * step_s:.2f} ms a step, {trial_s:.2f} s a trial, "
              f"{PAPER['trials'] * trial_s / 3600:,.1f} GPU hours", flush=True)  # fmt: skip
