"""Losses: pure functions of logits and labels, all in float32, averaged over the batch.

``alpha`` is always the weight of the **teacher's** term. (torchdistill's alpha weighs the hard
labels; convert when comparing.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def kl_divergence(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor
) -> Tensor:
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


def drop_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """(batch, classes - 1): the logits of all classes but each image's own, in their order.

    Args:
        logits: (batch, classes).
        labels: (batch,), class numbers.
    """
    rest = torch.arange(logits.shape[1] - 1, device=logits.device)
    # By position and not by a mask, whose result has no shape that is known beforehand.
    return logits.gather(1, rest + (rest >= labels[:, None]))


class DistillationLoss:
    """``(1 - alpha) * CE + alpha * T^2 * KL(teacher || student)`` (paper, Eq. 2).

    Of one student; the teacher and the cell change between trainings. T squared keeps the
    teacher's gradient at the scale of the labels' gradient when T changes (Hinton et al. 2015).
    The loss is continuous up to both ends of alpha: 0 is plain training on the labels, 1 ignores
    the labels.

    On CUDA temperature, alpha and the teacher's logits have a place in the device's memory, where
    a recorded step finds them at every replay; on a CPU they are what they are.

    Args:
        teacher_logits: (n, classes), of all images of the transfer set.
        labels: (n,), class numbers.
        t2_scale: Multiply the teacher's term by T squared; ``False`` leaves that out.
        on_device: Give temperature, alpha and logits such a place; ``None`` does so on CUDA.
    """

    def __init__(
        self,
        teacher_logits: Tensor,
        labels: Tensor,
        t2_scale: bool = True,
        on_device: bool | None = None,
    ) -> None:
        self._labels, self._t2_scale = labels, t2_scale
        on_device = teacher_logits.is_cuda if on_device is None else on_device
        self._teacher_logits = teacher_logits.clone() if on_device else teacher_logits
        self._numbers: Tensor | None = None
        self._temperature: float | Tensor
        self._hard_weight: float | Tensor
        self._soft_weight: float | Tensor
        if on_device:
            self._numbers = torch.empty(3, device=teacher_logits.device)
            self._temperature, self._hard_weight, self._soft_weight = self._numbers.unbind()

    def set_teacher(self, teacher_logits: Tensor) -> DistillationLoss:
        """Use another teacher's logits, (n, classes), on the same images; the loss itself."""
        if self._numbers is None:
            self._teacher_logits = teacher_logits
        else:
            self._teacher_logits.copy_(teacher_logits)
        return self

    def set_cell(self, temperature: float, alpha: float) -> DistillationLoss:
        """Use another temperature, > 0, and alpha; the loss itself."""
        scale = temperature**2 if self._t2_scale else 1.0
        numbers = (temperature, 1 - alpha, alpha * scale)
        if self._numbers is None:
            self._temperature, self._hard_weight, self._soft_weight = numbers
        else:
            self._numbers.copy_(torch.tensor(numbers))
        return self

    def __call__(self, index: Tensor, logits: Tensor) -> Tensor:
        """The loss of a batch: positions, (batch,), and the student's logits, (batch, classes)."""
        hard = functional.cross_entropy(logits.float(), self._labels[index])
        soft = kl_divergence(self._teacher_logits[index], logits, self._temperature)
        return self._hard_weight * hard + self._soft_weight * soft
