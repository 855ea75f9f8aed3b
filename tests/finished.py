"""A small campaign with every stage, run once for all tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store, open_store

FINISHED_SPEC = """
name = "home"
participants = 2
model = "mlp"
partitions = ["label_dirichlet"]
stages = ["tune", "compare", "combine", "federate"]
precision = "fp32"
replicates = 2
keep = "best"
[data]
name = "digits"
validation_fraction = 0.2
train_size = 600
[transfer]
public_unlabeled_small = 40
public_unlabeled_large = 0
public_labeled = 0
[partition.label_dirichlet]
concentration = [0.3]
[pretrain]
epochs = 2
patience = 1
[distill]
epochs = 1
patience = 0
[tune]
temperatures = [1, 4]
alphas = [0.5, 0.9]
[compare]
methods = ["vanilla", "dml"]
transfer_sets = ["student", "public_unlabeled_small"]
[combine]
starts = ["best"]
transfer_sets = ["student"]
weightings = ["equal"]
[federate]
rounds = 2
local_epochs = 1
"""


class Finished(NamedTuple):
    """A store with one finished campaign, ``home``, that no test may change."""

    store: Store
    artifacts: Artifacts
    path: Path


def run_campaign(text: str, folder: Path) -> Finished:
    """Plan and run a campaign in a folder of its own, in this process."""
    from kdopt.campaign.spec import parse_spec
    from kdopt.data.datasets import load_dataset
    from kdopt.service.planner import draw_splits, plan_campaign
    from kdopt.train.engine import make_engine
    from kdopt.worker.worker import run_trials

    spec = parse_spec(text)
    path = folder / "kdopt.db"
    store, artifacts = open_store(str(path), create=True), Artifacts(folder / "artifacts")
    dataset = load_dataset(spec.campaign)
    plan_campaign(spec, dataset, draw_splits(spec.campaign, dataset), store, artifacts)
    summary = run_trials(store, artifacts, spec.campaign.name, make_engine("fp32", "cpu"))
    assert not summary.failed
    return Finished(store, artifacts, path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    made = run_campaign(FINISHED_SPEC, tmp_path_factory.mktemp("finished"))
    yield made
    made.store.close()
