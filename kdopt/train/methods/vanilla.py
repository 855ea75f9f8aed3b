"""Vanilla distillation with fixed temperature and alpha (paper, Eq. 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, MethodSettings
from kdopt.train.steps import LossFn


def _make_loss(inputs: MethodInputs, settings: MethodSettings) -> LossFn:
    """``(1 - alpha) * CE + alpha * T^2 * KL``.

    On a public set the untouched student joins as a second teacher (self-teacher rule of section
    III): the KL becomes ``(1 - w) * KL(teacher) + w * KL(initial student)``. Without labels alpha
    is 1.
    """
    temperature = settings.vanilla_temperature
    scale = temperature**2 if settings.t2_scale else 1.0
    weight = settings.self_teacher_weight if inputs.public else 0.0
    alpha = 1.0 if inputs.labels is None else settings.vanilla_alpha

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        soft = kl_divergence(inputs.teacher[index], logits, temperature)
        if weight:
            own = kl_divergence(inputs.initial_student[index], logits, temperature)
            soft = (1 - weight) * soft + weight * own
        if inputs.labels is None:
            return scale * soft
        hard = functional.cross_entropy(logits.float(), inputs.labels[index])
        return (1 - alpha) * hard + alpha * scale * soft

    return loss


VANILLA = Method(_make_loss)
