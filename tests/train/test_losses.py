from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from kdopt.train.losses import DistillationLoss, kl_divergence

TEMPERATURES = [0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7]
ALPHAS = [0.0, 1e-9, 0.1, 0.25, 0.5, 0.75, 0.9, 1 - 1e-9, 1.0]


def distillation_loss(student, teacher, labels, temperature, alpha, t2_scale=True):
    loss = DistillationLoss(teacher, labels, t2_scale).set_cell(temperature, alpha)
    return loss(torch.arange(len(labels)), student)


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def reference(student, teacher, labels, temperature, alpha, t2_scale=True):
    """The loss written down again in float64 NumPy."""
    log_p, log_q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    ce = -log_softmax(student)[np.arange(len(labels)), labels].mean()
    return (1 - alpha) * ce + alpha * (temperature**2 if t2_scale else 1) * kl


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    student, teacher = 3 * rng.standard_normal((2, 16, 10))
    return student, teacher, rng.integers(0, 10, 16)


@pytest.mark.parametrize("t2_scale", [True, False])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_loss_is_the_reference_over_the_whole_space(batch, temperature, alpha, t2_scale):
    student, teacher, labels = batch
    found = distillation_loss(
        torch.tensor(student, dtype=torch.float32),
        torch.tensor(teacher, dtype=torch.float32),
        torch.tensor(labels),
        temperature,
        alpha,
        t2_scale,
    )
    assert found.dtype == torch.float32
    expected = reference(student, teacher, labels, temperature, alpha, t2_scale)
    assert float(found) == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_gradients_are_those_of_the_reference_by_finite_differences(batch, temperature, alpha):
    student, teacher, labels = (a[:3] for a in batch)
    logits = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    distillation_loss(
        logits, torch.tensor(teacher), torch.tensor(labels), temperature, alpha
    ).backward()
    step = 1e-6
    numeric = np.zeros_like(student)
    for place in np.ndindex(*student.shape):
        up, down = student.copy(), student.copy()
        up[place] += step
        down[place] -= step
        rise = [reference(s, teacher, labels, temperature, alpha) for s in (up, down)]
        numeric[place] = (rise[0] - rise[1]) / (2 * step)
    np.testing.assert_allclose(logits.grad.numpy(), numeric, atol=2e-4, rtol=2e-3)


def test_alpha_zero_is_plain_training_and_alpha_one_ignores_the_labels(batch):
    student, teacher, labels = (torch.tensor(a) for a in batch)
    plain = functional.cross_entropy(student.float(), labels)
    assert distillation_loss(student, teacher, labels, 4.0, 0.0) == pytest.approx(float(plain))
    other = (labels + 1) % 10
    ignoring = [distillation_loss(student, teacher, y, 4.0, 1.0) for y in (labels, other)]
    assert ignoring[0] == ignoring[1]


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_the_loss_has_no_step_at_the_ends_of_alpha(batch, temperature, end):
    student, teacher, labels = (torch.tensor(a) for a in batch)
    near = abs(end - 1e-6)
    values = [distillation_loss(student, teacher, labels, temperature, a) for a in (end, near)]
    assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-4)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn(batch):
    logits = torch.tensor(batch[0], requires_grad=True)
    for temperature in TEMPERATURES:
        divergence = kl_divergence(logits.detach(), logits, temperature)
        assert divergence.abs().item() < 1e-6
        (gradient,) = torch.autograd.grad(divergence, logits)
        assert float(gradient.abs().max()) < 1e-6


def test_t_squared_keeps_the_gradient_in_scale(batch):
    """At high temperature the scaled gradient tends to a limit; unscaled it falls as 1/T^2."""
    student, teacher, labels = (torch.tensor(a) for a in batch)

    def size(temperature, t2_scale):
        logits = student.clone().requires_grad_()
        distillation_loss(logits, teacher, labels, temperature, 1.0, t2_scale).backward()
        return float(logits.grad.norm())

    assert size(400.0, True) == pytest.approx(size(200.0, True), rel=0.05)
    assert size(400.0, False) == pytest.approx(size(200.0, False) / 4, rel=0.05)


def test_no_gradient_reaches_the_teacher_and_extreme_logits_stay_finite():
    teacher = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    value = distillation_loss(student, teacher, torch.tensor([2]), 0.1, 0.5)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()
    assert teacher.grad is None
