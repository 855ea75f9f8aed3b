"""The plain values that every layer shares: a campaign, its studies, a trial's cell and outcome.

Nothing here knows a library, a file or a database. ``spec.py`` makes a :class:`Campaign` from a
TOML file, the stages turn it into :class:`StudyPlan` values, the store records them as Optuna
studies, and a worker turns one cell into one :class:`Outcome`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdopt.campaign.names import StageName
from kdopt.campaign.stage_settings import (
    CombineSettings,
    CompareSettings,
    FederateSettings,
    TransferName,
    TuneSettings,
    combine_from_json,
    federate_from_json,
)

SelectOn = Literal["validation", "test"]

OWN_MODELS = ("cnn", "mlp", "resnet18")
"""Models that kdopt builds itself; every other name is looked up in torchvision."""


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how many of them.

    Attributes:
        name: A data set name of ``kdopt.data.datasets``.
        root: Folder of the files; ``None`` looks in the usual places. Where the files lie is not
            part of what a campaign means (see :func:`kdopt.campaign.names.fingerprint`).
        train_size: Images drawn (stratified) from the training split; ``None`` takes all.
        test_size: Images drawn (stratified) from the test split; ``None`` takes all.
        validation_fraction: Share of the training images held out for selection, in (0, 0.5].
        checksum: ``"published"`` compares files with the published checksums where there are
            any; ``"none"`` checks shapes only, for files the user made.
        drop_cifar: CINIC-10 only: leave out the images that come from CIFAR-10.
        image_size: ``folder`` and ``cinic10`` only: side in pixels that images must have or are
            resized to.
        download: Fetch the files (through torchvision) when they are not found.
    """

    name: str
    root: str | None = None
    train_size: int | None = None
    test_size: int | None = None
    validation_fraction: float = 0.1
    checksum: Literal["published", "none"] = "published"
    drop_cifar: bool = False
    image_size: int = 32
    download: bool = False


@dataclass(frozen=True)
class PartitionSettings:
    """How the training images are shared out among the participants (paper, section III).

    Attributes:
        name: ``uniform``, ``quantity_skew``, ``specialized``, ``label_chunks`` or
            ``label_dirichlet``.
        concentration: Dirichlet concentration(s) > 0. One number for ``quantity_skew``; for
            ``label_dirichlet`` a list that repeats over the participants.
        dominant_fraction: ``specialized`` only: share of the dominant class, in (0, 1).
        chunk_size: ``label_chunks`` only: least number of images of a class in a chunk.
        min_size: Least number of images a participant may get.
        max_draws: Redraws before the partition is given up with an error.
    """

    name: str
    concentration: tuple[float, ...] = (0.5,)
    dominant_fraction: float = 0.91
    chunk_size: int = 100
    min_size: int = 32
    max_draws: int = 1000


@dataclass(frozen=True)
class TrainSettings:
    """One training budget (pre-training, distillation, or a participant's part of a round).

    Attributes:
        epochs: Most epochs, >= 1.
        patience: Epochs without a better validation accuracy before training stops; 0 trains
            all epochs, keeps the last weights and evaluates once.
        learning_rate: The optimizer's step size, > 0.
        weight_decay: The optimizer's L2 penalty, >= 0.
        batch_size: Images per step, >= 2 (batch norm needs two).
        optimizer: ``adam``, or ``sgd`` without momentum (paper, sections III and V).
    """

    epochs: int
    patience: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    optimizer: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class TransferSettings:
    """Public transfer sets, taken out of the training images before these are shared out.

    They are nested: each is the first so many of one random order, so the small and the large set
    differ in size only, and the labeled one from the small one in its labels only.

    Attributes:
        public_unlabeled_small: Images, 0 for none.
        public_unlabeled_large: Images, 0 for none.
        public_labeled: Images, 0 for none.
    """

    public_unlabeled_small: int = 0
    public_unlabeled_large: int = 0
    public_labeled: int = 0

    @property
    def n_public(self) -> int:
        """Images that no participant gets."""
        return max(self.public_unlabeled_small, self.public_unlabeled_large, self.public_labeled)

    def size(self, transfer_set: TransferName) -> int:
        """Images of a public set."""
        return int(getattr(self, transfer_set))


@dataclass(frozen=True)
class Campaign:
    """A whole experiment: everything that decides what its trials compute.

    Attributes:
        name: Letters, digits, ``-``, ``_``, ``.``; first part of every study name.
        seed: Campaign seed; every other seed is hashed from it and from names.
        participants: Number of participants, >= 2.
        replicates: Times each cell is run, with other seeds.
        precision: ``fp32``, ``bf16`` or ``auto`` (bf16 where the device computes in it natively).
        select_on: The set on which a pair's best cell is chosen.
        model: A model name of ``kdopt.train.models``.
        data: The images.
        partitions: The ways of sharing them out.
        pretrain: Budget of each participant's own training.
        distill: Budget of each distillation trial.
        tune: The search of each pair.
        stages: What is done after pre-training: any of ``tune``, ``compare``, ``combine``,
            ``federate``.
        transfer: Public transfer sets; all empty where nothing uses them.
        compare: Methods and transfer sets of the ``compare`` stage.
        combine: What the ``combine`` stage tries.
        federate: The ``federate`` stage.
    """

    name: str
    seed: int
    participants: int
    replicates: int
    precision: Literal["auto", "fp32", "bf16"]
    select_on: SelectOn
    model: str
    data: DataSettings
    partitions: tuple[PartitionSettings, ...]
    pretrain: TrainSettings
    distill: TrainSettings
    tune: TuneSettings
    stages: tuple[StageName, ...] = ("tune",)
    transfer: TransferSettings = TransferSettings()
    compare: CompareSettings = field(default_factory=CompareSettings)
    combine: CombineSettings = field(default_factory=CombineSettings)
    federate: FederateSettings = field(default_factory=FederateSettings)

    def partition(self, name: str) -> PartitionSettings:
        """The settings of the partition of that name; ``KeyError`` if it is not one of ours."""
        return {p.name: p for p in self.partitions}[name]

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Campaign:
        """Read what ``dataclasses.asdict`` wrote, as the store keeps it."""
        values = dict(record)
        values["data"] = DataSettings(**values["data"])
        values["partitions"] = tuple(
            PartitionSettings(**{**p, "concentration": tuple(p["concentration"])})
            for p in values["partitions"]
        )
        for key in ("pretrain", "distill"):
            values[key] = TrainSettings(**values[key])
        tune = dict(values["tune"])
        for key in ("temperatures", "alphas", "prior"):
            tune[key] = tuple(tune.get(key, ()))
        values["tune"] = TuneSettings(**tune)
        values["stages"] = tuple(values["stages"])
        values["transfer"] = TransferSettings(**values["transfer"])
        compare = dict(values["compare"])
        for key in ("methods", "transfer_sets"):
            compare[key] = tuple(compare[key])
        values["compare"] = CompareSettings(**compare)
        # Stores made before these stages existed lack their settings.
        values["combine"] = combine_from_json(values.get("combine", {}))
        values["federate"] = federate_from_json(values.get("federate", {}))
        return cls(**values)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered (teacher, student) pairs without self-transfer (paper, section III)."""
        everyone = range(self.participants)
        return [(t, s) for t in everyone for s in everyone if t != s]
