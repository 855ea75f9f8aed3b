"""``bench.py precision``: whether bfloat16 gives the results of float32.

The same distillations, seed by seed, from the same checkpoints, in both precisions. What matters is
the mean difference beside its standard error, and beside the seeds' own spread.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.product import Bench
from kdopt.campaign.stages import plan_pretrain, plan_tune
from kdopt.campaign.studies import Params
from kdopt.data.datasets import load_dataset
from kdopt.outcome import Outcome
from kdopt.store import queries
from kdopt.train.engine import make_engine
from kdopt.trials.context import Context
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune

CELLS = ((1.0, 0.5), (4.0, 0.9))
SPEC = """
name = "bench"
participants = 2
model = "cnn"
precision = "fp32"
partitions = ["uniform"]
stages = ["tune"]
replicates = {replicates}
[data]
name = "fashion_mnist"
train_size = {train}
test_size = {test}
validation_fraction = {fraction}
[pretrain]
epochs = 5
patience = 0
[distill]
epochs = {epochs}
patience = 0
"""


def bench_precision(images: int, epochs: int, replicates: int, test: int) -> None:
    """Print a line per cell and set."""
    validation = min(500, images)
    train = 2 * images + validation
    text = SPEC.format(
        replicates=replicates, train=train, test=test, fraction=validation / train, epochs=epochs
    )
    with tempfile.TemporaryDirectory(prefix="kdopt-bench-") as folder:
        bench = Bench(Path(folder))
        name = bench.plan(text)
        record = queries.read_record(bench.store, name)
        dataset = load_dataset(record.campaign)
        contexts = {
            precision: Context(record, dataset, bench.artifacts, make_engine(precision, "cpu"))
            for precision in ("fp32", "bf16")
        }
        (training,) = plan_pretrain(record.campaign)
        inputs = {
            i: run_pretrain(contexts["fp32"], training, {"participant": i}, {}) for i in range(2)
        }
        plan = next(p for p in plan_tune(record.campaign) if p.student == 1)
        print(
            f"cnn, {images} images, {epochs} epochs, {replicates} seeds; accuracies in percent; "
            f"'kdopt' chooses {make_engine('auto', 'cpu').precision} here"
        )
        print(f"{'cell':14}{'set':12}{'fp32 mean +- sd':>18}{'bf16 mean +- sd':>18}"
              f"{'bf16 - fp32 +- s.e.':>22}{'difference / sd':>17}{'s/trial':>16}")  # fmt: skip
        for temperature, alpha in CELLS:
            found: dict[str, list[Outcome]] = {"fp32": [], "bf16": []}
            seconds: dict[str, float] = dict.fromkeys(found, 0.0)
            for seed in range(replicates):
                cell: Params = {"temperature": temperature, "alpha": alpha, "replicate": seed}
                for precision, context in contexts.items():
                    started = time.perf_counter()
                    found[precision].append(run_tune(context, plan, cell, inputs))
                    seconds[precision] += time.perf_counter() - started
            took = " / ".join(f"{s / replicates:.2f}" for s in seconds.values())
            for of in ("validation", "test"):
                line = _line([[100 * getattr(o, of).accuracy for o in f] for f in found.values()])
                print(f"{f'T {temperature:g} a {alpha:g}':14}{of:12}{line}{took:>16}", flush=True)
        bench.store.close()


def _line(accuracies: list[list[float]]) -> str:
    fp32, bf16 = accuracies
    differences = [b - a for a, b in zip(fp32, bf16, strict=True)]
    spread = statistics.stdev(fp32)
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    texts = [f"{statistics.mean(a):.2f} +- {statistics.stdev(a):.2f}" for a in accuracies]
    return (
        f"{texts[0]:>18}{texts[1]:>18}{f'{mean:+.2f} +- {error:.2f}':>22}"
        f"{mean / spread if spread else math.nan:>17.2f}"
    )
