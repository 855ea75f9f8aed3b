"""The schema of campaign files: pydantic tables, each default with its source.

Each default names where it comes from: the paper states it, or the paper's text lost it and
somebody else's published choice stands in. ``kdopt.campaign.spec`` reads files with these
tables; nothing else sees them.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from kdopt.campaign.names import CAMPAIGN_NAME
from kdopt.campaign.stage_settings import (
    INITIAL_MODELS,
    METHODS,
    STARTS,
    TRANSFER_SETS,
    InitialModelName,
    MethodName,
    StartName,
    TransferName,
    WeightingName,
)

PROXYFL = "default: ProxyFL's published code (the paper's value is lost)"
KDOPT = "default: kdopt"


class Source(NamedTuple):
    """Where a default comes from; shown beside the value by ``kdopt spec`` and in reports."""

    text: str


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) != len(values):
        raise ValueError("each value may be listed once only")
    return values


def _campaign_name(value: str) -> str:
    if not CAMPAIGN_NAME.match(value):
        raise ValueError(
            "a name has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter or digit"
        )
    return value


Size = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Alpha = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Concentrations = Annotated[tuple[Positive, ...], Field(min_length=1)]


PublicSize = Annotated[int, Field(ge=0), Source("paper, sections IV and V")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataTable(_Table):
    """``[data]``: which images, and how many."""

    name: Literal["digits", "fashion_mnist", "cifar10", "cinic10", "folder"]
    root: Annotated[str | None, Source("default: the usual places are searched")] = None
    train_size: Annotated[Size | None, Source("default: all images")] = None
    test_size: Annotated[Size | None, Source("default: all images")] = None
    validation_fraction: Annotated[
        float, Field(gt=0, le=0.5), Source("paper, section III; drawn before partitioning: kdopt")
    ] = 0.1
    checksum: Annotated[Literal["published", "none"], Source(KDOPT)] = "published"
    drop_cifar: Annotated[bool, Source(KDOPT)] = False
    image_size: Annotated[int, Field(ge=4, le=1024), Source(KDOPT)] = 32
    download: Annotated[bool, Source(KDOPT)] = False


class _TrainTable(_Table):
    learning_rate: Annotated[Positive, Source(PROXYFL)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1), Source(PROXYFL)] = 1e-4
    batch_size: Annotated[int, Field(ge=2), Source("paper, section III")] = 32


class PretrainTable(_TrainTable):
    """``[pretrain]``: the budget of each participant's own training."""

    epochs: Annotated[Size, Source("paper, section III")] = 100
    patience: Annotated[int, Field(ge=0), Source("paper, section III")] = 10


class DistillTable(_TrainTable):
    """``[distill]``: the budget of each distillation trial."""

    epochs: Annotated[Size, Source("default: the 30 epochs of section V-A (lost for pairs)")] = 30
    patience: Annotated[int, Field(ge=0), Source("default: as in pre-training (lost)")] = 10


class TuneTable(_Table):
    """``[tune]``: the search over temperature and alpha of every pair."""

    temperatures: Annotated[
        tuple[Temperature, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, Table I"),
    ] = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
    alphas: Annotated[
        tuple[Alpha, ...], Field(min_length=1), AfterValidator(_distinct), Source("paper, Table I")
    ] = (0.1, 0.25, 0.5, 0.75, 0.9)
    sampler: Annotated[
        Literal["grid", "sequential", "tpe", "random", "gp", "warm"],
        Source("paper, section III"),
    ] = "grid"
    budget: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None,
        Source("default: trials per pair, 20 for tpe, random and gp, 8 for warm; unused otherwise"),
    ] = None
    prior: Annotated[
        Annotated[
            tuple[Annotated[str, AfterValidator(_campaign_name)], ...],
            Field(min_length=1),
            AfterValidator(_distinct),
        ]
        | None,
        Source("default: what the full grids of studies/fashion-advice.toml taught; for warm only"),
    ] = None
    warm_trials: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None,
        Source("default: 8 of the budget at points that were learnt; for warm only"),
    ] = None
    warm_then: Annotated[
        Literal["tpe", "gp"] | None,
        Source("default: tpe spends the rest of the budget; for warm only"),
    ] = None
    vanilla_temperature: Annotated[Temperature, Source(PROXYFL)] = 1.0
    vanilla_alpha: Annotated[Alpha, Source(PROXYFL)] = 0.5
    t2_scale: Annotated[bool, Source("default: Hinton et al. 2015 (lost)")] = True

    @field_validator("budget")
    @classmethod
    def _budget_applies(cls, value: int | None, info: ValidationInfo) -> int | None:
        sampler = info.data.get("sampler")
        if value is not None and sampler in ("grid", "sequential"):
            raise ValueError(
                f"sampler '{sampler}' decides its own number of trials; "
                "a budget goes with tpe, random, gp or warm"
            )
        return value

    @field_validator("prior", "warm_trials", "warm_then")
    @classmethod
    def _warm_only(cls, value: object, info: ValidationInfo) -> object:
        sampler = info.data.get("sampler")
        if value is not None and sampler not in (None, "warm"):
            raise ValueError(f"sampler '{sampler}' learns from no other pairs; this goes with warm")
        return value


class TransferTable(_Table):
    """``[transfer]``: public transfer sets, taken out before the partitions."""

    public_unlabeled_small: PublicSize = 500
    public_unlabeled_large: PublicSize = 5000
    public_labeled: PublicSize = 500


