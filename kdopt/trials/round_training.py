"""The trainings within a communication round: their seeds and budgets, and who diverged."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from kdopt.campaign.federated_algorithms import FedDfSettings, FedMdSettings
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, seeded
from kdopt.train.fit import DivergedError, fit
from kdopt.train.steps import LossFn
from kdopt.trials.context import Context


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
