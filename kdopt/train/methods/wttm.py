"""Weighted transformed teacher matching: only the teacher is softened, smooth targets count more.

Zheng, Yang: Knowledge Distillation Based on Transformed Teacher Matching, ICLR 2024,
arXiv:2402.11148, section 4; as in ``wttm.py`` of https://github.com/zkxufo/TTM.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs, *, exponent: float, weight: float, label_weight: float = 1.0
) -> LossFn:
    """``label_weight * CE + weight * mean over images of u * KL(p^ || q)``.

    ``u`` is the sum over classes of the teacher's probabilities raised to the exponent, ``p^``
    those powers divided by ``u`` (their Eq. 7), and q the student's softmax at temperature 1. An
    exponent of 1/T is the teacher at temperature T. No factor T^2: the student is never softened.
    """

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        powers = exponent * inputs.teacher[index].detach().float().log_softmax(1)
        log_p, log_q = powers.log_softmax(1), logits.float().log_softmax(1)
        each = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
        return (powers.exp().sum(1) * each).mean()

    return join_labels(inputs, label_weight, soft, weight)


WTTM = Method(_make_loss)