class CompareTable(_Table):
    """``[compare]``: methods with fixed settings, and where they are tried."""

    methods: Annotated[
        tuple[MethodName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section IV"),
    ] = METHODS
    transfer_sets: Annotated[
        tuple[TransferName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section IV"),
    ] = TRANSFER_SETS
    self_teacher_weight: Annotated[
        float, Field(ge=0, lt=1), Source("default: equal shares (lost)")
    ] = 0.5
    dml_weight: Annotated[Alpha | None, Source("default: plain sum, Zhang et al. 2018 (lost)")] = (
        None
    )


class CombineTable(_Table):
    """``[combine]``: all participants distilled into one model."""

    starts: Annotated[
        tuple[StartName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section V-A"),
    ] = STARTS
    transfer_sets: Annotated[
        tuple[TransferName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section V-A"),
    ] = ("public_unlabeled_large", "student")
    weightings: Annotated[
        tuple[WeightingName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section V-A; the formula of better_share: kdopt (Eq. 6 is lost)"),
    ] = ("equal", "better_share")
    weight_terms: Annotated[Literal["class", "image"], Source("default: kdopt (Eq. 7 is lost)")] = (
        "class"
    )


class FederateTable(_Table):
    """``[federate]``: federated averaging from random and from consolidated weights."""

    initial_models: Annotated[
        tuple[InitialModelName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section V-B"),
    ] = INITIAL_MODELS
    rounds: Annotated[int, Field(ge=1, le=100_000), Source("paper, section V")] = 100
    local_epochs: Annotated[Size, Source("paper, section V")] = 2
    learning_rate: Annotated[Positive, Source("paper, section V")] = 0.01
    weight_decay: Annotated[
        float, Field(ge=0, le=1), Source("default: Caldarola et al.'s published code (lost)")
    ] = 4e-4
    batch_size: Annotated[int, Field(ge=2), Source("default: as in pre-training (lost)")] = 32
    start: Annotated[StartName, Source("paper, section V-A: the best student is best")] = "best"
    transfer_set: Annotated[TransferName, Source("paper, section V-A")] = "student"
    weighting: Annotated[
        WeightingName, Source("paper, section V-A; its formula: kdopt (Eq. 6 is lost)")
    ] = "better_share"
    save_every: Annotated[Size, Source(KDOPT)] = 5
    targets: Annotated[
        tuple[Share, ...], AfterValidator(_distinct), Source("default: kdopt (lost)")
    ] = (0.5, 0.6, 0.7)
    relative_targets: Annotated[
        tuple[Share, ...], AfterValidator(_distinct), Source("default: kdopt (lost)")
    ] = (0.9, 0.95, 1.0)


class _PartitionTable(_Table):
    min_size: Annotated[
        Annotated[int, Field(ge=2)] | None, Source("default: the pre-training batch size")
    ] = None
    max_draws: Annotated[Size, Source(KDOPT)] = 1000


class UniformTable(_PartitionTable):
    """``[partition.uniform]``."""


class QuantitySkewTable(_PartitionTable):
    """``[partition.quantity_skew]``."""

    concentration: Annotated[Positive, Source("paper, section III")] = 0.5


class SpecializedTable(_PartitionTable):
    """``[partition.specialized]``."""

    dominant_fraction: Annotated[float, Field(gt=0, lt=1), Source("paper, section III")] = 0.91


class LabelChunksTable(_PartitionTable):
    """``[partition.label_chunks]``."""

    chunk_size: Annotated[Size, Source("paper, section III")] = 100


class LabelDirichletTable(_PartitionTable):
    """``[partition.label_dirichlet]``."""

    concentration: Annotated[Concentrations, Source("paper, section III")] = (0.1, 0.5)


class PartitionTables(_Table):
    """``[partition.NAME]``: settings of the partitions, where they differ from the defaults."""

    uniform: UniformTable = UniformTable()
    quantity_skew: QuantitySkewTable = QuantitySkewTable()
    specialized: SpecializedTable = SpecializedTable()
    label_chunks: LabelChunksTable = LabelChunksTable()
    label_dirichlet: LabelDirichletTable = LabelDirichletTable()


PartitionName = Literal[
    "uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet"
]


class CampaignTable(_Table):
    """A whole campaign file."""

    name: Annotated[str, AfterValidator(_campaign_name)]
    seed: Annotated[int, Field(ge=0, lt=2**63), Source(KDOPT)] = 0
    participants: Annotated[int, Field(ge=2, le=1000), Source("paper, section III")] = 10
    replicates: Annotated[
        int, Field(ge=1, le=1000), Source("default: 1 (the paper reports no repeats)")
    ] = 1
    precision: Annotated[Literal["auto", "fp32", "bf16"], Source(KDOPT)] = "auto"
    select_on: Annotated[
        Literal["validation", "test"], Source("default: kdopt selects honestly (the paper: lost)")
    ] = "validation"
    model: Annotated[str, Field(min_length=1), Source("paper, section III")] = "resnet18"
    partitions: Annotated[
        tuple[PartitionName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section III"),
    ] = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
    stages: Annotated[
        tuple[Literal["tune", "compare", "combine", "federate"], ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("default: section IV of the paper"),
    ] = ("tune", "compare")
    data: DataTable
    transfer: TransferTable = TransferTable()
    compare: CompareTable = CompareTable()
    combine: CombineTable = CombineTable()
    federate: FederateTable = FederateTable()
    pretrain: PretrainTable = PretrainTable()
    distill: DistillTable = DistillTable()
    tune: TuneTable = TuneTable()
    partition: PartitionTables = PartitionTables()
