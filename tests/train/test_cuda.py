"""What holds on a GPU. Needs one: ``scripts/bench.py gpu`` runs these first."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits, score_logits
from kdopt.train.fit import fit, fit_together
from kdopt.train.losses import DistillationLoss
from kdopt.train.models import ModelPair, make_model
from kdopt.train.steps import RecordedStep, StepKeeper, Student, TrainingStep, make_recorder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

N, CLASSES, SHAPE = 200, 10, (3, 32, 32)
MODELS = ("cnn", "resnet18")


def make_images(device="cuda"):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % CLASSES
    patterns = torch.randint(0, 256, (CLASSES, *SHAPE), generator=generator)
    noise = torch.randint(0, 256, (N, *SHAPE), generator=generator)
    pixels = ((patterns[labels] + noise) // 2).byte()
    return Images(pixels.to(device), labels.to(device), (0.5,) * 3, (0.2,) * 3)


def make_loss(images):
    teacher = 3 * torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(1))
    return DistillationLoss(teacher.to(images.labels.device), images.labels).set_cell(4.0, 0.5)


def new_model(name, engine):
    with seeded(0, engine.device):
        return engine.move(make_model(name, SHAPE, CLASSES))


def train(name, engine, keeper=None, epochs=3, optimizer="adam", images=None):
    """The weights after three epochs of six batches of 32 and one of 8."""
    images = images or make_images()
    settings = TrainSettings(epochs=epochs, patience=0, optimizer=optimizer)
    model = name if isinstance(name, nn.Module) else new_model(name, engine)
    loss = make_loss(images)
    with seeded(5, engine.device) as generator:
        fit(model, images, loss, settings, engine, generator, lambda m: 0.0, keeper)
    return model


def digest(model):
    state = sorted(model.state_dict().items())
    content = b"".join(v.detach().cpu().contiguous().numpy().tobytes() for _, v in state)
    return hashlib.sha256(content).hexdigest()


def plain():
    return StepKeeper(lambda device: None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_training_has_the_bits_of_a_plain_one(name, precision):
    engine = make_engine(precision, "cuda")
    assert digest(train(name, engine)) == digest(train(name, engine, plain()))


def test_so_has_one_with_sgd_and_one_with_dropout():
    engine = make_engine("fp32", "cuda")
    assert digest(train("cnn", engine, optimizer="sgd")) == digest(
        train("cnn", engine, plain(), optimizer="sgd")
    )

    def dropping():
        with seeded(0, engine.device):
            layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3072, CLASSES))
            return engine.move(layers)

    assert digest(train(dropping(), engine)) == digest(train(dropping(), engine, plain()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_another_process_gives_the_same_bits(name, precision):
    code = f"""
from kdopt.train.engine import make_engine
from tests.train.test_cuda import digest, train
print(digest(train({name!r}, make_engine({precision!r}, "cuda"))))
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == digest(train(name, make_engine(precision, "cuda")))


def test_trainings_that_share_a_recorded_step_leave_nothing_to_each_other():
    engine = make_engine("bf16", "cuda")
    images, keeper = make_images(), StepKeeper(make_recorder)
    loss, model = make_loss(images), new_model("cnn", engine)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    for temperature, alpha in ((1.0, 0.1), (4.0, 0.9), (1.0, 0.1)):
        found = []
        for each in (keeper, plain()):
            model.load_state_dict(start)
            with seeded(5, engine.device) as generator:
                settings = TrainSettings(epochs=3, patience=0)
                cell = loss.set_cell(temperature, alpha)
                fit(model, images, cell, settings, engine, generator, lambda m: 0.0, each)
            found.append(digest(model))
        assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_students_that_train_at_once_have_the_bits_of_those_that_train_alone(name, precision):
    engine, images, count = make_engine(precision, "cuda"), make_images(), 8
    settings = TrainSettings(epochs=3, patience=0)

    def run(numbers):
        cells = [make_loss(images).set_cell(1.0 + n, 0.1 * n) for n in numbers]
        models = [new_model(name, engine) for _ in numbers]
        students = [Student(m, c, lambda _: 0.0) for m, c in zip(models, cells, strict=True)]
        generators = [torch.Generator().manual_seed(n) for n in numbers]
        fit_together(students, images, settings, engine, generators)
        return [digest(model) for model in models]

    together = run(range(count))
    assert together == [run([number])[0] for number in range(count)]
    assert len(set(together)) == count


