"""What rounds take further, be it one global model or a model of each participant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from torch import Tensor

from kdopt.outcome import Scores


class Federation(Protocol):
    """The models of one trial, which rounds take further.

    Attributes:
        participant: The student that a consolidated model starts from.
    """

    participant: int | None

    def begin(self) -> None:
        """Make what the rounds start from."""
        ...

    def run_round(self, number: int) -> None:
        """Take the models through a round; numbers count from 1."""
        ...

    def score(self) -> tuple[Scores, Scores]:
        """On validation and on test; several models as their mean."""
        ...

    def pack(self) -> dict[str, Tensor]:
        """All weights by name, to resume from."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of :meth:`pack`.

        Raises:
            ArtifactError: They are not this trial's.
        """
        ...

    def save(self) -> str:
        """Keep the models, and return the sha256 of their file."""
        ...

    def count_round_bytes(self, rounds: int) -> int:
        """What is sent in a round, every transfer counted once; the mean of so many rounds."""
        ...

    def count_start_bytes(self) -> int:
        """What was sent to make what the rounds start from."""
        ...


def average_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of several models' scores on the same images; which images were right is not kept.

    Args:
        scores: One or more.
    """

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    per_class = [
        None if None in column else mean(cast("tuple[float, ...]", column))
        for column in zip(*(s.per_class for s in scores), strict=True)
    ]
    return Scores(
        mean([s.accuracy for s in scores]), tuple(per_class), mean([s.loss for s in scores])
    )


def add_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, their names after a model's."""
    return {f"{prefix}.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
