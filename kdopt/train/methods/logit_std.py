"""Logit standardisation: temperatures relative to the scale of each model's logits.

Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation, CVPR 2024,
arXiv:2403.01427, section 4.3.
"""

from __future__ import annotations

from torch import Tensor

from kdopt.train.losses import kl_divergence
from kdopt.train.methods.base import Method, MethodInputs, join_labels
from kdopt.train.steps import LossFn


def _make_loss(inputs: MethodInputs, *, temperature: float, alpha: float) -> LossFn:
    """``(1 - alpha) * CE + alpha * T^2 * KL`` of standardised logits (their Algorithms 1 and 2).

    Each image's logits have their mean taken away and are divided by their standard deviation, so
    T counts in standard deviations of the teacher's logits, and of the student's.
    """

    def soft(index: Tensor, logits: Tensor) -> Tensor:
        teacher, student = (standardise_logits(z) for z in (inputs.teacher[index], logits))
        return kl_divergence(teacher, student, temperature)

    return join_labels(inputs, 1 - alpha, soft, alpha, inputs.scale_for(temperature))


def standardise_logits(logits: Tensor) -> Tensor:
    """(n, classes): each row with mean 0 and standard deviation 1 (their Algorithm 1).

    It divides by the number of classes, their code by one less; here as in the code.
    """
    centred = logits.float() - logits.float().mean(1, keepdim=True)
    # Of the variance, as the square root has no gradient at 0, where all logits are equal.
    variance = centred.square().sum(1, keepdim=True) / (logits.shape[1] - 1)
    return centred / (variance + 1e-12).sqrt()


LOGIT_STD = Method(_make_loss)
