"""Participants bring models, weights and images: what others trained is what is scored."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_dataset, load_planned_dataset
from kdopt.errors import ArtifactError, DataError, StoreError
from kdopt.service.planner import draw_splits, plan_campaign, read_given_weights
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.train.models import make_model
from kdopt.train.weights import pack_weights
from kdopt.trials.compare import run_compare
from kdopt.trials.context import Context
from kdopt.trials.control import run_control
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from tests.small_campaigns import make_spec

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THIRD = [0.3, 0.3, 0.3]
SPEC = make_spec(
    name="mine",
    participants=None,
    model=None,
    partitions=["own"],
    stages=["tune", "compare"],
    data={
        "name": "folder",
        "root": "{root}/shared",
        "image_size": 8,
        "validation_fraction": 0.3,
    },
    transfer={
        "public_unlabeled_small": 20,
        "public_unlabeled_large": 40,
        "public_labeled": 20,
    },
    tune=None,
    participant=[
        {
            "name": "berlin",
            "model": "cnn",
            "weights": "{root}/berlin.pt",
            "data": "{root}/berlin",
            "classes": NAMES[::-1],
            "image_size": 16,
            "channels": 3,
            "mean": THIRD,
            "std": THIRD,
        },
        {"name": "big", "model": "mlp", "weights": "{root}/big.safetensors", "classes": NAMES},
        {"name": "paris", "model": "cnn", "data": "{root}/paris"},
    ],
)


def write_images(folder, images, labels):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:04d}.png")


class Berlin(nn.Module):
    """What somebody had trained elsewhere: their own pixels, size and order of classes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        images = (pixels.float() / 255 - 0.3) / 0.3
        images = images[:, None].expand(-1, 3, -1, -1)
        return self.model(nn.functional.interpolate(images, (16, 16), mode="bilinear"))


def train(model, pixels, labels):
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target
    shares = {"shared/train": slice(0, 200), "shared/test": slice(200, 400),
              "berlin": slice(400, 600), "paris": slice(600, 680)}  # fmt: skip
    for folder, share in shares.items():
        write_images(root / folder, images[share], labels[share])
    torch.manual_seed(0)
    pixels = torch.from_numpy(images[shares["berlin"]])
    backwards = torch.from_numpy(9 - labels[shares["berlin"]])
    berlin = train(Berlin(make_model("cnn", (3, 16, 16), 10)), pixels, backwards)
    torch.save({"epoch": 25, "state_dict": berlin.model.state_dict()}, root / "berlin.pt")
    big = make_model("mlp", (1, 8, 8), 10)
    safetensors.torch.save_file(big.state_dict(), root / "big.safetensors")
    return root, berlin


@pytest.fixture(scope="module")
def spec(root):
    return parse_spec(SPEC.format(root=root[0]))


@pytest.fixture(scope="module")
def context(spec, tmp_path_factory):
    campaign, artifacts = spec.campaign, Artifacts(tmp_path_factory.mktemp("artifacts"))
    dataset = load_dataset(campaign)
    put = {name: artifacts.put(c) for name, c in draw_splits(campaign, dataset).items()}
    given = read_given_weights(campaign, dataset)
    weights = {name: artifacts.put(content) for name, content in given.items()}
    record = CampaignRecord(campaign, spec.settings, dataset.sha256(), put, None, weights)
    assert load_planned_dataset(record).sha256() == dataset.sha256()
    return Context(record, dataset, artifacts, make_engine("fp32", "cpu"))


@pytest.fixture(scope="module")
def plans(spec):
    found = {}
    for plan in plan_studies(spec.campaign):
        found.setdefault((plan.stage, plan.teacher, plan.student), plan)
    return found


@pytest.fixture(scope="module")
def pretrained(context, plans):
    plan = plans["pretrain", None, None]
    return {i: run_pretrain(context, plan, {"participant": i}, {}) for i in range(3)}


