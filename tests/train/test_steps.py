"""Recorded steps are the steps themselves, whatever is recorded when.

A recorder that keeps the operations and runs them at every replay stands for CUDA graphs, so that
this holds on any machine; ``test_cuda`` has the real ones.
"""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.fit import fit
from kdopt.train.losses import DistillationLoss
from kdopt.train.models import make_model
from kdopt.train.steps import RecordedStep, StepKeeper, Student, TrainingStep, make_recorder

ENGINE = make_engine("fp32", "cpu")
SETTINGS = TrainSettings(epochs=3, patience=0, batch_size=16)
N, CLASSES = 72, 4  # four batches of 16 and one of 8 in an epoch


class Tape:
    """Keeps operations as they are; says in which order it was asked for what."""

    def __init__(self, refused=None):
        self.refused, self.calls = refused, []

    def run_at_once(self, parts):
        self.calls.append(f"{len(parts)} at once")
        for part in parts:
            part()

    def rehearse(self, operations):
        self.calls.append("rehearse")
        operations()

    def record(self, operations):
        self.calls.append("record")
        if self.refused:
            raise RuntimeError(self.refused)

        def replay():
            self.calls.append("replay")
            operations()

        return replay


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(N) % CLASSES, (0.5,), (0.3,))


def new_model(seed=0):
    with seeded(seed, ENGINE.device):
        return ENGINE.move(make_model("cnn", (1, 8, 8), CLASSES))


def make_loss(images, on_device=None):
    teacher = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(1))
    return DistillationLoss(teacher, images.labels, on_device=on_device)


def train(model, images, loss, keeper=None, seed=5):
    with seeded(seed, ENGINE.device) as generator:
        fit(model, images, loss, SETTINGS, ENGINE, generator, lambda m: 0.0, keeper)
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def still(model):
    """Monitors nothing."""
    return 0.0


def keep(tapes, refused=None):
    def make(device):
        tapes.append(Tape(refused))
        return tapes[-1]

    return StepKeeper(make)


def test_the_first_batch_of_a_size_runs_and_the_second_is_recorded(images):
    tapes = []
    recorded = train(new_model(), images, make_loss(images).set_cell(4.0, 0.5), keep(tapes))
    plain = train(new_model(), images, make_loss(images).set_cell(4.0, 0.5))
    assert same(recorded, plain)
    first = ["rehearse", "record", *["replay"] * 3, "rehearse"]
    second = [*["replay"] * 4, "record", "replay"]
    assert tapes[0].calls == [*first, *second, *["replay"] * 5]


def test_trainings_of_one_model_images_and_loss_share_what_was_recorded(images):
    """Other weights, another temperature and alpha: nothing of the training before is left."""
    tapes, loss, model = [], make_loss(images), new_model()
    keeper, start = keep(tapes), {k: v.clone() for k, v in model.state_dict().items()}
    for temperature, alpha in ((1.0, 0.1), (4.0, 0.9), (2.0, 1.0)):
        model.load_state_dict(start)
        found = train(model, images, loss.set_cell(temperature, alpha), keeper)
        plain = train(new_model(), images, make_loss(images).set_cell(temperature, alpha))
        assert same(found, plain)
    assert len(tapes) == 1
    assert tapes[0].calls.count("record") == 2


