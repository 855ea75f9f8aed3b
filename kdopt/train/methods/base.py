"""What a distillation method is: a loss for the one training loop, made from cached logits.

A method is one small file. It sees a :class:`MethodInputs` and gives a loss; it never sees a model,
a data set, a device or a study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from kdopt.train.steps import LossFn


@dataclass(frozen=True)
class MethodSettings:
    """The fixed settings of the methods; each uses its own.

    Attributes:
        vanilla_temperature: > 0.
        vanilla_alpha: Weight of the teacher's term, in [0, 1].
        t2_scale: Multiply the teacher's term by temperature squared.
        self_teacher_weight: Share of the untouched student as a second teacher on public sets.
        dml_weight: Weight of mutual learning's KL terms; ``None`` for a plain sum.
        dml_temperature: > 0.
        dp_kd_temperature: > 0.
        dp_kd_label_weight: Weight of the labels' term of DP-KD, in [0, 1].
    """

    vanilla_temperature: float
    vanilla_alpha: float
    t2_scale: bool
    self_teacher_weight: float
    dml_weight: float | None
    dml_temperature: float = 1.0
    dp_kd_temperature: float = 1.0
    dp_kd_label_weight: float = 0.0


@dataclass(frozen=True)
class MethodInputs:
    """What a method may use of one pair and one transfer set.

    Attributes:
        labels: (n,) class numbers of the transfer set, or ``None`` where it has no labels.
        teacher: (n, classes), the teacher's logits.
        initial_student: (n, classes), the untouched student's logits.
        public: Whether the transfer set is a public one, not the student's own data.
    """

    labels: Tensor | None
    teacher: Tensor
    initial_student: Tensor
    public: bool


@dataclass(frozen=True)
class Method:
    """A way of moving knowledge from a teacher to a student.

    Attributes:
        loss: Makes the loss of one pair and transfer set.
        trains_both: Whether the teacher trains too. The loss then gets logits of shape
            (2, batch, classes): the student's, then the peer's.
    """

    loss: Callable[[MethodInputs, MethodSettings], LossFn]
    trains_both: bool = False
