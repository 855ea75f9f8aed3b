"""Many teachers at once: class-wise weights and one mixed target (paper, Eq. 6 and 7).

The paper's text lost both formulas. What it says of Eq. 6: the weight of a teacher for a class
considers its accuracy for that class "relative to the student's accuracy and the total accuracy of
all teachers for that class". :func:`compute_class_weights` holds the readings of that sentence.

Memory: the gradient of Eq. 7 depends on the teachers only through the weighted sum of their
probabilities, so :class:`Mixture` adds them up one by one into one (images, classes) target and
one number per image. A hundred teachers need as much memory as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdopt.campaign.stage_settings import WeightingName


def compute_class_weights(
    weighting: WeightingName,
    teachers: Sequence[Sequence[float]],
    student: Sequence[float] | None,
    with_copy: bool = False,
) -> Tensor:
    """How much each teacher counts for each class: float64, (teachers, classes).

    With ``a[k, c]`` the accuracy of teacher k on class c and ``s[c]`` the student's:

    - ``equal``: ``1 / teachers``.
    - ``better_share``: ``a[k, c] / sum_j a[j, c]`` where ``a[k, c] > s[c]``, else 0.
    - ``normalized_share``: ``better_share`` divided by its sum over teachers, so that the weights
      of a class sum to 1 as those of ``equal`` do, where any teacher counts.
    - ``excess_share``: ``max(0, a[k, c] - s[c]) / sum_j a[j, c]``.
    - ``student_share``: ``a[k, c] / (s[c] + sum_j a[j, c])``.
    - ``share``: ``a[k, c] / sum_j a[j, c]``.

    Where any teacher counts for a class, its weights sum to 1 under ``equal``, ``share`` and
    ``normalized_share``, to less under the others: there the teachers' term counts less against
    the labels' the better the student knows the class. ``excess_share`` gives the student's own
    copy, which is never better than itself, weight 0.

    A class that no teacher knows (all accuracies 0) gets weight 0 from all, but under ``equal``.

    Args:
        weighting: The formula.
        teachers: Per teacher its class-wise accuracies, in [0, 1], on validation.
        student: The student's; ``None`` for one without training, which counts as 0 everywhere
            (its accuracies are accidents of its random weights).
        with_copy: The last teacher is a copy of the untouched student (self-teacher rule of
            section III). It is never better than itself, so ``better_share`` and
            ``normalized_share`` count it anyway; otherwise no teacher would count for the classes
            that the student knows best.
    """
    accuracy = torch.tensor(teachers, dtype=torch.float64)
    if weighting == "equal":
        return torch.full_like(accuracy, 1 / len(accuracy))
    own = torch.zeros_like(accuracy[0])
    if student is not None:
        own = torch.tensor(student, dtype=torch.float64)
    total = accuracy.sum(dim=0)
    counted = accuracy
    if weighting in ("better_share", "normalized_share"):
        better = accuracy > own
        better[len(better) - with_copy :] = True
        counted = torch.where(better, accuracy, 0.0)
        if weighting == "normalized_share":
            total = counted.sum(dim=0)
    elif weighting == "excess_share":
        counted = (accuracy - own).clamp(min=0)
    elif weighting == "student_share":
        total = total + own
    return torch.where(total > 0, counted / total, 0.0)


class Mixture:
    """``L_KL = sum over teachers of w_k * KL(p_k || q)``, with its teachers added up (Eq. 7).

    With weights that differ between the classes the terms of the sum over classes are weighed,
    ``sum_k sum_c w[k, c] * p_k[c] * (log p_k[c] - log q[c])``, or with ``by`` the images: then
    image i weighs teacher k's divergence by ``w[k, by[i]]``.

    Args:
        temperature: Of teachers and student, > 0.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self._target: Tensor | None = None
        self._entropy: Tensor | None = None

    def add(self, logits: Tensor, weights: Tensor, by: Tensor | None = None) -> None:
        """Add one teacher.

        Args:
            logits: (n, classes).
            weights: (classes,).
            by: (n,), the class that stands for each image; ``None`` weighs the terms of the sum.
        """
        log_p = functional.log_softmax(logits.float() / self.temperature, dim=1)
        scale = weights.to(log_p)
        weighted = log_p.exp() * (scale if by is None else scale[by, None])
        negative_entropy = (weighted * log_p).sum(dim=1)
        if self._target is None or self._entropy is None:
            self._target, self._entropy = weighted, negative_entropy
        else:
            self._target += weighted
            self._entropy += negative_entropy

    def loss(self, index: Tensor, student_logits: Tensor) -> Tensor:
        """The mean of ``L_KL`` over a batch, in nats.

        Args:
            index: (batch,), positions in the transfer set.
            student_logits: (batch, classes).
        """
        assert self._target is not None and self._entropy is not None, "no teacher was added"
        log_q = functional.log_softmax(student_logits.float() / self.temperature, dim=1)
        cross = (self._target[index] * log_q).sum(dim=1)
        return (self._entropy[index] - cross).mean()
