"""The losses of the published methods against their formulas, written again in float64 NumPy."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
import torch

from kdopt.campaign.method_spaces import SPACES, TUNED_METHODS
from kdopt.train.losses import drop_true_class
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.logit_std import standardise_logits
from kdopt.train.methods.registry import find_method
from tests.train.test_losses import distillation_loss

INDEX = torch.tensor([4, 0, 7, 2])
N, CLASSES = 12, 5


@pytest.fixture
def material():
    generator = torch.Generator().manual_seed(0)
    teacher, student = 3 * torch.randn(2, N, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES, (N,), generator=generator)
    return MethodInputs(labels, teacher, student, public=False)


@pytest.fixture
def logits():
    return torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(1))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def kl(p, q):
    return (p * np.log(p / q)).sum()


def dkd(teacher, student, labels, alpha, beta, temperature, label_weight=1.0):
    total = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        others = np.arange(CLASSES) != y
        target = kl(np.array([p[y], p[others].sum()]), np.array([q[y], q[others].sum()]))
        rest = kl(p[others] / p[others].sum(), q[others] / q[others].sum())
        total += -label_weight * np.log(softmax(s)[y])
        total += temperature**2 * (alpha * target + beta * rest)
    return total / len(labels)


def dist(teacher, student, labels, beta, gamma, temperature, label_weight=1.0):
    p, q = (np.array([softmax(row / temperature) for row in z]) for z in (teacher, student))
    hard = -np.mean([np.log(softmax(s)[y]) for s, y in zip(student, labels, strict=True)])
    inter = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    intra = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return label_weight * hard + temperature**2 * (beta * inter + gamma * intra)


def nkd(teacher, student, labels, gamma, temperature, label_weight=1.0):
    total = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        others = np.arange(CLASSES) != y
        p, q = softmax(t[others] / temperature), softmax(s[others] / temperature)
        true = np.log(softmax(s)[y])
        total += -label_weight * true - softmax(t)[y] * true
        total -= gamma * temperature**2 * (p * np.log(q)).sum()
    return total / len(labels)


def logit_std(teacher, student, labels, temperature, alpha):
    total = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        p, q = (softmax((z - z.mean()) / z.std(ddof=1) / temperature) for z in (t, s))
        total += -(1 - alpha) * np.log(softmax(s)[y]) + alpha * temperature**2 * kl(p, q)
    return total / len(labels)


def wttm(teacher, student, labels, exponent, weight, label_weight=1.0):
    total = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        powers = softmax(t) ** exponent
        q = softmax(s)
        total += -label_weight * np.log(q[y])
        total += weight * powers.sum() * kl(powers / powers.sum(), q)
    return total / len(labels)


CASES = [
    (dkd, {"alpha": 1.0, "beta": 8.0, "temperature": 4.0}),
    (dkd, {"alpha": 0.0, "beta": 0.5, "temperature": 1.0, "label_weight": 0.0}),
    (dist, {"beta": 2.0, "gamma": 2.0, "temperature": 1.0}),
    (dist, {"beta": 0.0, "gamma": 1.0, "temperature": 4.0, "label_weight": 0.5}),
    (nkd, {"gamma": 1.5, "temperature": 1.0}),
    (nkd, {"gamma": 3.0, "temperature": 2.0, "label_weight": 0.0}),
    (logit_std, {"temperature": 2.0, "alpha": 0.9}),
    (logit_std, {"temperature": 40.0, "alpha": 1.5}),
    (wttm, {"exponent": 0.2, "weight": 4.0}),
    (wttm, {"exponent": 1.0, "weight": 1.0, "label_weight": 2.0}),
]


@pytest.mark.parametrize(("formula", "values"), CASES)
def test_a_loss_is_its_papers_formula(formula, values, material, logits):
    found = find_method(formula.__name__, "student").loss(material, **values)(INDEX, logits)
    teacher, student = (z.double().numpy() for z in (material.teacher[INDEX], logits))
    expected = formula(teacher, student, material.labels[INDEX].numpy(), **values)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("formula", "values"), CASES)
def test_its_gradient_is_that_of_the_formula(formula, values, material, logits):
    point = logits.clone().requires_grad_()
    value = find_method(formula.__name__, "student").loss(material, **values)(INDEX, point)
    (gradient,) = torch.autograd.grad(value, point)
    teacher, student = (z.double().numpy() for z in (material.teacher[INDEX], logits))
    labels, step = material.labels[INDEX].numpy(), 1e-5
    expected = np.zeros_like(student)
    for place in np.ndindex(*student.shape):
        moved = [student.copy(), student.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (formula(teacher, z, labels, **values) for z in moved)
        expected[place] = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient.double().numpy(), expected, atol=1e-4, rtol=1e-3)


def test_every_parameter_of_a_loss_stands_in_the_methods_search_space():
    # What a campaign knows of a method, without torch, and what its loss takes are two files.
    for name in TUNED_METHODS:
        taken = inspect.signature(find_method(name, "student").loss).parameters.values()
        own = [p for p in taken if p.kind is p.KEYWORD_ONLY]
        needed = {p.name for p in own if p.default is p.empty}
        if name == "kd":
            searched = {"temperature", "alpha"}
        else:
            space = SPACES[name]
            searched = {f.name for f in dataclasses.fields(space)} - {"transfer_set"}
            assert searched == set(space.published), name
        assert needed <= searched <= {p.name for p in own}, name


def test_a_method_says_the_same_to_a_student_that_is_its_teacher(material):
    # Of the teacher's term nothing is left but what the labels say.
    same = material.teacher[INDEX]
    hard = torch.nn.functional.cross_entropy(same, material.labels[INDEX])
    for name, values in (
        ("dkd", {"alpha": 1.0, "beta": 8.0, "temperature": 4.0}),
        ("dist", {"beta": 2.0, "gamma": 2.0, "temperature": 4.0}),
        ("wttm", {"exponent": 1.0, "weight": 4.0}),
    ):
        found = find_method(name, "student").loss(material, **values)(INDEX, same)
        torch.testing.assert_close(found, hard, atol=1e-5, rtol=0)


def test_standardised_logits_forget_a_models_scale_and_offset(material, logits):
    loss = find_method("logit_std", "student").loss(material, temperature=2.0, alpha=1.0)
    torch.testing.assert_close(loss(INDEX, 7 * logits - 3), loss(INDEX, logits))
    torch.testing.assert_close(standardise_logits(logits).std(1), torch.ones(4))
    # All logits equal: no direction, but no NaN.
    flat = torch.zeros(4, CLASSES, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(INDEX, flat), flat)
    assert gradient.isfinite().all()


def test_the_true_class_is_dropped_and_the_others_keep_their_order():
    logits, labels = torch.arange(15.0).reshape(3, 5), torch.tensor([0, 4, 2])
    expected = [[1, 2, 3, 4], [5, 6, 7, 8], [10, 11, 13, 14]]
    assert drop_true_class(logits, labels).tolist() == expected


def test_temperatures_up_to_40_and_alphas_outside_0_and_1_stay_finite(material, logits):
    for temperature, alpha in ((40.0, 0.9), (2.0, -0.5), (2.0, 1.5)):
        loss = find_method("kd", "student").loss(material, temperature=temperature, alpha=alpha)
        found = loss(INDEX, logits)
        expected = distillation_loss(
            logits, material.teacher[INDEX], material.labels[INDEX], temperature, alpha
        )
        assert found.isfinite()
        assert torch.equal(found, expected)
