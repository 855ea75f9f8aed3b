"""Normalized distillation: the other classes are compared after they are scaled to sum to 1.

Yang, Zeng, Li, Zhang, Yuan, Li: From Knowledge Distillation to Self-Knowledge Distillation: A
Unified Approach with Normalized Loss and Customized Soft Labels, ICCV 2023, arXiv:2303.13005,
section 3; as in ``nkd.py`` of https://github.com/yzd-v/cls_KD.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdopt.train.losses import drop_true_class
from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs, *, gamma: float, temperature: float, label_weight: float = 1.0
) -> LossFn:
    """``label_weight * CE - p_true * log q_true - gamma * T^2 * sum(n(p) * log n(q))``.

    Published with label weight 1. p and q are the softmax of teacher and student at
    temperature 1; the sum goes over the other classes, and ``n`` is the softmax over them alone,
    at T. Needs labels.
    """
    assert inputs.labels is not None
    labels = inputs.labels
    weight = gamma * inputs.scale_for(temperature)

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        true = labels[index]
        teacher, student = inputs.teacher[index].detach().float(), logits.float()
        p_true = teacher.softmax(1).gather(1, true[:, None])
        target = -(p_true * student.log_softmax(1).gather(1, true[:, None])).mean()
        p, q = (drop_true_class(each, true) / temperature for each in (teacher, student))
        return target + weight * functional.cross_entropy(q, p.softmax(1))

    return join_labels(inputs, label_weight, soft, 1.0)


NKD = Method(_make_loss)
