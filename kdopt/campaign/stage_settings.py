"""The plain settings of the stages in which many participants take part (paper, section V)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TransferName = Literal[
    "student", "public_unlabeled_small", "public_unlabeled_large", "public_labeled"
]
MethodName = Literal["vanilla", "dml", "dp_kd"]
Sampler = Literal["grid", "sequential", "tpe", "random", "gp", "warm"]
StartName = Literal["worst", "best", "untrained"]
WeightingName = Literal["equal", "better_share", "excess_share", "student_share", "share"]
InitialModelName = Literal["random", "consolidated"]

METHODS: tuple[MethodName, ...] = ("vanilla", "dml", "dp_kd")
TRANSFER_SETS: tuple[TransferName, ...] = (
    "student",
    "public_unlabeled_small",
    "public_unlabeled_large",
    "public_labeled",
)
UNLABELED: frozenset[str] = frozenset({"public_unlabeled_small", "public_unlabeled_large"})
"""Transfer sets whose labels no method may use."""

NEEDS_LABELS: frozenset[str] = frozenset({"dml"})
"""Methods that cannot work as meant without labels; planned there all the same, and marked."""

STARTS: tuple[StartName, ...] = ("worst", "best", "untrained")
"""Where the student starts: the participant of least or greatest validation accuracy, or random
weights."""

WEIGHTINGS: tuple[WeightingName, ...] = (
    "equal",
    "better_share",
    "excess_share",
    "student_share",
    "share",
)
"""How much each teacher counts; all but ``equal`` are class-wise and adaptive. Their formulas are
in :func:`kdopt.train.teachers.class_weights`."""

RANDOM: InitialModelName = "random"
CONSOLIDATED: InitialModelName = "consolidated"
INITIAL_MODELS: tuple[InitialModelName, ...] = (RANDOM, CONSOLIDATED)


@dataclass(frozen=True)
class TuneSettings:
    """The search over temperature and alpha of one pair.

    Attributes:
        temperatures: Grid values > 0. The other samplers search from the least to the greatest
            of them (widened by 1 and by the vanilla temperature), on a logarithmic scale.
        alphas: Grid values in [0, 1]: the weight of the teacher's term. The other samplers search
            all of [0, 1].
        sampler: How cells are chosen.
        budget: Trials per pair for ``tpe``, ``random``, ``gp`` and ``warm``.
        vanilla_temperature: Temperature of untuned distillation, the baseline of every pair.
        vanilla_alpha: Alpha of untuned distillation.
        t2_scale: Multiply the teacher's term by temperature squared.
        prior: ``warm``: campaigns whose finished grids teach; empty for what comes with kdopt.
        warm_trials: ``warm``: trials per pair at points that were learnt, before the rest.
        warm_then: ``warm``: how the rest of the budget is spent.
    """

    temperatures: tuple[float, ...]
    alphas: tuple[float, ...]
    sampler: Sampler
    budget: int
    vanilla_temperature: float
    vanilla_alpha: float
    t2_scale: bool
    prior: tuple[str, ...] = ()
    warm_trials: int = 8
    warm_then: Literal["tpe", "gp"] = "tpe"

    @property
    def vanilla_point(self) -> tuple[float, float]:
        """Temperature and alpha of untuned distillation."""
        return self.vanilla_temperature, self.vanilla_alpha


@dataclass(frozen=True)
class CompareSettings:
    """Which methods are compared on which transfer sets, and their own settings.

    Attributes:
        methods: Methods with fixed settings.
        transfer_sets: Where each is tried.
        self_teacher_weight: Share of the untouched student as a second teacher on public sets,
            in [0, 1).
        dml_weight: Weight of the KL term in mutual learning, in [0, 1]; ``None`` for a plain sum.
    """

    methods: tuple[MethodName, ...] = METHODS
    transfer_sets: tuple[TransferName, ...] = TRANSFER_SETS
    self_teacher_weight: float = 0.5
    dml_weight: float | None = None


@dataclass(frozen=True)
class CombineSettings:
    """Which ways of distilling all participants into one model are tried (section V-A).

    Attributes:
        starts: Starting points of the student. An untrained model has no data of its own, so it
            is combined with public transfer sets only.
        transfer_sets: Where each is tried.
        weightings: How the teachers are weighed.
        weight_terms: What a class-wise weight multiplies: ``class`` weighs the terms of the sum
            over classes within the KL divergence; ``image`` weighs a whole image's divergence by
            its label's class (without labels: by the class that the teacher predicts).
    """

    starts: tuple[StartName, ...] = STARTS
    transfer_sets: tuple[TransferName, ...] = ("public_unlabeled_large", "student")
    weightings: tuple[WeightingName, ...] = ("equal", "better_share")
    weight_terms: Literal["class", "image"] = "class"


@dataclass(frozen=True)
class FederateSettings:
    """Federated averaging, and the model that it starts from (section V-B).

    Attributes:
        initial_models: ``random`` weights, or the ``consolidated`` model: all participants
            distilled into one beforehand.
        rounds: Communication rounds; every participant takes part in each.
        local_epochs: Epochs of a participant per round.
        learning_rate: Step size of plain SGD, > 0.
        weight_decay: L2 penalty, >= 0.
        batch_size: Images per local step.
        start: Which student the consolidated model starts from.
        transfer_set: Where it is distilled.
        weighting: How its teachers are weighed.
        save_every: Rounds between two saved states, from which a killed trial goes on; has no
            part in any result.
        targets: Test accuracies in (0, 1) whose first round is reported.
        relative_targets: The same as shares of the final accuracy from random weights.
    """

    initial_models: tuple[InitialModelName, ...] = INITIAL_MODELS
    rounds: int = 100
    local_epochs: int = 2
    learning_rate: float = 0.01
    weight_decay: float = 4e-4
    batch_size: int = 32
    start: StartName = "best"
    transfer_set: TransferName = "student"
    weighting: WeightingName = "better_share"
    save_every: int = 5
    targets: tuple[float, ...] = (0.5, 0.6, 0.7)
    relative_targets: tuple[float, ...] = (0.9, 0.95, 1.0)


def combine_from_json(record: Mapping[str, Any]) -> CombineSettings:
    """Read what ``dataclasses.asdict`` wrote."""
    return CombineSettings(**_tuples(record))


def federate_from_json(record: Mapping[str, Any]) -> FederateSettings:
    """Read what ``dataclasses.asdict`` wrote."""
    return FederateSettings(**_tuples(record))


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
