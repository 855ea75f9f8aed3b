"""DIST: the student keeps the teacher's relations, not its probabilities.

Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022,
arXiv:2205.10536, section 4; as in ``dist_kd.py`` of https://github.com/hunto/DIST_KD.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs,
    *,
    beta: float,
    gamma: float,
    temperature: float,
    label_weight: float = 1.0,
) -> LossFn:
    """``label_weight * CE + T^2 * (beta * inter + gamma * intra)``.

    With p and q the softmax of teacher and student at T, (batch, classes): ``inter`` is 1 minus
    the mean over images of the correlation of their rows, ``intra`` 1 minus the mean over classes
    of the correlation of their columns. T^2 as in published code, label weight 1 as published.
    """

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        p = (inputs.teacher[index].detach().float() / temperature).softmax(1)
        q = (logits.float() / temperature).softmax(1)
        inter, intra = (1 - _correlate_rows(a, b).mean() for a, b in ((p, q), (p.T, q.T)))
        return beta * inter + gamma * intra

    return join_labels(inputs, label_weight, soft, 1.0, inputs.scale_for(temperature))


def _correlate_rows(first: Tensor, second: Tensor) -> Tensor:
    """(n,): Pearson's correlation of each row of two (n, values); 0 for a constant row."""
    first, second = (x - x.mean(1, keepdim=True) for x in (first, second))
    return functional.cosine_similarity(first, second, dim=1, eps=1e-8)


DIST = Method(_make_loss)
