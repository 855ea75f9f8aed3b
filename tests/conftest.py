"""What several test folders share: small campaigns, stores, and outcomes made by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kdopt.outcome import Outcome, Scores
from kdopt.plan import (
    Campaign,
    CampaignRecord,
    DataSettings,
    PartitionSettings,
    TrainSettings,
    TuneSettings,
)
from kdopt.store.open import Store, open_store

# Worker processes that tests start must find the package of this checkout.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
for variable in ("KDOPT_STORE", "KDOPT_ARTIFACTS"):
    os.environ.pop(variable, None)
PYTHON = sys.executable


def make_campaign(**changes: object) -> Campaign:
    """A tiny campaign: digits, two participants, four cells."""
    values: dict[str, object] = {
        "name": "tiny",
        "seed": 0,
        "participants": 2,
        "replicates": 1,
        "precision": "fp32",
        "select_on": "validation",
        "model": "mlp",
        "data": DataSettings("digits", validation_fraction=0.2),
        "partitions": (PartitionSettings("uniform"),),
        "pretrain": TrainSettings(2, 0, 1e-3, 1e-4, 32),
        "distill": TrainSettings(1, 0, 1e-3, 1e-4, 32),
        "tune": TuneSettings((1.0, 2.0), (0.5, 0.9), "grid", 6, 1.0, 0.5, True),
    }
    return Campaign(**{**values, **changes})  # type: ignore[arg-type]


def make_record(campaign: Campaign) -> CampaignRecord:
    """The record of a campaign whose images and splits nobody will open."""
    return CampaignRecord(campaign, (), "0" * 64, {p.name: "1" * 64 for p in campaign.partitions})


def make_outcome(value: float) -> Outcome:
    """An outcome with the given objective."""
    scores = Scores(0.5, (0.5, 0.5), 0.7)
    return Outcome(value, scores, scores, 1, 1, 0.5, 0.5, 0.01, "cpu", "fp32")


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "kdopt.db"


@pytest.fixture
def store(store_path: Path):
    opened = open_store(str(store_path), create=True)
    yield opened
    opened.close()


@pytest.fixture
def campaign() -> Campaign:
    return make_campaign()


def new_store(path: Path) -> Store:
    return open_store(str(path), create=True)
