"""The settings of a campaign, each declared once: what a campaign file says and what is kept.

Each field says its type, its bounds, the source of its default and the default; its meaning stands
in the docstring of its class. ``kdopt.campaign.spec`` reads files with these classes, and the
reference of the campaign file is made from them. So a new setting is one field, and its line of
documentation. What is kept differs from the file in one point: a file says ``partitions`` by name
and their settings in ``[partition.NAME]``; a :class:`Campaign` has :class:`PartitionSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, cast

from annotated_types import Interval, Len

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.fields import (
    DISTINCT,
    KDOPT,
    MORE_WORK,
    NAME_RULE,
    PAPER_III,
    PROXYFL,
    BatchSize,
    Count,
    CountOrZero,
    Fraction,
    NotInFiles,
    Positive,
    Rule,
    Settings,
    SizeOrZero,
    Source,
)
from kdopt.campaign.names import StageName
from kdopt.campaign.participants import LOGITS, MODEL_RULE, Architecture, ParticipantSettings
from kdopt.campaign.partition_settings import (
    OWN,
    PARTITIONS,
    PartitionName,
    PartitionSettings,
    PartitionTables,
)
from kdopt.campaign.plain import read_plain
from kdopt.campaign.shapes import MODELS_OF
from kdopt.campaign.stage_settings import (
    CombineSettings,
    CompareSettings,
    FederateSettings,
    TransferName,
    TuneSettings,
)

LaterStageName = Literal["tune", "compare", "combine", "federate"]
"""The stages that a campaign chooses; pre-training is part of every campaign."""

OTHER_THAN_TRAINED = Rule("1 is the trained student itself: leave it out", lambda v: v != 1)
SelectOn = Literal["validation", "test"]
LinePosition = Annotated[float, Interval(gt=0, le=2), OTHER_THAN_TRAINED]
OWN_MODELS = tuple(dict.fromkeys(name for names in MODELS_OF.values() for name in names))
"""Models that kdopt builds itself; every other name is looked up in torchvision."""


@dataclass(frozen=True)
class TransferSettings(Settings):
    """``[transfer]``: public transfer sets, held out before partitioning.

    They are nested: each is the first part of one random order. So the small and the large set
    differ in size only, and the labeled one differs from the small one in its labels only.

    Attributes:
        public_unlabeled_small: Number of images, 0 for no such set.
        public_unlabeled_large: Number of images, 0 for no such set.
        public_labeled: Number of images, 0 for no such set.
        public_data: Folder of public images, in any folders within it, or a file of arrays, for the
            sets without labels: then none of the training images is held out for them. Where it is
            does not change what a campaign means; its images do.
    """

    public_unlabeled_small: Annotated[SizeOrZero, Source("paper, sections IV and V")] = 500
    public_unlabeled_large: Annotated[SizeOrZero, Source("paper, sections IV and V")] = 5000
    public_labeled: Annotated[SizeOrZero, Source("paper, sections IV and V")] = 500
    public_data: Annotated[str | None, Source("default: training images are held out")] = None

    @property
    def n_public(self) -> int:
        """Number of images that no participant gets."""
        return max(self.public_unlabeled_small, self.public_unlabeled_large, self.public_labeled)

    def size(self, transfer_set: TransferName) -> int:
        """Number of images of a public set."""
        return int(getattr(self, transfer_set))


NO_PUBLIC_SETS = TransferSettings(0, 0, 0)
"""What is kept of ``[transfer]`` where no stage uses a public set: no image is held out then."""


@dataclass(frozen=True)
class TrainSettings(Settings):
    """One training budget: pre-training, distillation, or a participant's part of a round.

    Attributes:
        epochs: Most epochs.
        patience: Epochs without a better ``monitor`` before training stops. 0 trains all
            epochs, keeps the last weights and evaluates once.
        learning_rate: The optimizer's step size.
        weight_decay: The optimizer's L2 penalty.
        batch_size: Images per step, at least 2: batch norm needs two.
        monitor: What early stopping watches, and by which the kept epoch is chosen: the accuracy
            on validation, or the cross-entropy, which fewer images can tell apart.
        optimizer: ``adam``, or ``sgd`` without momentum (paper, sections III and V).
    """

    listed_last = ("epochs", "patience")

    epochs: Annotated[Count, PAPER_III] = 100
    patience: Annotated[CountOrZero, PAPER_III] = 10
    learning_rate: Annotated[Positive, PROXYFL] = 1e-3
    weight_decay: Annotated[Fraction, PROXYFL] = 1e-4
    batch_size: Annotated[BatchSize, PAPER_III] = 32
    optimizer: Annotated[Literal["adam", "sgd"], NotInFiles()] = "adam"
    monitor: Annotated[
        Literal["accuracy", "loss"], Source("paper, section III: validation accuracy")
    ] = "accuracy"


@dataclass(frozen=True)
class DistillSettings(TrainSettings):
    """``[distill]``: the budget of each distillation trial."""

    epochs: Annotated[Count, Source("default: the 30 epochs of section V-A (lost for pairs)")] = 30
    patience: Annotated[CountOrZero, Source("default: as in pre-training (lost)")] = 10


@dataclass(frozen=True, kw_only=True)
class Campaign(Settings):
    """A whole experiment: everything that decides what its trials compute.

    Attributes:
        name: First part of the name of every study.
        seed: All other seeds are hashed from it and from names.
        participants: Number of participants.
        replicates: How often each trial is repeated, with other seeds.
        draws: How often everything is repeated: partition, pre-training and trials. Replicates
            share the partition and the pre-trained models, so they show the noise of one pair's
            trials; draws show how far a conclusion depends on the participants.
        precision: ``auto`` is bf16 where the device computes in it natively, else fp32.
        deterministic: On CUDA: the same trial gives the same bits again on the same kind of GPU.
            On a CPU it always does.
        select_on: The set on which the best trial of a pair is chosen.
        student_line: Every distilled student, and every student trained on without a teacher, is
            also tried at these places on the straight line from the untouched student's weights (0)
            through its own (1), and beyond; the best on validation is kept. Each place costs an
            evaluation of the validation set and no training (Wortsman et al., 2022).
        batch_norm: Where the batch-norm statistics of these students are from, with a line and
            without: ``running``, as training leaves them, or ``measured`` again on the images of
            training (Izmailov et al., 2018). Each place then costs one more pass over these. With
            ``both`` two students are tried at each place, and the best on validation is kept; that
            costs an evaluation more.
        learning_curves: Of which distilled students, and students trained on without a teacher,
            what is monitored on validation is recorded after every epoch: ``free`` of those that
            have a patience, where it is measured anyway; ``all`` also with ``patience = 0``, where
            it costs an evaluation of validation per epoch; or ``none``.
        keep: ``best`` keeps the best student of each pair, and of each student trained on without
            a teacher, as trials finish; ``kdopt distill`` then need not train it again.
        initial_weights: Whether participants start pre-training from random weights of their
            ``own``, or all from the same (``shared``), as in federated averaging.
        model: For images ``cnn``, ``mlp``, ``resnet18``, a classifier of torchvision by its name or
            as ``torchvision:NAME``, or one of timm as ``timm:NAME``; for feature vectors ``mlp``;
            for token ids ``embedding_bag`` or ``text_cnn``; or a model of a plugin. A list is
            ``models``.
        models: Models of the participants, who take them in turn. Left out: all have ``model``.
        participant: Participants by name, with what they bring along.
        partitions: The partitions of the training images.
        stages: What is done after pre-training.
        data: The images.
        transfer: The public transfer sets.
        compare: Stage ``compare``.
        combine: Stage ``combine``.
        federate: Stage ``federate``.
        control: Where pairs are distilled, also train every student on without a teacher, for
            the budget of ``[distill]``: what a gain is compared with (stage ``control``).
        pretrain: The budget of each participant's own training.
        distill: The budget of each distillation trial.
        tune: Stage ``tune``.
    """

    listed_last = (
        "participant",
        "data",
        "transfer",
        "compare",
        "combine",
        "federate",
        "pretrain",
        "distill",
        "tune",
        "partition",
    )

    name: Annotated[str, NAME_RULE]
    seed: Annotated[int, Interval(ge=0, lt=2**63), KDOPT] = 0
    participants: Annotated[int, Interval(ge=2, le=1000), PAPER_III] = 10
    replicates: Annotated[
        int, Interval(ge=1, le=1000), Source("default: 1 (the paper reports no repeats)")
    ] = 1
    precision: Annotated[Literal["auto", "fp32", "bf16"], KDOPT] = "auto"
    select_on: Annotated[SelectOn, Source("default: kdopt selects honestly (the paper: lost)")] = (
        "validation"
    )
    model: Annotated[str, MODEL_RULE, PAPER_III] = "resnet18"
    models: Annotated[
        tuple[Annotated[str, MODEL_RULE], ...], Source("default: all have the same (paper)")
    ] = ()
    participant: Annotated[
        tuple[ParticipantSettings, ...], Source("default: numbers instead of names")
    ] = ()
    data: DataSettings
    partitions: tuple[PartitionSettings, ...]
    pretrain: TrainSettings = TrainSettings()
    distill: TrainSettings
    tune: TuneSettings = field(default_factory=TuneSettings)
    stages: Annotated[
        tuple[LaterStageName, ...],
        Len(1),
        DISTINCT,
        Source("default: section IV of the paper"),
    ] = ("tune", "compare")
    transfer: TransferSettings = TransferSettings()
    compare: CompareSettings = field(default_factory=CompareSettings)
    combine: CombineSettings = field(default_factory=CombineSettings)
    federate: FederateSettings = field(default_factory=FederateSettings)
    control: Annotated[bool, KDOPT, MORE_WORK] = True
    initial_weights: Annotated[Literal["own", "shared"], Source("default: each its own (lost)")] = (
        "own"
    )
    draws: Annotated[
        int, Interval(ge=1, le=100), Source("default: 1 (the paper reports no repeats)"), MORE_WORK
    ] = 1
    deterministic: Annotated[bool, KDOPT] = True
    student_line: Annotated[
        tuple[LinePosition, ...], Len(0, 16), DISTINCT, Source("default: none, as in the paper")
    ] = ()
    batch_norm: Annotated[
        Literal["running", "measured", "both"], Source("default: as training leaves them")
    ] = "running"
    learning_curves: Annotated[Literal["free", "all", "none"], KDOPT] = "free"
    keep: Annotated[Literal["none", "best"], KDOPT, MORE_WORK] = "none"

    def records_curve(self, settings: TrainSettings) -> bool:
        """Whether trainings with these settings record a learning curve."""
        # With a patience, validation is measured after every epoch anyway.
        wanted = self.learning_curves
        return wanted == "all" or (wanted == "free" and settings.patience > 0)

    def get_partition(self, name: str) -> PartitionSettings:
        """The settings of the partition of that name; ``KeyError`` if the campaign lacks it."""
        return {p.name: p for p in self.partitions}[name]

    def get_family(self, partition: str) -> str:
        """Which of the five ways a partition is drawn by; its name if the campaign lacks it."""
        return next((p.kind for p in self.partitions if p.name == partition), partition)

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Campaign:
        """Read what ``dataclasses.asdict`` wrote, as the store keeps it.

        Stores made before a setting existed lack it: its default stands for it. Settings that
        only a newer version has are passed over.

        Raises:
            PlainValueError: A value is not what its setting allows.
        """
        return cast("Campaign", read_plain(cls, record, "campaign"))

    @property
    def distils_pairs(self) -> bool:
        """Whether any stage distils pairs of teacher and student."""
        return bool({"tune", "compare"} & set(self.stages))

    @property
    def runs_control(self) -> bool:
        """Whether students are trained on without a teacher, too (stage ``control``)."""
        return self.control and self.distils_pairs

    @property
    def all_stages(self) -> tuple[StageName, ...]:
        """Every stage that runs, in order."""
        return ("pretrain", *(("control",) if self.runs_control else ()), *self.stages)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered (teacher, student) pairs without self-transfer (paper, section III)."""
        return [(t, s) for t in range(self.participants) for s in self.learners if t != s]

    @property
    def learners(self) -> list[int]:
        """Participants that have images: the others can only teach."""
        everyone = range(self.participants)
        if any(p.kind == OWN for p in self.partitions):
            return [i for i in everyone if self.participant[i].data is not None]
        return list(everyone)

    def get_architecture(self, participant: int) -> Architecture:
        """The model of a participant; of one that is given by its logits, their classes."""
        models = self.models or (self.model,)
        model = models[participant % len(models)]
        if not self.participant:
            return Architecture(model)
        own = self.participant[participant]
        if own.logits is not None:
            return Architecture(LOGITS, own.classes)
        return Architecture(
            own.model or model, own.classes, own.image_size, own.channels, own.mean, own.std
        )

    def name_participant(self, participant: int) -> str:
        """What people call a participant: its name, or else its number."""
        if participant < len(self.participant):
            return self.participant[participant].name
        return str(participant)

    def describe_pair(self, teacher: int, student: int) -> str:
        """Who teaches whom, such as ``berlin teaches paris``; empty where they have no names."""
        if not self.participant:
            return ""
        return f"{self.name_participant(teacher)} teaches {self.name_participant(student)}"

    def is_given_by_logits(self, participant: int) -> bool:
        """Whether a participant has no model: what it answers is in a file."""
        return bool(self.participant) and self.participant[participant].logits is not None

    @property
    def architectures(self) -> dict[Architecture, list[int]]:
        """Every model that occurs, and who has it; who is given by logits has none."""
        found: dict[Architecture, list[int]] = {}
        for participant in range(self.participants):
            if not self.is_given_by_logits(participant):
                found.setdefault(self.get_architecture(participant), []).append(participant)
        return found


@dataclass(frozen=True, kw_only=True)
class CampaignFile(Campaign):
    """A campaign as its file says it: partitions by name, their settings in tables."""

    partitions: Annotated[tuple[PartitionName, ...], Len(1), DISTINCT, PAPER_III] = PARTITIONS  # type: ignore[assignment]
    distill: DistillSettings = DistillSettings()
    partition: PartitionTables = field(default_factory=PartitionTables)