@pytest.mark.parametrize("other", ["model", "images", "loss", "settings"])
def test_another_training_is_recorded_anew(images, other):
    tapes = []
    keeper, model, loss = keep(tapes), new_model(), make_loss(images).set_cell(4.0, 0.5)
    keeper.prepare([Student(model, loss, still)], images, SETTINGS, ENGINE)
    changed = {
        "model": (new_model(), images, loss, SETTINGS),
        "images": (model, images.take(torch.arange(N)), loss, SETTINGS),
        "loss": (model, images, make_loss(images).set_cell(4.0, 0.5), SETTINGS),
        "settings": (model, images, loss, TrainSettings(epochs=3, patience=0, batch_size=8)),
    }
    model, images, loss, settings = changed[other]
    keeper.prepare([Student(model, loss, still)], images, settings, ENGINE)
    assert len(tapes) == 2


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_kept_step_starts_with_a_fresh_optimizer(images, optimizer):
    settings = TrainSettings(epochs=2, patience=0, batch_size=16, optimizer=optimizer)
    model, tapes = new_model(), []
    keeper, loss = keep(tapes), make_loss(images).set_cell(4.0, 0.5)
    for _ in range(2):
        model.load_state_dict(new_model().state_dict())
        with seeded(5, ENGINE.device) as generator:
            fit(model, images, loss, settings, ENGINE, generator, lambda m: 0.0, keeper)
        weights = [p.detach().clone() for p in model.parameters()]
    fresh = new_model()
    with seeded(5, ENGINE.device) as generator:
        fit(fresh, images, loss, settings, ENGINE, generator, lambda m: 0.0)
    assert all(torch.equal(a, b) for a, b in zip(weights, fresh.parameters(), strict=True))


def test_what_cannot_be_recorded_runs_as_usual_and_is_said_once(images, caplog):
    tapes = []
    with caplog.at_level(logging.INFO):
        found = train(
            new_model(),
            images,
            make_loss(images).set_cell(4.0, 0.5),
            keep(tapes, "operation not permitted when stream is capturing\nand more"),
        )
    assert same(found, train(new_model(), images, make_loss(images).set_cell(4.0, 0.5)))
    assert tapes[0].calls == ["rehearse", "record"]
    (line,) = [r.getMessage() for r in caplog.records]
    assert line == (
        "steps of Sequential are not recorded as a CUDA graph, so each takes longer: "
        "operation not permitted when stream is capturing"
    )


def test_on_a_cpu_nothing_is_recorded_or_kept(images):
    assert make_recorder(torch.device("cpu")) is None
    keeper, model = StepKeeper(make_recorder), new_model()
    loss = make_loss(images).set_cell(4.0, 0.5)
    first = keeper.prepare([Student(model, loss, still)], images, SETTINGS, ENGINE)
    assert keeper.prepare([Student(model, loss, still)], images, SETTINGS, ENGINE) is not first


def test_the_loss_of_an_epoch_is_added_up_over_replays(images):
    loss = make_loss(images).set_cell(4.0, 0.5)
    inside, plain = (
        TrainingStep(new_model().train(), images, loss, SETTINGS, ENGINE) for _ in range(2)
    )
    for run in (RecordedStep([inside], Tape()).run, lambda index: plain.run(index[0])):
        for start in (0, 16, 32):
            run(torch.arange(start, start + 16)[None])
    assert float(inside.total) > 0
    assert torch.equal(inside.total, plain.total)


def test_temperature_and_alpha_in_memory_give_the_loss_of_plain_numbers(images):
    """Within rounding: 1 - alpha and alpha T^2 are computed in double precision either way."""
    logits = torch.randn(16, CLASSES, generator=torch.Generator().manual_seed(2))
    index = torch.arange(16)
    inside, outside = make_loss(images, on_device=True), make_loss(images)
    for temperature, alpha in ((1.0, 0.0), (2.5, 0.3), (16.0, 1.0)):
        inside.set_cell(temperature, alpha)
        outside.set_cell(temperature, alpha)
        torch.testing.assert_close(inside(index, logits), outside(index, logits))
    assert outside(index, logits).item() != pytest.approx(
        functional.cross_entropy(logits, images.labels[index]).item()
    )


def test_a_step_runs_any_module(images):
    step = TrainingStep(
        nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)),
        images,
        lambda index, logits: functional.cross_entropy(logits, images.labels[index]),
        SETTINGS,
        ENGINE,
    )
    before = step.model[1].weight.detach().clone()
    step.run(torch.arange(16))
    assert not torch.equal(step.model[1].weight, before)
