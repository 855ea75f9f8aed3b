"""Deep mutual learning: both models train, each on the labels and on the other (paper, Eq. 3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs
from kdopt.train.steps import LossFn


def _make_loss(
    inputs: MethodInputs, *, temperature: float = 1.0, weight: float | None = None
) -> LossFn:
    """``CE_1 + T^2 KL(p_2 || p_1) + CE_2 + T^2 KL(p_1 || p_2)``, T = 1 unless set otherwise.

    Each KL's target is detached, and both models step at once on the same batch, so the sum of
    the two losses gives each model its own loss's gradient. ``weight = w`` weighs
    ``(1 - w) * CE + w * KL`` instead of the plain sum (Zhang et al. 2018, arXiv:1706.00384, Eq. 4
    is the sum). Without labels only the two KL terms are left.
    """
    hard_weight, soft_weight = (1.0, 1.0) if weight is None else (1 - weight, weight)
    scale = inputs.scale_for(temperature)

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        student, peer = logits[0], logits[1]
        soft = kl_divergence(peer, student, temperature)
        soft = scale * (soft + kl_divergence(student, peer, temperature))
        if inputs.labels is None:
            return soft
        labels = inputs.labels[index]
        hard = functional.cross_entropy(student.float(), labels)
        hard = hard + functional.cross_entropy(peer.float(), labels)
        return hard_weight * hard + soft_weight * soft

    return loss


DML = Method(_make_loss, trains_both=True)