def test_a_model_trained_elsewhere_scores_what_it_scores_there(root, context, pretrained):
    _, berlin = root
    pixels, labels = context.test.pixels[:, 0], context.test.labels
    with torch.no_grad():
        answers = berlin(pixels).argmax(dim=1)
    # Folders are read in the order of their names.
    order = sorted(NAMES)
    said = torch.tensor([order.index(NAMES[9 - int(a)]) for a in answers])
    expected = float((said == labels).double().mean())
    outcome = pretrained[0]
    assert outcome.epochs == 0 and outcome.test.accuracy == expected > 0.5
    assert outcome.checkpoint == context.find_given_weights(0)


def test_one_without_weights_is_trained_on_its_own_images_only(context, pretrained):
    assert pretrained[2].epochs == 1 and context.find_given_weights(2) is None
    splits = context.get_splits("own")
    assert [len(part) for part in splits.train] == [200, 0, 80]
    everywhere = np.concatenate([*splits.train, splits.validation, splits.public])
    assert len(np.unique(everywhere)) == len(everywhere)
    # Nobody else sees what a participant brought along.
    assert max(splits.validation.max(), splits.public.max()) < 200


@pytest.mark.parametrize(("teacher", "student"), [(0, 2), (1, 0), (2, 0)])
def test_any_model_teaches_any_other(teacher, student, context, plans, pretrained):
    tuned = plans["tune", teacher, student]
    params = {"temperature": 2.0, "alpha": 0.5, "replicate": 0}
    outcome = run_tune(context, tuned, params, pretrained)
    assert outcome.validation_before is not None
    assert outcome.test_before.accuracy == pretrained[student].test.accuracy
    assert run_tune(context, tuned, params, pretrained).test == outcome.test
    params = {"temperature": 2.0, "alpha": 0.0, "replicate": 0}
    alone = {"student": student, "transfer_set": "student", "replicate": 0}
    control = run_control(context, plans["control", None, None], alone, pretrained)
    assert run_tune(context, tuned, params, pretrained).test == control.test


@pytest.mark.parametrize("method", ["dml", "dp_kd"])
def test_models_of_two_kinds_learn_from_each_other(method, context, plans, pretrained):
    params = {"method": method, "transfer_set": "public_labeled", "replicate": 0}
    outcome = run_compare(context, plans["compare", 0, 2], params, pretrained)
    assert np.isfinite(outcome.test_gain)


def test_a_checkpoint_of_a_model_that_nobody_has_is_refused(context, pretrained):
    odd = context._artifacts.put(
        safetensors.torch.save(make_model("resnet18", (1, 8, 8), 10).state_dict())
    )
    with pytest.raises(ArtifactError):
        context.load_checkpoint(odd)
    assert context.campaign.get_architecture(2) == Architecture("cnn")


def test_a_campaign_is_planned_again_with_the_same_weights_only(root, spec, tmp_path):
    campaign, dataset = spec.campaign, load_dataset(spec.campaign)
    splits, weights = draw_splits(campaign, dataset), read_given_weights(campaign, dataset)
    with closing(open_store(str(tmp_path / "kdopt.db"), create=True)) as store:
        artifacts = Artifacts(tmp_path / "artifacts")
        first = plan_campaign(spec, dataset, splits, store, artifacts, weights)
        again = plan_campaign(spec, dataset, splits, store, artifacts, weights)
        assert first.new_trials and not again.new_trials
        state = torch.load(root[0] / "berlin.pt", weights_only=True)["state_dict"]
        other = {**weights, "berlin": pack_weights(state, campaign.get_architecture(0))}
        with pytest.raises(StoreError, match="participant berlin \\(its weights are not the same"):
            plan_campaign(spec, dataset, splits, store, artifacts, other)


def test_folders_of_other_classes_are_named(root, spec, tmp_path):
    write_images(tmp_path / "paris", np.zeros((1, 8, 8), np.uint8), [3])
    (tmp_path / "paris" / "three").rename(tmp_path / "paris" / "cat")
    text = SPEC.replace("{root}/paris", str(tmp_path / "paris")).format(root=root[0])
    with pytest.raises(DataError, match="the data set has no class 'cat'"):
        load_dataset(parse_spec(text).campaign)
    text = SPEC.replace("{root}/paris", str(tmp_path / "none")).format(root=root[0])
    with pytest.raises(DataError, match="participant 'paris': there is no folder"):
        load_dataset(parse_spec(text).campaign)
