"""Losses: pure functions of logits and labels, all in float32, averaged over the batch.

``alpha`` is always the weight of the **teacher's** term. (torchdistill's alpha weighs the hard
labels; convert when comparing.)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of the temperature softmaxes, averaged over the batch, in nats.

    With ``p = softmax(z_teacher / T)`` and ``q = softmax(z_student / T)`` (paper, Eq. 1):
    ``mean over images of sum over classes of p * (log p - log q)``.

    Args:
        teacher_logits: (batch, classes); no gradient flows into it.
        student_logits: (batch, classes).
        temperature: > 0.
    """
    log_p = functional.log_softmax(teacher_logits.detach().float() / temperature, dim=1)
    log_q = functional.log_softmax(student_logits.float() / temperature, dim=1)
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
    t2_scale: bool = True,
) -> Tensor:
    """``(1 - alpha) * CE + alpha * T^2 * KL(teacher || student)`` (paper, Eq. 2).

    T squared keeps the teacher's gradient at the scale of the labels' gradient when T changes
    (Hinton et al. 2015); ``t2_scale=False`` leaves it out. The loss is continuous up to both ends
    of alpha: 0 is plain training on the labels, 1 ignores the labels.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes).
        labels: (batch,), class numbers.
        temperature: > 0.
        alpha: In [0, 1].
        t2_scale: Multiply the teacher's term by T squared.
    """
    hard = functional.cross_entropy(student_logits.float(), labels)
    soft = kl_divergence(teacher_logits, student_logits, temperature)
    scale = temperature**2 if t2_scale else 1.0
    return (1 - alpha) * hard + alpha * scale * soft
