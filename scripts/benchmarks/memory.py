"""``bench.py memory``: a worker's peak against the number of participants and the size of the data.

The worker is a real one. Stage ``combine`` has all participants teach one student, which is where
their number could be felt; the images lie in memory as bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.crew import run_measured
from benchmarks.product import Bench

SPEC = """
name = "bench"
participants = {participants}
model = "cnn"
partitions = ["uniform"]
stages = ["combine"]
[data]
name = "fashion_mnist"
train_size = {images}
test_size = 1000
validation_fraction = 0.1
[transfer]
public_unlabeled_small = 200
public_unlabeled_large = 1000
public_labeled = 200
[pretrain]
epochs = 1
patience = 0
[distill]
epochs = 1
patience = 0
[combine]
starts = ["best"]
transfer_sets = ["public_unlabeled_large"]
"""


def bench_memory(participants: list[int], images: list[int]) -> None:
    """Print the peak of one worker for each number of participants and of training images."""
    print(f"{'participants':>12}{'images':>10}{'images MiB':>12}{'peak MiB':>10}")
    cases = [(n, images[0]) for n in participants] + [(participants[0], n) for n in images[1:]]
    for count, size in cases:
        peak = _peak(count, size)
        print(f"{count:>12}{size:>10,}{_mib(size):>12.1f}{peak:>10.0f}", flush=True)


def _mib(images: int) -> float:
    return (images + 1000) * 28 * 28 / 2**20


def _peak(participants: int, images: int) -> float:
    """Peak resident memory of the worker that does a whole campaign, in MiB."""
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        bench = Bench(Path(folder))
        bench.plan(SPEC.format(participants=participants, images=images))
        store = ("--store", f"{folder}/kdopt.db", "--device", "cpu")
        return run_measured("worker", "--quiet", *store, log=Path(folder) / "log")[1]
