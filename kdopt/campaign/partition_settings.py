"""The settings of the partitions: how images are dealt to participants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from annotated_types import Interval, Len

from kdopt.campaign.fields import KDOPT, PAPER_III, Concentration, Settings, Size, Source

DrawnPartitionName = Literal[
    "uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet"
]
PartitionName = Literal[DrawnPartitionName, "own"]
PARTITIONS: tuple[DrawnPartitionName, ...] = get_args(DrawnPartitionName)
OWN: PartitionName = "own"
"""The partition in which participants have the images that they bring along."""


@dataclass(frozen=True)
class PartitionTable(Settings):
    """What every ``[partition.NAME]`` may say.

    Attributes:
        min_size: Fewest images a participant may get.
        max_draws: Draws before kdopt gives up with an error.
    """

    min_size: Annotated[
        int,
        Interval(ge=2, le=1_000_000_000),
        Source("default: the pre-training batch size", depends=True),
    ] = 32
    max_draws: Annotated[int, Interval(ge=1, le=100_000), KDOPT] = 1000


@dataclass(frozen=True)
class QuantitySkewTable(PartitionTable):
    """``[partition.quantity_skew]``.

    Attributes:
        concentration: Dirichlet concentration of the participants' sizes.
    """

    concentration: Annotated[Concentration, PAPER_III] = 0.5


@dataclass(frozen=True)
class SpecializedTable(PartitionTable):
    """``[partition.specialized]``.

    Attributes:
        dominant_fraction: Fraction of a participant's images that are of its dominant class.
    """

    dominant_fraction: Annotated[float, Interval(gt=0, lt=1), PAPER_III] = 0.91


@dataclass(frozen=True)
class LabelChunksTable(PartitionTable):
    """``[partition.label_chunks]``.

    Attributes:
        chunk_size: Fewest images of a class in a chunk.
        classes: Classes of each participant. Left out: a random number of each.
        cuts: How the holders of a class share it: at ``random`` cuts, or ``even``.
    """

    chunk_size: Annotated[Size, PAPER_III] = 100
    classes: Annotated[Size | None, Source("default: a random number (paper, section III)")] = None
    cuts: Annotated[Literal["random", "even"], Source("default: kdopt (lost)")] = "random"


@dataclass(frozen=True)
class LabelDirichletTable(PartitionTable):
    """``[partition.label_dirichlet]``.

    Attributes:
        concentration: Dirichlet concentrations; the list repeats over the participants.
    """

    concentration: Annotated[tuple[Concentration, ...], Len(1), PAPER_III] = (0.1, 0.5)


@dataclass(frozen=True)
class PartitionTables(Settings):
    """``[partition.NAME]``: settings of the partitions, where they differ from the defaults."""

    uniform: PartitionTable = PartitionTable()
    quantity_skew: QuantitySkewTable = QuantitySkewTable()
    specialized: SpecializedTable = SpecializedTable()
    label_chunks: LabelChunksTable = LabelChunksTable()
    label_dirichlet: LabelDirichletTable = LabelDirichletTable()


@dataclass(frozen=True)
class PartitionSettings(Settings):
    """One partition as it is kept: its name, and the settings of its table of the file.

    What only other partitions use keeps its default. ``quantity_skew`` has one concentration.

    Attributes:
        name: Part of the names of its studies, and so of all its seeds: ``uniform``, and
            ``uniform-2`` for its second draw.
        family: Which of the five ways of partitioning; empty where that is the name.
    """

    name: str
    concentration: tuple[float, ...] = (0.5,)
    dominant_fraction: float = 0.91
    chunk_size: int = 100
    min_size: int = 32
    max_draws: int = 1000
    family: str = ""
    classes: int | None = None
    cuts: str = "random"

    @property
    def kind(self) -> str:
        """Which of the five ways of partitioning; its draws share it."""
        return self.family or self.name
