"""What rounds take further, be it one global model or a model of each participant.

And the trainings within a round: their seeds and budgets, and who diverged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.federated_algorithms import AlgorithmName, FedDfSettings, FedMdSettings
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.studies import Params
from kdopt.outcome import Scores
from kdopt.train.engine import Images, seeded
from kdopt.train.fit import DivergedError, fit
from kdopt.train.steps import LossFn
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs


def make_public_budget(settings: FedDfSettings | FedMdSettings) -> TrainSettings:
    """The budget of an algorithm's training on the public set, of which the last weights count."""
    return TrainSettings(
        epochs=settings.epochs,
        patience=0,
        learning_rate=settings.learning_rate,
        weight_decay=0.0,
        batch_size=settings.batch_size,
    )


class RoundTraining:
    """What one trial's rounds train with.

    A training's seed is hashed from partition, replicate, round and who trains, and no optimizer
    carries anything from one training to the next. The algorithm is not part of it: all see the
    same batches of a participant.

    Args:
        context: The campaign's images and models.
        partition: The partition.
        replicate: The replicate.
    """

    def __init__(self, context: Context, partition: str, replicate: int) -> None:
        self._context, self.partition, self.replicate = context, partition, replicate
        settings = context.campaign.federate
        self.local = TrainSettings(
            epochs=settings.local_epochs,
            patience=0,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            batch_size=settings.batch_size,
            optimizer="sgd",
        )

    def seed(self, *where: str | int) -> int:
        """The seed of something in a round, which comes first."""
        campaign = self._context.campaign
        return seed_for(campaign.seed, self.partition, "federate", self.replicate, "round", *where)

    def train_locally(
        self, number: int, participant: int, model: nn.Module, images: Images | None = None
    ) -> None:
        """One participant's local epochs in a round, on its own images."""
        share = images or self._context.get_share(self.partition, participant)
        self.train(
            (number, participant),
            f"participant {participant}",
            model,
            share,
            lambda i, logits: functional.cross_entropy(logits.float(), share.labels[i]),
            self.local,
        )

    def train(
        self,
        where: tuple[str | int, ...],
        who: str,
        model: nn.Module,
        images: Images,
        loss: LossFn,
        settings: TrainSettings,
    ) -> None:
        """Train a model in place for all epochs.

        Args:
            where: The round, and what its seed is hashed from besides.
            who: Who trains, for the message of a divergence.
            model: The model.
            images: The training set.
            loss: What is minimised.
            settings: Budget, without patience.
        """
        number, engine = int(where[0]), self._context.engine
        with seeded(self.seed(*where), engine.device) as generator:
            try:
                fit(
                    model,
                    images,
                    loss,
                    settings,
                    engine,
                    generator,
                    monitor=_monitor_nothing,
                    steps=self._context.steps,
                    first_epoch=(number - 1) * settings.epochs + 1,
                )
            except DivergedError as error:
                raise DivergedError(f"{who}: {error}") from error


def _monitor_nothing(_model: nn.Module) -> float:
    raise AssertionError("local training has no patience, so nothing is monitored")


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
