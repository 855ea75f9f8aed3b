"""Mutual learning and data-partitioning distillation, a few steps, written again in NumPy.

The model is one linear layer; everything below is float64 and shares no code with the package:
softmax, both losses' gradients by hand, and Adam.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.fit import fit
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.registry import find_method
from kdopt.train.models import ModelPair

ENGINE = make_engine("fp32", "cpu")
N, SIDE, CLASSES, BATCH, RATE, DECAY = 40, 3, 4, 8, 1e-2, 1e-2
BUDGET = TrainSettings(
    epochs=2, patience=0, learning_rate=RATE, weight_decay=DECAY, batch_size=BATCH
)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    return Images(pixels, labels, (0.4,), (0.25,))


def new_model(seed):
    with seeded(seed, ENGINE.device):
        return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))


class NumpyModel:
    """A linear softmax classifier with Adam (Kingma and Ba) and an L2 penalty."""

    def __init__(self, model):
        layer = model[1]
        self.parameters = [p.detach().double().numpy().copy() for p in (layer.weight, layer.bias)]
        self.first = [np.zeros_like(p) for p in self.parameters]
        self.second = [np.zeros_like(p) for p in self.parameters]
        self.steps = 0

    def probabilities(self, x):
        z = x @ self.parameters[0].T + self.parameters[1]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def step(self, x, error):
        """``error``: gradient of the batch's mean loss with respect to the logits, times n."""
        self.steps += 1
        gradients = [error.T @ x / len(x), error.mean(axis=0)]
        for i, gradient in enumerate(gradients):
            g = gradient + DECAY * self.parameters[i]
            self.first[i] = 0.9 * self.first[i] + 0.1 * g
            self.second[i] = 0.999 * self.second[i] + 0.001 * g**2
            m = self.first[i] / (1 - 0.9**self.steps)
            v = self.second[i] / (1 - 0.999**self.steps)
            self.parameters[i] = self.parameters[i] - RATE * m / (np.sqrt(v) + 1e-8)


def inputs(images):
    pixels = images.pixels.double().numpy().reshape(N, -1)
    return (pixels / 255 - 0.4) / 0.25, np.eye(CLASSES)[images.labels.numpy()]


def batches(seed):
    """The order that the one training loop draws."""
    with seeded(seed, ENGINE.device) as generator:
        for _ in range(BUDGET.epochs):
            order = torch.randperm(N, generator=generator).numpy()
            yield from (order[i : i + BATCH] for i in range(0, N, BATCH))


def assert_same(model, reference):
    for found, expected in zip((model[1].weight, model[1].bias), reference.parameters, strict=True):
        np.testing.assert_allclose(found.detach().double().numpy(), expected, atol=2e-5, rtol=1e-3)


def train(model, images, name, transfer_set, material):
    loss = find_method(name, transfer_set).loss(material)
    with seeded(7, ENGINE.device) as generator:
        fit(model, images, loss, BUDGET, ENGINE, generator, lambda _: 0.0)


@pytest.mark.parametrize("labeled", [True, False])
def test_mutual_learning(images, labeled):
    student, peer = new_model(1), new_model(2)
    references = [NumpyModel(student), NumpyModel(peer)]
    x, one_hot = inputs(images)
    for index in batches(7):
        p = [r.probabilities(x[index]) for r in references]
        for me, other in ((0, 1), (1, 0)):
            # d/dz of KL(q || p) with q held fixed is p - q, and of CE it is p - y.
            error = p[me] - p[other]
            if labeled:
                error = error + p[me] - one_hot[index]
            references[me].step(x[index], error)
    material = MethodInputs(
        images.labels if labeled else None, torch.empty(0), torch.empty(0), public=not labeled
    )
    transfer_set = "student" if labeled else "public_unlabeled_small"
    train(ModelPair(student, peer), images, "dml", transfer_set, material)
    assert_same(student, references[0])
    assert_same(peer, references[1])


@pytest.mark.parametrize("supervised", [True, False])
def test_data_partitioning_distillation(images, supervised):
    student, teacher = new_model(1), new_model(2)
    reference, frozen = NumpyModel(student), NumpyModel(teacher)
    x, one_hot = inputs(images)
    of_teacher, of_student = frozen.probabilities(x), reference.probabilities(x)
    if supervised:
        better = (of_teacher * one_hot).sum(axis=1) > (of_student * one_hot).sum(axis=1)
    else:
        better = of_teacher.max(axis=1) > of_student.max(axis=1)
    assert 0 < better.sum() < N
    target = np.where(better[:, None], of_teacher, of_student)
    for index in batches(7):
        reference.step(x[index], reference.probabilities(x[index]) - target[index])
    with torch.no_grad():
        logits = [m(images.batch(slice(None))) for m in (teacher, student)]
    material = MethodInputs(images.labels, *logits, public=supervised)
    train(student, images, "dp_kd", "public_labeled" if supervised else "student", material)
    assert_same(student, reference)
