"""What the models of a partition say about each other's images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kdopt.campaign.settings import TrainSettings, TransferSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.features import measuring as measuring_module
from kdopt.features.definitions import compare_logits
from kdopt.features.measuring import measure_partition, sample_images
from kdopt.service.planner import draw_splits
from kdopt.store.artifacts import Artifacts
from kdopt.train.engine import make_engine
from kdopt.train.evaluation import predict_logits
from kdopt.trials.context import Context
from kdopt.trials.pretrain import run_pretrain
from tests.conftest import make_campaign, make_record

CAMPAIGN = make_campaign(
    participants=3,
    transfer=TransferSettings(20, 60, 0),
    pretrain=TrainSettings(epochs=2, patience=0, learning_rate=1e-2, weight_decay=0, batch_size=32),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A context and its three pre-trained participants."""
    dataset = read_dataset(CAMPAIGN.data, CAMPAIGN.seed)
    artifacts = Artifacts(tmp_path_factory.mktemp("artifacts"))
    splits = {n: artifacts.put(c) for n, c in draw_splits(CAMPAIGN, dataset).items()}
    record = dataclasses.replace(make_record(CAMPAIGN), splits=splits)
    context = Context(record, dataset, artifacts, make_engine("fp32", "cpu"))
    plan = plan_studies(CAMPAIGN)[0]
    trained = {i: run_pretrain(context, plan, {"participant": i}, {}) for i in range(3)}
    return context, trained, dataset


def test_label_counts_are_those_of_the_shares(world):
    context, trained, dataset = world
    found = measure_partition(context, "uniform", trained)
    for participant, counts in enumerate(found.label_counts):
        labels = dataset.train_labels[context.get_splits("uniform").train[participant]]
        assert list(counts) == np.bincount(labels, minlength=10).tolist()
    assert found.checkpoints == tuple(trained[i].checkpoint for i in range(3))


def test_every_pair_is_asked_about_every_set_that_has_images(world):
    context, trained, _ = world
    found = measure_partition(context, "uniform", trained)
    assert set(found.disagreement) == {
        "student",
        "public_unlabeled_small",
        "public_unlabeled_large",
    }
    for name in found.disagreement:
        for teacher in range(3):
            for student in range(3):
                assert (found.get_logit_features(name, teacher, student) is None) == (
                    teacher == student
                )


def test_logit_features_are_those_of_the_models_on_the_students_images(world):
    context, trained, _ = world
    found = measure_partition(context, "uniform", trained)
    images = context.get_share("uniform", 2)
    logits = [
        predict_logits(context.load_model(trained[i]), images, context.engine).clone()
        for i in (0, 2)
    ]
    expected = compare_logits(*(part.numpy() for part in logits))
    assert found.get_logit_features("student", 0, 2) == pytest.approx(expected, abs=1e-5)
    # On a public set both are asked about the same images, so who teaches does not matter.
    there, back = (found.get_logit_features("public_unlabeled_large", *p) for p in ((0, 2), (2, 0)))
    assert there.disagreement == back.disagreement


def test_of_a_large_set_evenly_spaced_images_are_asked_about(world, monkeypatch):
    context, trained, _ = world
    whole = measure_partition(context, "uniform", trained)
    images = context.get_share("uniform", 0)
    assert sample_images(images) is images
    monkeypatch.setattr(measuring_module, "MAX_IMAGES", 40)
    few = sample_images(images)
    assert len(few) == 40
    assert torch.equal(few.pixels[0], images.pixels[0])
    assert torch.equal(few.pixels[-1], images.pixels[-1])
    less = measure_partition(context, "uniform", trained)
    assert less.label_counts == whole.label_counts
    for name in ("student", "public_unlabeled_large"):
        one, other = whole.get_logit_features(name, 0, 1), less.get_logit_features(name, 0, 1)
        assert one != other
        assert abs(one.disagreement - other.disagreement) < 0.25


def test_a_participant_that_was_not_pretrained_leaves_gaps_only(world):
    context, trained, _ = world
    found = measure_partition(context, "uniform", {i: trained[i] for i in (0, 2)})
    assert found.get_logit_features("student", 0, 2) is not None
    assert (
        found.get_logit_features("student", 1, 2) is None
        and found.get_logit_features("student", 0, 1) is None
    )
    assert found.checkpoints[1] is None
    assert all(sum(counts) > 0 for counts in found.label_counts)


def test_measuring_moves_no_random_numbers(world):
    used, trained, dataset = world
    # A fresh process makes its model on the way.
    context = Context(used._record, dataset, used._artifacts, used.engine)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    measure_partition(context, "uniform", trained)
    assert torch.equal(before, torch.get_rng_state())
