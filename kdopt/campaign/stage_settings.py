"""The settings of the stages after pre-training: tune, compare, combine, federate.

Each field says its type, its bounds, the source of its default and the default, here and nowhere
else; its meaning stands in the docstring of its class. The paper states a default, or the paper's
text lost it and another published choice stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval, Len

from kdopt.campaign.federated_algorithms import (
    ALGORITHM_FACTS,
    CONSOLIDATED,
    FEDAVG,
    INITIAL_MODELS,
    AlgorithmName,
    FedDfSettings,
    FedMdSettings,
    InitialModelName,
    OwnStartName,
)
from kdopt.campaign.fields import (
    DISTINCT,
    KDOPT,
    MORE_WORK,
    NAME_RULE,
    PROXYFL,
    BatchSize,
    Count,
    CountOrZero,
    Fraction,
    NotInFiles,
    Positive,
    PositiveFraction,
    Settings,
    Source,
    Temperature,
)
from kdopt.campaign.method_spaces import (
    Alpha,
    BudgetSpace,
    DistSpace,
    DkdSpace,
    DmlSpace,
    DpKdSpace,
    LogitStdSpace,
    NkdSpace,
    PublicKdSpace,
    PublicSetName,
    TunedMethodName,
    WttmSpace,
)
from kdopt.campaign.plugin_methods import PluginMethod

Sampler = Literal["grid", "sequential", "tpe", "random", "gp", "warm"]
MethodName = Literal["vanilla", "dml", "dp_kd"]
TransferName = Literal[
    "student", "public_unlabeled_small", "public_unlabeled_large", "public_labeled"
]
StartName = Literal["worst", "best", "untrained"]
WeightingName = Literal[
    "equal", "better_share", "excess_share", "student_share", "share", "normalized_share"
]

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
"""Methods that do not work as meant without labels; they are planned there too, and marked."""

STARTS: tuple[StartName, ...] = ("worst", "best", "untrained")
"""Where the student of stage ``combine`` starts: the participant with the lowest or highest
validation accuracy, or random weights."""

WEIGHTINGS: tuple[WeightingName, ...] = (
    "equal",
    "better_share",
    "excess_share",
    "student_share",
    "share",
    "normalized_share",  # last: a category's number in a store is its place here
)
"""How much each teacher counts; all but ``equal`` are class-wise and adaptive. Their formulas are
in :func:`kdopt.train.teachers.compute_class_weights`."""


@dataclass(frozen=True)
class TuneSettings(Settings):
    """``[tune]``: the search of every pair, over T and alpha or over a method's own parameters.

    Attributes:
        temperatures: Grid values. The other samplers search from the lowest to the highest of
            them (widened by 1 and by the vanilla temperature), on a logarithmic scale.
        alphas: Grid values: the weight of the teacher's term. The other samplers search all of
            [0, 1], and what is listed outside.
        sampler: How the points of the search are chosen.
        budget: Trials per pair. ``grid`` and ``sequential`` decide it themselves.
        vanilla_temperature: Temperature of untuned distillation, the baseline of every pair.
        vanilla_alpha: Alpha of untuned distillation.
        t2_scale: Multiply the teacher's term by the temperature squared.
        prior: For ``warm``: campaigns whose finished grids the search learns from. Empty: the
            prior that comes with kdopt.
        warm_trials: For ``warm``: trials per pair at points that the learnt search chooses.
        warm_then: For ``warm``: the sampler that spends the rest of the budget.
        methods: What is tuned. ``kd`` is plain distillation, whose T and alpha the map of a pair
            shows; every other method has a study of its own per pair, over its own parameters.
        search: What else is searched with every method.
        dkd: The values of this method, where it is tuned; so for the others.
        dist: The same.
        nkd: The same.
        logit_std: The same.
        wttm: The same.
        dml: The same.
        dp_kd: The same.
        public_kd: The same.
        plugin_methods: Those of ``methods`` that are a plugin's, with their values.
    """

    listed_last = (
        *("vanilla_temperature", "vanilla_alpha", "t2_scale"),
        *("search", "dkd", "dist", "nkd", "logit_std", "wttm", "dml", "dp_kd", "public_kd"),
    )

    temperatures: Annotated[
        tuple[Temperature, ...], Len(1), DISTINCT, Source("paper, Table I"), MORE_WORK
    ] = (
        0.1,
        0.5,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        4.0,
        5.0,
        6.0,
        7.0,
    )
    alphas: Annotated[tuple[Alpha, ...], Len(1), DISTINCT, Source("paper, Table I"), MORE_WORK] = (
        0.1,
        0.25,
        0.5,
        0.75,
        0.9,
    )
    sampler: Annotated[Sampler, Source("paper, section III")] = "grid"
    budget: Annotated[
        int,
        Interval(ge=1, le=100_000),
        Source(
            "default: trials per pair, 20 for tpe, random and gp, 8 for warm; unused otherwise",
            depends=True,
        ),
        MORE_WORK,
    ] = 20
    vanilla_temperature: Annotated[Temperature, PROXYFL] = 1.0
    vanilla_alpha: Annotated[Fraction, PROXYFL] = 0.5
    t2_scale: Annotated[bool, Source("default: Hinton et al. 2015 (lost)")] = True
    prior: Annotated[
        tuple[Annotated[str, NAME_RULE], ...],
        Len(1),
        DISTINCT,
        Source(
            "default: what the full grids that come with kdopt taught; for warm only",
            depends=True,
        ),
    ] = ()
    warm_trials: Annotated[
        int,
        Interval(ge=1, le=100_000),
        Source("default: 8 of the budget at points that were learnt; for warm only", depends=True),
    ] = 8
    warm_then: Annotated[
        Literal["tpe", "gp"],
        Source("default: tpe spends the rest of the budget; for warm only", depends=True),
    ] = "tpe"
    methods: Annotated[
        tuple[TunedMethodName, ...], DISTINCT, Source("paper, section III"), MORE_WORK
    ] = ("kd",)
    # Another search makes other trials of the same study, so it may not change.
    search: BudgetSpace = field(default_factory=BudgetSpace)
    dkd: Annotated[DkdSpace, MORE_WORK] = field(default_factory=DkdSpace)
    dist: Annotated[DistSpace, MORE_WORK] = field(default_factory=DistSpace)
    nkd: Annotated[NkdSpace, MORE_WORK] = field(default_factory=NkdSpace)
    logit_std: Annotated[LogitStdSpace, MORE_WORK] = field(default_factory=LogitStdSpace)
    wttm: Annotated[WttmSpace, MORE_WORK] = field(default_factory=WttmSpace)
    dml: Annotated[DmlSpace, MORE_WORK] = field(default_factory=DmlSpace)
    dp_kd: Annotated[DpKdSpace, MORE_WORK] = field(default_factory=DpKdSpace)
    public_kd: Annotated[PublicKdSpace, MORE_WORK] = field(default_factory=PublicKdSpace)
    plugin_methods: Annotated[tuple[PluginMethod, ...], NotInFiles(), MORE_WORK] = ()

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method that is tuned, kdopt's own first."""
        return (*self.methods, *(method.name for method in self.plugin_methods))

    @property
    def vanilla_point(self) -> tuple[float, float]:
        """Temperature and alpha of untuned distillation."""
        return self.vanilla_temperature, self.vanilla_alpha


