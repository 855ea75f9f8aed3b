"""Data-partitioning distillation: every image goes to the better of two frozen models."""

from __future__ import annotations

import torch
from torch import Tensor

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
    return _make_loss(inputs, inputs.labels)


def _make_unsupervised_loss(inputs: MethodInputs, settings: MethodSettings) -> LossFn:
    return _make_loss(inputs, None)


def _make_loss(inputs: MethodInputs, labels: Tensor | None) -> LossFn:
    """``1/n * sum(m_t * KL(t || s) + m_s * KL(s_0 || s))`` at temperature 1 (paper, Eq. 5).

    The masks are complementary and both models are frozen, so each image has one target for the
    whole training, chosen here once.
    """
    mask = make_teacher_mask(inputs.teacher, inputs.initial_student, labels)
    target = torch.where(mask[:, None], inputs.teacher, inputs.initial_student)

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        return kl_divergence(target[index], logits, 1.0)

    return loss


DP_KD = Method(_make_unsupervised_loss)
DP_KD_SUPERVISED = Method(_make_supervised_loss)
