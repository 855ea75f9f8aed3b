"""The shipped campaigns of the paper, on small files in the exact formats of the real data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdopt.campaign.settings import TrainSettings, TransferSettings
from kdopt.campaign.spec import load_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.store import queries
from kdopt.store.planning import write_plan
from kdopt.train.engine import make_engine
from kdopt.trials.interfaces import NoJournal
from kdopt.trials.runners import RUNNERS
from tests.conftest import drop_record, make_record
from tests.trials.test_context import new_context

CLASSES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)
STUDIES = Path(__file__).parents[1] / "studies"
ONE_EPOCH = TrainSettings(
    epochs=1, patience=0, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
)


def write_cifar10(root: Path) -> None:
    """`cifar-10-batches-bin`: records of a label byte and 3,072 bytes of pixels."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (50, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(50) % 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")


def write_cinic10(root: Path) -> None:
    """train/valid/test, a folder per class, 32 x 32 PNG files."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 24), ("valid", 1), ("test", 4)):
        for label in CLASSES:
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"n0{i}_{i}.png")


def planned(store, name):
    campaign = load_spec(STUDIES / f"{name}.toml").campaign
    write_plan(store, make_record(campaign), plan_studies)
    counts: Counter[str] = Counter()
    for row in queries.read_trials(store, name):
        counts[row.stage] += 1
    studies = Counter(s.name.stage for s in queries.read_study_counts(store, name))
    return studies, counts


def test_the_papers_campaign_is_planned_whole(store):
    studies, trials = planned(store, "paper")
    assert studies == {
        "pretrain": 5,
        "control": 5,
        "tune": 450,
        "compare": 450,
        "combine": 5,
        "federate": 5,
    }
    assert trials == {
        "pretrain": 50,
        "control": 100,
        "tune": 24_750,
        "compare": 5_400,
        "combine": 50,
        "federate": 10,
    }


def test_the_cinic_campaign_is_planned_whole(store):
    studies, trials = planned(store, "cinic10")
    assert studies == {"pretrain": 1, "control": 1, "tune": 90, "compare": 90}
    assert trials == {"pretrain": 10, "control": 20, "tune": 4_950, "compare": 1_080}


@pytest.mark.parametrize(("name", "write"), [("paper", write_cifar10), ("cinic10", write_cinic10)])
def test_the_first_pair_of_each_runs_to_the_end(name, write, tmp_path, monkeypatch):
    """ResNet-18 and every method on every transfer set; sizes and epochs cut to the files'."""
    monkeypatch.setenv("KDOPT_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "data")
    spec = load_spec(STUDIES / f"{name}.toml").campaign
    campaign = dataclasses.replace(
        spec,
        participants=2,
        data=dataclasses.replace(
            spec.data, root=str(tmp_path / "data"), checksum="none", download=False, test_size=10
        ),
        partitions=tuple(
            dataclasses.replace(p, chunk_size=4, min_size=4)
            for p in spec.partitions
            if p.name in ("label_chunks", "label_dirichlet")
        ),
        transfer=TransferSettings(8, 16, 8),
        federate=dataclasses.replace(spec.federate, rounds=1, local_epochs=1),
        pretrain=ONE_EPOCH,
        distill=ONE_EPOCH,
    )
    dataset = read_dataset(campaign.data, campaign.seed)
    assert dataset.shape == (3, 32, 32)
    context = new_context(campaign, dataset, tmp_path / "artifacts")
    context.engine = make_engine("fp32", "cpu", threads=2)
    plans = [p for p in plan_studies(campaign) if p.partition == campaign.partitions[0].name]
    pretrain = RUNNERS["pretrain"].run
    trained = {i: pretrain(context, plans[0], {"participant": i}, {}) for i in range(2)}
    for stage, n_cells in (
        ("control", 4),
        ("tune", 1),
        ("compare", 12),
        ("combine", 2),
        ("federate", 1),
    ):
        for plan in [p for p in plans if p.stage == stage][:1]:
            for params in plan.cells[:n_cells]:
                outcome = RUNNERS[stage].compute(context, plan, params, trained, NoJournal())
                assert len(outcome.test.per_class) == 10
                if plan.student is not None:
                    assert outcome.test_before == drop_record(trained[plan.student].test)
