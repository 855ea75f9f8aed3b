"""What a distillation method is: a loss for the one training loop, made from cached logits.

A method is one small file. It sees a :class:`MethodInputs` and its own parameters, and gives a
loss; it never sees a model, a data set, a device or a study. What a campaign searches of its
parameters stands in ``kdopt.campaign.method_spaces``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from kdopt.train.steps import LossFn


@dataclass(frozen=True)
class MethodInputs:
    """What a method may use of one pair and one transfer set.

    Attributes:
        labels: (n,) class numbers of the transfer set, or ``None`` where it has no labels.
        teacher: (n, classes), the teacher's logits.
        initial_student: (n, classes), the untouched student's logits.
        public: Whether the transfer set is a public one, not the student's own data.
        t2_scale: Multiply what has a temperature by its square (Hinton et al. 2015).
    """

    labels: Tensor | None
    teacher: Tensor
    initial_student: Tensor
    public: bool
    t2_scale: bool = True

    def scale_for(self, temperature: float) -> float:
        """What a term at this temperature is multiplied by."""
        return temperature**2 if self.t2_scale else 1.0


@dataclass(frozen=True)
class Method:
    """A way of moving knowledge from a teacher to a student.

    Attributes:
        loss: Makes the loss of one pair and transfer set: the inputs, then the method's
            parameters by name.
        trains_both: Whether the teacher trains too. The loss then gets logits of shape
            (2, batch, classes): the student's, then the peer's.
    """

    loss: Callable[..., LossFn]
    trains_both: bool = False


def join_labels(
    inputs: MethodInputs, hard_weight: float, soft: LossFn, soft_weight: float, scale: float = 1.0
) -> LossFn:
    """``hard_weight * CE + soft_weight * scale * soft``; without labels ``scale * soft``.

    Args:
        inputs: They have the labels.
        hard_weight: Weight of the cross-entropy with the labels.
        soft: The teacher's term.
        soft_weight: Its weight.
        scale: What it is multiplied by besides, also where there are no labels.
    """

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        # The teacher's term first: gradients are added up in the reverse order, and another order
        # rounds in another way.
        teacher = soft(index, logits)
        if inputs.labels is None:
            return scale * teacher
        hard = functional.cross_entropy(logits.float(), inputs.labels[index])
        return hard_weight * hard + soft_weight * scale * teacher

    return loss
