"""Decoupled distillation: the true class apart from the other classes.

Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, CVPR 2022, arXiv:2203.08679.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdopt.train.losses import drop_true_class, kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs,
    *,
    alpha: float,
    beta: float,
    temperature: float,
    label_weight: float = 1.0,
) -> LossFn:
    """``label_weight * CE + T^2 * (alpha * TCKD + beta * NCKD)`` (their Eq. 7).

    TCKD is the KL of two probabilities, the true class and all others; NCKD is the KL of the
    softmax over the other classes alone. KD is ``TCKD + (1 - p_true) * NCKD``, which forgets the
    other classes where the teacher is sure. Their code lets the teacher's term grow over the first
    20 epochs; here it has its weight from the start. Needs labels.
    """
    assert inputs.labels is not None
    labels = inputs.labels

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        true = labels[index]
        teacher, student = inputs.teacher[index] / temperature, logits.float() / temperature
        target = kl_divergence(_pair_up(teacher, true), _pair_up(student, true), 1.0)
        rest = kl_divergence(drop_true_class(teacher, true), drop_true_class(student, true), 1.0)
        return alpha * target + beta * rest

    return join_labels(inputs, label_weight, soft, 1.0, inputs.scale_for(temperature))


def _pair_up(logits: Tensor, labels: Tensor) -> Tensor:
    """(batch, 2): logits whose softmax is the true class and all others.

    The others' is the log of their summed exponentials: to subtract the true class from 1 would
    round to 0 where a model is sure.
    """
    true = logits.gather(1, labels[:, None])
    return torch.cat([true, drop_true_class(logits, labels).logsumexp(1, keepdim=True)], dim=1)


DKD = Method(_make_loss)
