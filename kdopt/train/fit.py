"""The one training loop. It gets a loss function and knows no method by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdopt.campaign.settings import TrainSettings
from kdopt.errors import KdoptError
from kdopt.train.engine import Engine, Images
from kdopt.train.graphs import make_recorder
from kdopt.train.steps import LossFn, StepKeeper, TrainingStep


class DivergedError(KdoptError):
    """The training loss became infinite or not a number."""


@dataclass(frozen=True)
class Fit:
    """How a training went. The model is left with the weights of the last epoch.

    Attributes:
        epochs: Epochs trained.
        best_epoch: Epoch of the best monitored value, counted from 1 (the earliest if several);
            the last epoch when nothing was monitored.
        best_state: The weights of that epoch; ``None`` when it is the last.
    """

    epochs: int
    best_epoch: int
    best_state: dict[str, Tensor] | None


def fit(
    model: nn.Module,
    images: Images,
    loss: LossFn,
    settings: TrainSettings,
    engine: Engine,
    generator: torch.Generator,
    monitor: Callable[[nn.Module], float],
    steps: StepKeeper | None = None,
) -> Fit:
    """Train a model in place.

    Args:
        model: The model, on the engine's device.
        images: The training set.
        loss: What is minimised.
        settings: Budget; with ``patience`` 0 nothing is monitored and all epochs are trained.
        engine: Device and precision.
        generator: CPU generator that shuffles the images of every epoch.
        monitor: Value to be maximised, asked after every epoch (validation accuracy).
        steps: Keeps what the next training can use again; ``None`` keeps nothing.

    Raises:
        DivergedError: The loss of an epoch is not finite.
    """
    step = (steps or StepKeeper(make_recorder)).prepare(model, images, loss, settings, engine)
    best, best_epoch = float("-inf"), settings.epochs
    best_state: dict[str, Tensor] | None = None
    epoch = 0
    for epoch in range(1, settings.epochs + 1):
        _train_epoch(step, settings.batch_size, generator, epoch)
        if not settings.patience:
            continue
        value = monitor(model)
        if value > best:
            best, best_epoch = value, epoch
            best_state = {k: v.clone() for k, v in model.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    if best_epoch == epoch:
        best_state = None
    return Fit(epoch, best_epoch, best_state)


def _train_epoch(
    step: TrainingStep, batch_size: int, generator: torch.Generator, epoch: int
) -> None:
    step.model.train()
    total = step.total.zero_()
    order = torch.randperm(len(step.images), generator=generator).to(total.device)
    for index in cut_batches(order, batch_size):
        step.run(index)
    # Asked once per epoch: reading a value from a GPU makes the CPU wait for it.
    if not bool(torch.isfinite(total)):
        raise DivergedError(
            f"the training loss became {float(total)} in epoch {epoch}; "
            "a lower learning rate, temperature or alpha may help"
        )


def cut_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order of positions into batches; every image is used once.

    A last batch of one image would have no variance for batch norm, so it joins the batch before.
    """
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