@dataclass(frozen=True)
class CompareSettings(Settings):
    """``[compare]``: methods with fixed settings, and the transfer sets they are tried on.

    Attributes:
        methods: The methods.
        transfer_sets: The transfer sets on which each method is tried.
        self_teacher_weight: Weight of the untouched student as a second teacher on public sets.
        dml_weight: Weight of the KL term in mutual learning. Left out: a plain sum.
        dml_temperature: Temperature of mutual learning.
        dp_kd_temperature: Temperature of data-partitioning distillation.
        dp_kd_label_weight: Weight of a cross-entropy term on the labels beside the KL of
            data-partitioning distillation, where there are labels.
        strong_margin: A teacher counts as strong if its accuracy is more than this above its
            student's, in percentage points. As weak counts any below its student.
    """

    methods: Annotated[
        tuple[MethodName, ...], Len(1), DISTINCT, Source("paper, section IV"), MORE_WORK
    ] = METHODS
    transfer_sets: Annotated[
        tuple[TransferName, ...], Len(1), DISTINCT, Source("paper, section IV"), MORE_WORK
    ] = TRANSFER_SETS
    self_teacher_weight: Annotated[
        float, Interval(ge=0, lt=1), Source("default: equal shares (lost)")
    ] = 0.5
    dml_weight: Annotated[
        Fraction | None, Source("default: plain sum, Zhang et al. 2018 (lost)")
    ] = None
    dml_temperature: Annotated[Temperature, Source("default: 1, Zhang et al. 2018 (lost)")] = 1.0
    dp_kd_temperature: Annotated[Temperature, Source("default: kdopt (lost)")] = 1.0
    dp_kd_label_weight: Annotated[Fraction, Source("default: 0, as Eq. 5 has no such term")] = 0.0
    strong_margin: Annotated[
        float,
        Interval(ge=0, le=100),
        Source("default: kdopt (paper, section IV: notably higher; threshold lost)"),
        MORE_WORK,
    ] = 5.0


@dataclass(frozen=True)
class CombineSettings(Settings):
    """``[combine]``: the ways of distilling all participants into one model (section V-A).

    Attributes:
        starts: Where the student starts. An untrained model has no data of its own, so it is
            combined on public transfer sets only.
        transfer_sets: The transfer sets on which each way is tried.
        weightings: How the teachers are weighted.
        weight_terms: What a class-wise weight multiplies: ``class`` weights the terms of the sum
            over classes within the KL divergence; ``image`` weights an image's whole divergence
            by the class of its label (without labels: by the class the teacher predicts).
        epochs: Most epochs of a combined model, that of stage ``federate`` too. Left out: those
            of ``[distill]``.
        patience: The same of early stopping; 0 trains all epochs.
    """

    starts: Annotated[
        tuple[StartName, ...], Len(1), DISTINCT, Source("paper, section V-A"), MORE_WORK
    ] = STARTS
    transfer_sets: Annotated[
        tuple[TransferName, ...], Len(1), DISTINCT, Source("paper, section V-A"), MORE_WORK
    ] = ("public_unlabeled_large", "student")
    weightings: Annotated[
        tuple[WeightingName, ...],
        Len(1),
        DISTINCT,
        Source("paper, section V-A; the formula of better_share: kdopt (Eq. 6 is lost)"),
        MORE_WORK,
    ] = ("equal", "better_share")
    weight_terms: Annotated[Literal["class", "image"], Source("default: kdopt (Eq. 7 is lost)")] = (
        "class"
    )
    epochs: Annotated[
        Count | None, Source("default: as [distill] (paper, section V-A: 30 epochs)")
    ] = None
    patience: Annotated[CountOrZero | None, Source("default: as [distill] (lost)")] = None


