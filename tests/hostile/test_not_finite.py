"""What becomes infinite or not a number fails its trial with the reason, however late it arises."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.data.datasets import read_dataset
from kdopt.store import queries
from kdopt.train.engine import Images, seeded
from kdopt.train.evaluation import Evaluation, predict_logits
from kdopt.train.fit import DivergedError, fit, fit_together
from kdopt.train.models import ModelPair, make_model
from kdopt.train.steps import Student
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign
from tests.hostile.world import ENGINE
from tests.trials.test_context import new_context
from tests.worker.test_worker import plan

SETTINGS = TrainSettings(epochs=2, patience=0, batch_size=32)
STEPS = 4
"""Of two epochs."""


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(64) % 10, (0.5,), (0.3,))


def poison(model, images, key, value):
    """A loss that spoils a tensor in the last step, after the logits were computed."""
    steps = []

    def loss(index, logits):
        steps.append(1)
        if len(steps) == STEPS:
            model.state_dict()[key].data.view(-1)[0] = value
        found = logits if logits.ndim == 2 else logits[0]
        return functional.cross_entropy(found, images.labels[index])

    return loss


def new_models():
    with seeded(0, ENGINE.device):
        return [make_model("cnn", (1, 8, 8), 10) for _ in range(2)]


def score_nothing(_model):
    return 0.0


LATE = {
    "a weight": ("0.weight", float("nan")),
    "a weight, infinite": ("13.bias", float("-inf")),
    "a mean of batch norm": ("1.running_mean", float("inf")),
    "a variance of batch norm": ("9.running_var", float("inf")),
}


@pytest.mark.parametrize("patience", [0, 5])
@pytest.mark.parametrize("case", LATE)
def test_a_training_ends_with_finite_numbers_or_as_diverged(images, case, patience):
    key, value = LATE[case]
    model, _ = new_models()
    settings = dataclasses.replace(SETTINGS, patience=patience)
    with pytest.raises(DivergedError) as found, seeded(0, ENGINE.device) as generator:
        loss = poison(model, images, key, value)
        fit(model, images, loss, settings, ENGINE, generator, score_nothing)
    assert f"{key} is not finite after epoch 2" in str(found.value)
    assert "a lower learning rate" in str(found.value)


def test_the_peer_of_a_student_counts_too(images):
    pair = ModelPair(*new_models())
    with pytest.raises(DivergedError, match=r"peer\."), seeded(0, ENGINE.device) as order:
        loss = poison(pair, images, "peer.13.weight", float("nan"))
        fit(pair, images, loss, SETTINGS, ENGINE, order, score_nothing)


def test_logits_of_some_images_only_are_no_answer(images):
    """Weights that are finite, and overflow on bright images such as only validation may have."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    with torch.no_grad():
        model[1].weight.fill_(3e37)
    dark = Images(images.pixels[:5] // 255 + 127, images.labels[:5], (0.5,), (0.3,))
    assert predict_logits(model, dark, ENGINE).isfinite().all()
    mixed = torch.cat([dark.pixels, torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)])
    with pytest.raises(DivergedError, match="logits are not finite on 2 of 7 images"):
        predict_logits(model, Images(mixed, torch.arange(7), (0.5,), (0.3,)), ENGINE)


def test_one_of_several_students_diverges_and_the_others_go_on(images):
    def stumble(_model):
        raise DivergedError("on validation")

    models = new_models()
    monitors = [stumble, score_nothing]
    students = [
        Student(m, lambda i, z: functional.cross_entropy(z, images.labels[i]), monitor)
        for m, monitor in zip(models, monitors, strict=True)
    ]
    orders = [torch.Generator().manual_seed(0) for _ in models]
    settings = dataclasses.replace(SETTINGS, patience=5)
    first, second = fit_together(students, images, settings, ENGINE, orders)
    assert isinstance(first, DivergedError) and str(first) == "on validation"
    assert not isinstance(second, DivergedError) and second.epochs == 2


def test_one_of_several_students_cannot_be_scored_and_the_others_are(tmp_path, monkeypatch):
    campaign = make_campaign(model="cnn")
    context = new_context(campaign, read_dataset(campaign.data, campaign.seed), tmp_path)
    models, share = new_models(), context.get_share("uniform", 0)
    score = context._score_images

    def stumble(model, images):
        if model is models[0] and images is context.test:
            raise DivergedError("on test")
        return score(model, images)

    monkeypatch.setattr(context, "_score_images", stumble)
    found = context.train_models(
        models,
        share,
        [lambda i, z: functional.cross_entropy(z, share.labels[i])] * 2,
        dataclasses.replace(SETTINGS, epochs=1),
        [torch.Generator().manual_seed(0) for _ in models],
        context.get_validation("uniform"),
    )
    assert isinstance(found[0], DivergedError) and isinstance(found[1], Evaluation)


SPEC = """
name = "tiny"
participants = 2
model = "mlp"
partitions = ["uniform"]
stages = ["federate"]
precision = "fp32"
[data]
name = "digits"
train_size = 600
test_size = 100
[pretrain]
epochs = 1
patience = 0
[federate]
initial_models = ["random"]
rounds = 1
local_epochs = 1
learning_rate = {rate}
batch_size = 150
"""


def test_a_model_that_overflows_in_its_last_step_is_no_result(tmp_path):
    """Every loss is finite: the weights grow to 1e15 in the last of two steps."""
    store, artifacts = plan(tmp_path, text=SPEC, rate=1e6)
    run_trials(store, artifacts, "tiny", ENGINE)
    (federated,) = [r for r in queries.read_trials(store, "tiny") if r.stage == "federate"]
    assert federated.state == "FAIL" and federated.error is not None
    assert "not finite" in federated.error and "Traceback" not in federated.error


def test_what_rests_on_a_model_that_an_older_version_let_diverge_fails_and_the_rest_goes_on(world):
    first = world.list_complete()[0]
    world.change_outcome(first, lambda r: r["validation"].update(loss=float("nan")))
    world.run()
    rows = [r for r in queries.read_trials(world.store, "tiny") if r.stage == "tune"]
    assert {r.state for r in rows} == {"FAIL"}, "all pairs have it"
    assert all("diverged: its loss on validation is nan" in str(r.error) for r in rows)