def test_no_step_makes_the_host_wait():
    engine, images = make_engine("bf16", "cuda"), make_images()
    index, loss = torch.arange(32, device="cuda"), make_loss(images)
    plain, inside = (
        TrainingStep(new_model("cnn", engine).train(), images, loss, TrainSettings(), engine)
        for _ in range(2)
    )
    recorded = RecordedStep([inside], make_recorder(engine.device))
    for run in (lambda index: plain.run(index[0]), recorded.run):
        run(index[None])
        run(index[None])
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                run(index[None])
        finally:
            torch.cuda.set_sync_debug_mode("default")


class Asking(nn.Module):
    """A model that reads a value back, which no graph can do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3072, CLASSES)

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return logits * (1.0 if float(logits.detach().sum()) > 0 else 2.0)


def test_a_model_that_cannot_be_recorded_runs_as_usual_and_the_next_is_recorded(caplog):
    engine = make_engine("fp32", "cuda")

    def make():
        with seeded(0, engine.device):
            return engine.move(Asking())

    expected = digest(train(make(), engine, plain()))
    with caplog.at_level(logging.INFO):
        assert digest(train(make(), engine)) == expected
    assert "steps of Asking are not recorded as a CUDA graph" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert digest(train("cnn", engine)) == digest(train("cnn", engine, plain()))
    assert caplog.text == ""


def test_mutual_learning_is_recorded_too(caplog):
    engine, images = make_engine("bf16", "cuda"), make_images()
    found = []
    for keeper in (None, plain()):
        pair = ModelPair(new_model("cnn", engine), new_model("resnet18", engine))
        with seeded(5, engine.device) as generator, caplog.at_level(logging.INFO):
            fit(
                pair,
                images,
                lambda i, z: functional.cross_entropy(z.float().mean(0), images.labels[i]),
                TrainSettings(epochs=2, patience=0),
                engine,
                generator,
                lambda m: 0.0,
                keeper,
            )
        found.append(digest(pair))
    assert found[0] == found[1]
    assert caplog.text == ""


def test_memory_does_not_grow_with_the_number_of_recorded_models():
    engine, keeper = make_engine("bf16", "cuda"), StepKeeper(make_recorder)
    reserved = []
    for _ in range(8):
        train("cnn", engine, keeper)
        torch.cuda.synchronize()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] <= reserved[2]


@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_learns_what_a_cpu_learns(name):
    """Not the same bits, but the same function: logits at the start, accuracy after training."""
    found = {}
    for device in ("cuda", "cpu"):
        engine, images = make_engine("fp32", device), make_images(device)
        start = predict_logits(new_model(name, engine).eval(), images, engine).cpu()
        model = train(name, engine, epochs=12 if name == "cnn" else 4, images=images)
        logits = predict_logits(model, images, engine)
        found[device] = start, score_logits(logits, images.labels, CLASSES).accuracy
    # Convolutions on a GPU round their inputs to 10 bits (TF32), as torch does by default.
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], rtol=0.02, atol=0.02)
    assert found["cuda"][1] == pytest.approx(found["cpu"][1], abs=0.15)
    assert found["cuda"][1] > 0.3


def test_the_record_says_what_computed():
    for deterministic, word in ((True, "yes"), (False, "no")):
        versions = make_engine("fp32", "cuda", deterministic=deterministic).list_versions()
        assert versions["deterministic"] == word
        assert versions["gpu"] == torch.cuda.get_device_name()
    make_engine("fp32", "cuda")