@dataclass(frozen=True)
class FederateSettings(Settings):
    """``[federate]``: federated averaging, and the model it starts from (section V-B).

    Attributes:
        initial_models: What algorithms with a global model start from: ``random`` weights, or the
            ``consolidated`` model: all participants distilled into one beforehand.
        rounds: Communication rounds; every participant takes part in each.
        local_epochs: Epochs of a participant per round, on its own images.
        learning_rate: Step size of plain SGD.
        weight_decay: L2 penalty.
        batch_size: Images per local step.
        start: The student that the consolidated model starts from.
        transfer_set: The transfer set on which the consolidated model is distilled.
        weighting: How its teachers are weighted.
        save_every: Rounds between two saved states, from which an interrupted trial resumes; it
            changes no result.
        targets: Test accuracies; the first round that reaches each is reported.
        relative_targets: The same, as fractions of FedAvg's final accuracy from random weights.
        algorithms: ``fedavg`` is the paper's. ``feddf`` lets the server distil all participants
            into each average, on a public set. ``fedmd`` sends logits on a public set instead of
            weights, and ``def_kt`` one model per pair of participants: these two work between
            different models.
        own_starts: What each participant starts from where there is no global model (``fedmd`` and
            ``def_kt``): its ``pretrained`` model, or ``random`` weights of its own.
        public_set: The set that ``feddf`` and ``fedmd`` ask about; its labels are not used.
        feddf: The server's distillation.
        fedmd: How a participant digests the consensus.
    """

    listed_last = ("feddf", "fedmd")

    initial_models: Annotated[
        tuple[InitialModelName, ...], Len(1), DISTINCT, Source("paper, section V-B"), MORE_WORK
    ] = INITIAL_MODELS
    rounds: Annotated[int, Interval(ge=1, le=100_000), Source("paper, section V")] = 100
    local_epochs: Annotated[Count, Source("paper, section V")] = 2
    learning_rate: Annotated[Positive, Source("paper, section V")] = 0.01
    weight_decay: Annotated[
        Fraction, Source("default: Caldarola et al.'s published code (lost)")
    ] = 4e-4
    batch_size: Annotated[BatchSize, Source("default: as in pre-training (lost)")] = 32
    start: Annotated[StartName, Source("paper, section V-A: the best student is best")] = "best"
    transfer_set: Annotated[TransferName, Source("paper, section V-A")] = "student"
    weighting: Annotated[
        WeightingName, Source("paper, section V-A; its formula: kdopt (Eq. 6 is lost)")
    ] = "better_share"
    save_every: Annotated[Count, KDOPT, MORE_WORK] = 5
    targets: Annotated[
        tuple[PositiveFraction, ...], DISTINCT, Source("default: kdopt (lost)"), MORE_WORK
    ] = (
        0.5,
        0.6,
        0.7,
    )
    relative_targets: Annotated[
        tuple[PositiveFraction, ...], DISTINCT, Source("default: kdopt (lost)"), MORE_WORK
    ] = (0.9, 0.95, 1.0)
    algorithms: Annotated[
        tuple[AlgorithmName, ...], Len(1), DISTINCT, Source("paper, section V-B"), MORE_WORK
    ] = (FEDAVG,)
    own_starts: Annotated[
        tuple[OwnStartName, ...],
        Len(1),
        DISTINCT,
        Source("default: Li & Wang 2019, who train each model fully beforehand"),
        MORE_WORK,
    ] = ("pretrained",)
    public_set: Annotated[PublicSetName, KDOPT] = "public_unlabeled_large"
    feddf: FedDfSettings = field(default_factory=FedDfSettings)
    fedmd: FedMdSettings = field(default_factory=FedMdSettings)

    @property
    def averaging(self) -> tuple[AlgorithmName, ...]:
        """The algorithms that have a global model."""
        return tuple(name for name in self.algorithms if ALGORITHM_FACTS[name].averages)

    @property
    def asking_public(self) -> tuple[AlgorithmName, ...]:
        """The algorithms that need a public set."""
        return tuple(name for name in self.algorithms if ALGORITHM_FACTS[name].asks_public)

    @property
    def uses_consolidated(self) -> bool:
        """Whether any trial starts from the consolidated model."""
        return CONSOLIDATED in self.initial_models and bool(self.averaging)
