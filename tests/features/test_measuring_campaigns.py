"""Campaigns are measured once, from real checkpoints in a real store."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.data.datasets import load_dataset
from kdopt.errors import ArtifactError, DataError
from kdopt.features.measurements import find_unmeasured_partitions, read_measurements
from kdopt.features.measuring import measure_campaign
from kdopt.store.queries import read_trials
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.small_campaigns import make_spec, plan_text

SPEC = make_spec(partitions=["uniform", "specialized"], data={"validation_fraction": None})
ENGINE = make_engine("fp32", "cpu")


@pytest.fixture
def planned(tmp_path):
    """A planned campaign: its store and its artifacts."""
    made = plan_text(SPEC, tmp_path)
    yield made.store, made.artifacts
    made.store.close()


def test_nothing_is_measured_before_anything_is_pretrained(planned):
    store, artifacts = planned
    assert find_unmeasured_partitions(store, "tiny") == []
    assert measure_campaign(store, artifacts, "tiny", ENGINE) == []
    assert read_measurements(store, "tiny") == {}


def test_measured_once_and_trials_stay_as_they_are(planned):
    store, artifacts = planned
    run_trials(store, artifacts, "tiny", ENGINE)
    before = read_trials(store, "tiny")
    assert find_unmeasured_partitions(store, "tiny") == ["uniform", "specialized"]
    assert measure_campaign(store, artifacts, "tiny", ENGINE) == ["uniform", "specialized"]
    assert find_unmeasured_partitions(store, "tiny") == []
    assert measure_campaign(store, artifacts, "tiny", ENGINE) == []
    assert read_trials(store, "tiny") == before
    found = read_measurements(store, "tiny")
    kept = {r.outcome.checkpoint for r in before if r.stage == "pretrain"}
    assert {sha for measurements in found.values() for sha in measurements.checkpoints} == kept


def test_what_was_measured_stays_when_a_later_checkpoint_is_lost(planned):
    store, artifacts = planned
    run_trials(store, artifacts, "tiny", ENGINE)
    lost = next(
        r.outcome.checkpoint
        for r in read_trials(store, "tiny")
        if r.stage == "pretrain" and r.partition == "specialized"
    )
    artifacts.discard(lost)
    with pytest.raises(ArtifactError, match="missing"):
        measure_campaign(store, artifacts, "tiny", ENGINE)
    assert set(read_measurements(store, "tiny")) == {"uniform"}
    assert find_unmeasured_partitions(store, "tiny") == ["specialized"]


def test_other_images_are_refused(planned, monkeypatch):
    store, artifacts = planned
    run_trials(store, artifacts, "tiny", ENGINE)

    def other(campaign):
        dataset = load_dataset(campaign)
        return dataclasses.replace(dataset, train_labels=dataset.train_labels[::-1].copy())

    monkeypatch.setattr("kdopt.data.datasets.load_dataset", other)
    with pytest.raises(DataError, match="not those that the campaign was planned with"):
        measure_campaign(store, artifacts, "tiny", ENGINE)
