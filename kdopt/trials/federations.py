"""What rounds take further, be it one global model or a model of each participant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from kdopt.campaign.federated_algorithms import AlgorithmName
from kdopt.campaign.names import seed_for
from kdopt.campaign.studies import Params
from kdopt.outcome import Scores
from kdopt.train.engine import Images, seeded
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs
from kdopt.trials.round_training import RoundTraining


class Federation(ABC):
    """The models of one trial, which rounds take further.

    Args:
        context: The campaign's images and models.
        partition: The partition.
        algorithm: What runs; one of the class's own.
        params: Start and replicate.
        inputs: The pre-training outcome of every participant, for starts that are not random.

    Attributes:
        participant: The student that a consolidated model starts from.
    """

    def __init__(
        self,
        context: Context,
        partition: str,
        algorithm: AlgorithmName,
        params: Params,
        inputs: Inputs,
    ) -> None:
        self._context, self._partition, self._algorithm = context, partition, algorithm
        self._start, self._inputs = params["initial_model"], inputs
        self._training = RoundTraining(context, partition, int(params["replicate"]))
        self.participant: int | None = None

    @abstractmethod
    def begin(self) -> None:
        """Make what the rounds start from."""

    @abstractmethod
    def run_round(self, number: int) -> None:
        """Take the models through a round; numbers count from 1."""

    @abstractmethod
    def score(self) -> tuple[Scores, Scores]:
        """On validation and on test; several models as their mean."""

    @abstractmethod
    def pack(self) -> dict[str, Tensor]:
        """All weights by name, to resume from."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of :meth:`pack`.

        Raises:
            ArtifactError: They are not this trial's.
        """

    @abstractmethod
    def save(self) -> str:
        """Keep the models, and return the sha256 of their file."""

    @abstractmethod
    def count_round_bytes(self, rounds: int) -> int:
        """What is sent in a round, every transfer counted once; the mean of so many rounds."""

    @abstractmethod
    def count_start_bytes(self) -> int:
        """What was sent to make what the rounds start from."""

    def _draw_model(self, *participant: int) -> nn.Module:
        """A model with random weights: the global one, or a participant's."""
        where = (self._partition, "federate", "initial", self._training.replicate)
        seed = seed_for(self._context.campaign.seed, *where, *participant)
        with seeded(seed, self._context.engine.device):
            return self._context.new_model(*participant)

    def _get_public(self) -> Images:
        """The public set that models are asked about."""
        name = self._context.campaign.federate.public_set
        return self._context.get_transfer_set(self._partition, 0, name)


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
