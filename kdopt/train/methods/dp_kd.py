"""Data-partitioning distillation: every image goes to the better of two frozen models."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, MethodSettings
from kdopt.train.steps import LossFn


def make_teacher_mask(teacher: Tensor, initial_student: Tensor, labels: Tensor | None) -> Tensor:
    """Which images the teacher explains (paper, Eq. 4); the others keep the initial student.

    Supervised: the higher probability of the true class wins. Unsupervised: the higher maximal
    probability. Ties stay with the student.

    Args:
        teacher: (n, classes), logits.
        initial_student: (n, classes), logits.
        labels: (n,), class numbers, or ``None`` for the unsupervised variant.

    Returns:
        (n,), bool.
    """
    p_teacher, p_student = teacher.float().softmax(1), initial_student.float().softmax(1)
    if labels is None:
        return p_teacher.amax(1) > p_student.amax(1)
    row = torch.arange(len(labels), device=labels.device)
    return p_teacher[row, labels] > p_student[row, labels]


def _make_supervised_loss(inputs: MethodInputs, settings: MethodSettings) -> LossFn:
    return _make_loss(inputs, settings, inputs.labels)


def _make_unsupervised_loss(inputs: MethodInputs, settings: MethodSettings) -> LossFn:
    return _make_loss(inputs, settings, None)


def _make_loss(inputs: MethodInputs, settings: MethodSettings, labels: Tensor | None) -> LossFn:
    """``T^2/n * sum(m_t * KL(t || s) + m_s * KL(s_0 || s))``, T = 1 unless set (paper, Eq. 5).

    The masks are complementary and both models are frozen, so each image has one target for the
    whole training, chosen here once. ``dp_kd_label_weight = w`` makes it ``(1 - w)`` of that plus
    ``w`` of the cross-entropy, where the transfer set has labels.

    Args:
        inputs: The logits, and the labels of the cross-entropy.
        settings: Temperature, its square as a scale, and the weight of the cross-entropy.
        labels: What the mask goes by; ``None`` for the unsupervised variant.
    """
    mask = make_teacher_mask(inputs.teacher, inputs.initial_student, labels)
    target = torch.where(mask[:, None], inputs.teacher, inputs.initial_student)

    temperature = settings.dp_kd_temperature
    scale = temperature**2 if settings.t2_scale else 1.0
    weight = 0.0 if inputs.labels is None else settings.dp_kd_label_weight

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        soft = scale * kl_divergence(target[index], logits, temperature)
        if not weight or inputs.labels is None:
            return soft
        hard = functional.cross_entropy(logits.float(), inputs.labels[index])
        return (1 - weight) * soft + weight * hard

    return loss


DP_KD = Method(_make_unsupervised_loss)
DP_KD_SUPERVISED = Method(_make_supervised_loss)
