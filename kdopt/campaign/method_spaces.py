"""The methods that a campaign may tune, and which values of its parameters each one tries.

One class per method: ``[tune.NAME]`` of a campaign file. Its fields are called as the parameters
of the loss in ``kdopt.train.methods``; a test holds both against each other. A grid tries every
combination of the values; the other samplers search from the least to the greatest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from annotated_types import Interval, Len

from kdopt.campaign.fields import (
    DISTINCT,
    BatchSize,
    Count,
    Fraction,
    Positive,
    Settings,
    Source,
    Temperature,
)

TunedMethodName = Literal[
    "kd", "dkd", "dist", "nkd", "logit_std", "wttm", "dml", "dp_kd", "public_kd"
]
TUNED_METHODS: tuple[TunedMethodName, ...] = get_args(TunedMethodName)

Weight = Annotated[float, Interval(ge=0, le=1000)]
Share = Annotated[float, Interval(ge=0, lt=1)]
Alpha = Annotated[float, Interval(ge=-10, le=10)]
"""Outside [0, 1] one of the two terms is subtracted."""

LOG_SCALED = frozenset({"temperature", "exponent", "learning_rate"})
"""Parameters that are searched on a logarithmic scale."""

Published = Mapping[str, float]
PublicSetName = Literal["public_unlabeled_small", "public_unlabeled_large"]


class MethodSpace(Settings):
    """What is searched of one method.

    Attributes:
        label: How people call the method.
        published: The setting that its authors recommend; it is always tried.
        teacher_weights: Parameters of which one must not be 0, or no teacher has a part in it.
    """

    label: ClassVar[str]
    published: ClassVar[Published]
    teacher_weights: ClassVar[tuple[str, ...]] = ()


DKD_SOURCE = Source("default: around Zhao et al. 2022: 1, 1 to 10, and 4 on CIFAR, 1 on ImageNet")
DIST_SOURCE = Source("default: around Huang et al. 2022: 2, 2, and 1 on ImageNet, 4 on CIFAR")
NKD_SOURCE = Source("default: around Yang et al. 2023, published code: 1.5, 1")
STD_SOURCE = Source("default: around Sun et al. 2024, published code: T 2, weights 0.1 and 9")
WTTM_SOURCE = Source("default: around Zheng & Yang 2024, published code")
DML_SOURCE = Source("default: kdopt; Zhang et al. 2018 have T 1 and equal weights")
DP_KD_SOURCE = Source("default: kdopt; the paper's Eq. 5 has T 1 and no labels")
LABEL_SOURCE = Source("default: 1, as published")
AS_DISTILL = Source("default: not searched, as in [distill]", depends=True)
PUBLIC_SOURCE = Source("default: kdopt (the paper's are lost)")


@dataclass(frozen=True)
class DkdSpace(MethodSpace):
    """``[tune.dkd]``: decoupled distillation (Zhao et al. 2022).

    Attributes:
        alpha: Weights of the divergence of the true class against all others.
        beta: Weights of the divergence among the other classes.
        temperature: Temperatures of both.
        label_weight: Weights of the cross-entropy with the labels beside the teacher's term; 0
            learns from the teacher alone.
    """

    label = "DKD"
    teacher_weights = ("alpha", "beta")
    published: ClassVar[Published] = {
        "alpha": 1.0,
        "beta": 8.0,
        "temperature": 4.0,
        "label_weight": 1.0,
    }

    alpha: Annotated[tuple[Weight, ...], Len(1), DISTINCT, DKD_SOURCE] = (1.0,)
    beta: Annotated[tuple[Weight, ...], Len(1), DISTINCT, DKD_SOURCE] = (1.0, 2.0, 4.0, 8.0)
    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, DKD_SOURCE] = (1.0, 4.0)
    label_weight: Annotated[tuple[Weight, ...], Len(1), DISTINCT, LABEL_SOURCE] = (1.0,)


@dataclass(frozen=True)
class DistSpace(MethodSpace):
    """``[tune.dist]``: the teacher's relations (Huang et al. 2022).

    Attributes:
        beta: Weights of the relations between the classes of an image.
        gamma: Weights of the relations between the images of a class.
        temperature: Temperatures of both.
        label_weight: Weights of the cross-entropy with the labels beside the teacher's term; 0
            learns from the teacher alone.
    """

    label = "DIST"
    teacher_weights = ("beta", "gamma")
    published: ClassVar[Published] = {
        "beta": 2.0,
        "gamma": 2.0,
        "temperature": 1.0,
        "label_weight": 1.0,
    }

    beta: Annotated[tuple[Weight, ...], Len(1), DISTINCT, DIST_SOURCE] = (1.0, 2.0)
    gamma: Annotated[tuple[Weight, ...], Len(1), DISTINCT, DIST_SOURCE] = (1.0, 2.0)
    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, DIST_SOURCE] = (1.0, 4.0)
    label_weight: Annotated[tuple[Weight, ...], Len(1), DISTINCT, LABEL_SOURCE] = (1.0,)


@dataclass(frozen=True)
class NkdSpace(MethodSpace):
    """``[tune.nkd]``: normalized distillation (Yang et al. 2023).

    Attributes:
        gamma: Weights of the other classes' term.
        temperature: Temperatures of that term.
        label_weight: Weights of the cross-entropy with the labels beside the teacher's term; 0
            learns from the teacher alone.
    """

    label = "NKD"
    published: ClassVar[Published] = {"gamma": 1.5, "temperature": 1.0, "label_weight": 1.0}

    gamma: Annotated[tuple[Weight, ...], Len(1), DISTINCT, NKD_SOURCE] = (0.5, 1.5, 3.0)
    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, NKD_SOURCE] = (1.0, 2.0, 4.0)
    label_weight: Annotated[tuple[Weight, ...], Len(1), DISTINCT, LABEL_SOURCE] = (1.0,)


@dataclass(frozen=True)
class LogitStdSpace(MethodSpace):
    """``[tune.logit_std]``: vanilla distillation of standardised logits (Sun et al. 2024).

    Attributes:
        temperature: Temperatures, in standard deviations of the logits.
        alpha: Weights of the teacher's term.
    """

    label = "KD of standardised logits"
    teacher_weights = ("alpha",)
    published: ClassVar[Published] = {"temperature": 2.0, "alpha": 0.99}

    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, STD_SOURCE] = (1.0, 2.0, 4.0)
    alpha: Annotated[tuple[Alpha, ...], Len(1), DISTINCT, STD_SOURCE] = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class WttmSpace(MethodSpace):
    """``[tune.wttm]``: weighted transformed teacher matching (Zheng & Yang 2024).

    Attributes:
        exponent: Powers of the teacher's probabilities; 1/T is the teacher at temperature T.
        weight: Weights of the teacher's term.
        label_weight: Weights of the cross-entropy with the labels beside the teacher's term; 0
            learns from the teacher alone.
    """

    label = "WTTM"
    teacher_weights = ("weight",)
    published: ClassVar[Published] = {"exponent": 0.2, "weight": 4.0, "label_weight": 1.0}

    exponent: Annotated[tuple[Positive, ...], Len(1), DISTINCT, WTTM_SOURCE] = (0.1, 0.2, 0.5)
    weight: Annotated[tuple[Weight, ...], Len(1), DISTINCT, WTTM_SOURCE] = (0.5, 1.0, 4.0)
    label_weight: Annotated[tuple[Weight, ...], Len(1), DISTINCT, LABEL_SOURCE] = (1.0,)


@dataclass(frozen=True)
class DmlSpace(MethodSpace):
    """``[tune.dml]``: deep mutual learning (paper, Eq. 3).

    Attributes:
        temperature: Temperatures of the divergences.
        weight: Weights of the divergences; the labels have 1 minus it.
    """

    label = "DML"
    teacher_weights = ("weight",)
    published: ClassVar[Published] = {"temperature": 1.0, "weight": 0.5}

    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, DML_SOURCE] = (1.0, 2.0, 4.0)
    weight: Annotated[tuple[Fraction, ...], Len(1), DISTINCT, DML_SOURCE] = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class DpKdSpace(MethodSpace):
    """``[tune.dp_kd]``: data-partitioning distillation (paper, Eq. 4 and 5).

    Attributes:
        temperature: Temperatures of the divergence.
        label_weight: Weights of a cross-entropy term on the labels beside it.
    """

    label = "DP-KD"
    published: ClassVar[Published] = {"temperature": 1.0, "label_weight": 0.0}

    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, DP_KD_SOURCE] = (
        1.0,
        2.0,
        4.0,
    )
    label_weight: Annotated[tuple[Share, ...], Len(1), DISTINCT, DP_KD_SOURCE] = (0.0, 0.25, 0.5)


@dataclass(frozen=True)
class PublicKdSpace(MethodSpace):
    """``[tune.public_kd]``: vanilla distillation on public sets without labels, so alpha is 1.

    Attributes:
        transfer_set: The sets; those without images are left out.
        temperature: Temperatures of the divergence.
        self_teacher_weight: Weights of the untouched student as a second teacher.
    """

    label = "KD on public sets"
    published: ClassVar[Published] = {"temperature": 1.0, "self_teacher_weight": 0.5}

    transfer_set: Annotated[tuple[PublicSetName, ...], Len(1), DISTINCT, PUBLIC_SOURCE] = (
        "public_unlabeled_small",
        "public_unlabeled_large",
    )
    temperature: Annotated[tuple[Temperature, ...], Len(1), DISTINCT, PUBLIC_SOURCE] = (1.0, 4.0)
    self_teacher_weight: Annotated[tuple[Share, ...], Len(1), DISTINCT, PUBLIC_SOURCE] = (0.0, 0.5)


@dataclass(frozen=True)
class BudgetSpace(Settings):
    """``[tune.search]``: what else is searched with every method. Left out: as in ``[distill]``.

    With any of these, plain KD too has a study of its own kind, and no map: its trials differ in
    more than T and alpha. The control trains on with every combination of the values, too.

    Attributes:
        learning_rate: The optimizer's step sizes.
        epochs: Most epochs.
        batch_size: Images per step.
    """

    learning_rate: Annotated[tuple[Positive, ...], DISTINCT, AS_DISTILL] = ()
    epochs: Annotated[tuple[Count, ...], DISTINCT, AS_DISTILL] = ()
    batch_size: Annotated[tuple[BatchSize, ...], DISTINCT, AS_DISTILL] = ()


SPACES: Mapping[str, type[MethodSpace]] = {
    "dkd": DkdSpace,
    "dist": DistSpace,
    "nkd": NkdSpace,
    "logit_std": LogitStdSpace,
    "wttm": WttmSpace,
    "dml": DmlSpace,
    "dp_kd": DpKdSpace,
    "public_kd": PublicKdSpace,
}
"""By the name of the method; ``kd`` has its values in ``[tune]`` itself."""
