"""Vanilla distillation with a temperature and alpha (paper, Eq. 2)."""

from __future__ import annotations

from torch import Tensor

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs,
    *,
    temperature: float,
    alpha: float = 1.0,
    self_teacher_weight: float = 0.0,
) -> LossFn:
    """``(1 - alpha) * CE + alpha * T^2 * KL``.

    On a public set the untouched student joins as a second teacher (self-teacher rule of section
    III): the KL becomes ``(1 - w) * KL(teacher) + w * KL(initial student)``. Without labels alpha
    is 1.
    """
    weight = self_teacher_weight if inputs.public else 0.0

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        value = kl_divergence(inputs.teacher[index], logits, temperature)
        if weight:
            own = kl_divergence(inputs.initial_student[index], logits, temperature)
            value = (1 - weight) * value + weight * own
        return value

    return join_labels(inputs, 1 - alpha, soft, alpha, inputs.scale_for(temperature))


VANILLA = Method(_make_loss)
