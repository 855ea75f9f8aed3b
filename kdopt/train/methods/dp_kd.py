"""Data-partitioning distillation: every image goes to the better of two frozen models.

The method of the paper that kdopt follows: Eq. 4 is the mask, Eq. 5 the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, join_labels
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


def _make_supervised_loss(
    inputs: MethodInputs, *, temperature: float = 1.0, label_weight: float = 0.0
) -> LossFn:
    return _make_loss(inputs, inputs.labels, temperature, label_weight)


def _make_unsupervised_loss(
    inputs: MethodInputs, *, temperature: float = 1.0, label_weight: float = 0.0
) -> LossFn:
    return _make_loss(inputs, None, temperature, label_weight)


def _make_loss(
    inputs: MethodInputs, labels: Tensor | None, temperature: float, label_weight: float
) -> LossFn:
    """``T^2/n * sum(m_t * KL(t || s) + m_s * KL(s_0 || s))``, T = 1 unless set (paper, Eq. 5).

    The masks are complementary and both models are frozen, so each image has one target for the
    whole training, chosen here once. ``label_weight = w`` makes it ``(1 - w)`` of that plus ``w``
    of the cross-entropy, where the transfer set has labels.

    Args:
        inputs: The logits, and the labels of the cross-entropy.
        labels: What the mask goes by; ``None`` for the unsupervised variant.
        temperature: > 0.
        label_weight: In [0, 1].
    """
    mask = make_teacher_mask(inputs.teacher, inputs.initial_student, labels)
    target = torch.where(mask[:, None], inputs.teacher, inputs.initial_student)
    scale = inputs.scale_for(temperature)

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        return scale * kl_divergence(target[index], logits, temperature)

    return join_labels(inputs, label_weight, soft, 1 - label_weight) if label_weight else soft


DP_KD = Method(_make_unsupervised_loss)
DP_KD_SUPERVISED = Method(_make_supervised_loss)
