from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.dp_kd import DP_KD, DP_KD_SUPERVISED, make_teacher_mask
from kdopt.train.methods.registry import find_method
from tests.train.test_losses import distillation_loss

VALUES = {
    "vanilla": {"temperature": 2.0, "alpha": 0.3, "self_teacher_weight": 0.5},
    "dml": {},
    "dp_kd": {},
}
INDEX = torch.tensor([4, 0, 7, 2])


@pytest.fixture
def material():
    generator = torch.Generator().manual_seed(0)
    teacher, student = 3 * torch.randn(2, 12, 5, generator=generator)
    labels = torch.randint(0, 5, (12,), generator=generator)
    return MethodInputs(labels, teacher, student, public=False)


@pytest.fixture
def logits():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)


def loss_of(name, transfer_set, material, logits, **values):
    method = find_method(name, transfer_set)
    if method.trains_both:
        logits = torch.stack([logits, material.teacher[INDEX]])
    return method.loss(material, **{**VALUES[name], **values})(INDEX, logits)


def test_vanilla_on_the_students_data_is_eq_2(material, logits):
    expected = distillation_loss(
        logits, material.teacher[INDEX], material.labels[INDEX], 2.0, 0.3, True
    )
    torch.testing.assert_close(loss_of("vanilla", "student", material, logits), expected)


def test_vanilla_on_a_public_set_adds_the_untouched_student_as_a_teacher(material, logits):
    public = dataclasses.replace(material, public=True)
    terms = [
        4 * kl_divergence(t[INDEX], logits, 2.0)
        for t in (material.teacher, material.initial_student)
    ]
    hard = functional.cross_entropy(logits, material.labels[INDEX])
    found = loss_of("vanilla", "public_labeled", public, logits)
    torch.testing.assert_close(found, 0.7 * hard + 0.3 * (terms[0] + terms[1]) / 2)
    unlabeled = dataclasses.replace(public, labels=None)
    found = loss_of("vanilla", "public_unlabeled_small", unlabeled, logits)
    torch.testing.assert_close(found, (terms[0] + terms[1]) / 2)
    found = loss_of("vanilla", "public_unlabeled_small", unlabeled, logits, self_teacher_weight=0.0)
    torch.testing.assert_close(found, terms[0])


@pytest.mark.parametrize("name", METHODS)
def test_without_labels_no_method_touches_them(name, material, logits):
    for transfer_set in ("public_unlabeled_small", "public_unlabeled_large"):
        unlabeled = dataclasses.replace(material, labels=None, public=True)
        value = loss_of(name, transfer_set, unlabeled, logits)
        assert torch.isfinite(value)
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize(("name", "transfer_set"), list(itertools.product(METHODS, TRANSFER_SETS)))
def test_every_method_has_a_loss_on_every_set(name, transfer_set, material, logits):
    assert loss_of(name, transfer_set, material, logits).ndim == 0


def test_dml_gives_each_model_its_own_losss_gradient(material):
    generator = torch.Generator().manual_seed(2)
    both = torch.randn(2, 4, 5, generator=generator, requires_grad=True)
    loss = find_method("dml", "student").loss(material)
    (gradient,) = torch.autograd.grad(loss(INDEX, both), both)
    for me, peer in ((0, 1), (1, 0)):
        mine = both[me].detach().requires_grad_()
        own = functional.cross_entropy(mine, material.labels[INDEX])
        own = own + kl_divergence(both[peer].detach(), mine, 1.0)
        (expected,) = torch.autograd.grad(own, mine)
        torch.testing.assert_close(gradient[me], expected)


def test_dml_weight_balances_the_labels_against_the_peer(material):
    both = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))

    def value(weight):
        return find_method("dml", "student").loss(material, weight=weight)(INDEX, both)

    torch.testing.assert_close(value(0.0) + value(1.0), value(None))
    torch.testing.assert_close(value(0.25), 0.75 * value(0.0) + 0.25 * value(1.0))


def test_dml_has_a_temperature_of_its_own(material):
    both = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    loss = find_method("dml", "student").loss(material, temperature=3.0, weight=1.0)
    found = loss(INDEX, both)
    soft = kl_divergence(both[1], both[0], 3.0) + kl_divergence(both[0], both[1], 3.0)
    torch.testing.assert_close(found, 9 * soft)


def test_dp_kd_has_a_temperature_and_an_optional_term_of_the_labels(material, logits):
    plain = loss_of("dp_kd", "student", material, logits)
    mask = make_teacher_mask(material.teacher, material.initial_student, None)
    target = torch.where(mask[:, None], material.teacher, material.initial_student)[INDEX]
    found = loss_of("dp_kd", "student", material, logits, temperature=3.0)
    torch.testing.assert_close(found, 9 * kl_divergence(target, logits, 3.0))
    hard = functional.cross_entropy(logits, material.labels[INDEX])
    found = loss_of("dp_kd", "student", material, logits, label_weight=0.25)
    torch.testing.assert_close(found, 0.75 * plain + 0.25 * hard)
    unlabeled = dataclasses.replace(material, labels=None)
    found = loss_of("dp_kd", "public_unlabeled_small", unlabeled, logits, label_weight=0.25)
    torch.testing.assert_close(found, plain)


def test_dp_kd_masks_are_complementary_and_ties_stay_with_the_student(material):
    for labels in (None, material.labels):
        forward = make_teacher_mask(material.teacher, material.initial_student, labels)
        backward = make_teacher_mask(material.initial_student, material.teacher, labels)
        assert forward.any()
        assert not forward.all()
        assert (forward ^ backward).all()  # no ties in these logits
        same = make_teacher_mask(material.teacher, material.teacher, labels)
        assert not same.any()


def test_dp_kd_with_a_teacher_equal_to_the_student_is_zero_at_the_start(material):
    equal = dataclasses.replace(material, teacher=material.initial_student)
    for method in (DP_KD, DP_KD_SUPERVISED):
        logits = equal.initial_student[INDEX].clone().requires_grad_()
        value = method.loss(equal)(INDEX, logits)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.abs().item() < 1e-6
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("supervised", [True, False])
def test_dp_kd_is_eq_4_and_5_in_float64_numpy(supervised, material, logits):
    teacher, student, mine = (
        a.detach().double().numpy()
        for a in (material.teacher[INDEX], material.initial_student[INDEX], logits)
    )
    labels = material.labels[INDEX].numpy()

    def softmax(z):
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    total = 0.0
    for t, s, q, y in zip(*map(softmax, (teacher, student, mine)), labels, strict=True):
        to_teacher = t[y] > s[y] if supervised else t.max() > s.max()
        kl_teacher, kl_student = ((p * np.log(p / q)).sum() for p in (t, s))
        total += to_teacher * kl_teacher + (1 - to_teacher) * kl_student
    transfer_set = "public_labeled" if supervised else "student"
    found = loss_of("dp_kd", transfer_set, material, logits).item()
    assert found == pytest.approx(total / 4, rel=1e-5)
