"""The one training loop. It gets a loss function and knows no method by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.shapes import Shape
from kdopt.errors import KdoptError
from kdopt.train.engine import Engine, Images
from kdopt.train.models import draws_random_numbers
from kdopt.train.steps import LossFn, StepKeeper, Steps, Student, make_recorder


class DivergedError(KdoptError):
    """A loss, weights or logits became infinite or not a number."""


ADVICE = "a lower learning rate, temperature or alpha may help"
"""How a training that diverged may be kept from it."""


@dataclass(frozen=True)
class Fit:
    """How a training went. The model is left with the weights of the last epoch.

    Attributes:
        epochs: Epochs trained.
        best_epoch: Epoch of the best monitored value, counted from 1 (the earliest if several);
            the last epoch when nothing was monitored.
        best_state: The weights of that epoch; ``None`` when it is the last.
        curve: The monitored value after each epoch, where it was to be followed.
    """

    epochs: int
    best_epoch: int
    best_state: dict[str, Tensor] | None
    curve: tuple[float, ...] = ()


def fit(
    model: nn.Module,
    images: Images,
    loss: LossFn,
    settings: TrainSettings,
    engine: Engine,
    generator: torch.Generator,
    monitor: Callable[[nn.Module], float],
    steps: StepKeeper | None = None,
    first_epoch: int = 1,
    follow: bool = False,
) -> Fit:
    """Train a model in place.

    Args:
        model: The model, on the engine's device.
        images: The training set.
        loss: What is minimised.
        settings: Budget; with ``patience`` 0 nothing stops early and all epochs are trained.
        engine: Device and precision.
        generator: CPU generator that shuffles the images of every epoch.
        monitor: Value to be maximised, asked after every epoch, such as validation accuracy.
        steps: Keeps what the next training can use again; ``None`` keeps nothing.
        first_epoch: Number of the first epoch; which view of the images is seen depends on it.
        follow: Whether the monitor is asked also with ``patience`` 0, for its own sake.

    Raises:
        DivergedError: The loss of an epoch, or the weights or statistics after it, are not finite.
    """
    (fitted,) = fit_together(
        [Student(model, loss, monitor, follow)],
        images,
        settings,
        engine,
        [generator],
        steps,
        first_epoch,
    )
    if isinstance(fitted, DivergedError):
        raise fitted
    return fitted


def fit_together(
    students: Sequence[Student],
    images: Images,
    settings: TrainSettings,
    engine: Engine,
    generators: Sequence[torch.Generator],
    steps: StepKeeper | None = None,
    first_epoch: int = 1,
) -> list[Fit | DivergedError]:
    """Train several models in place, step by step at once; each as if it were alone.

    That holds for models that draw no random numbers while they train: dropout would draw others.

    Args:
        students: What is trained.
        images: The training set of all of them.
        settings: Budget of each; one that stops early waits for the others.
        engine: Device and precision.
        generators: One CPU generator per student, which shuffles its images of every epoch.
        steps: Keeps what the next training can use again; ``None`` keeps nothing.
        first_epoch: See :func:`fit`.

    Returns:
        How each training went, or that its loss or its weights were not finite.
    """
    prepared = (steps or StepKeeper(make_recorder)).prepare(students, images, settings, engine)
    courses = [_Course(student, settings) for student in students]
    for epoch in range(1, settings.epochs + 1):
        view = (first_epoch + epoch - 2) % images.views
        losses = _train_epoch(prepared, settings.batch_size, generators, view * len(images))
        for course, loss in zip(courses, losses, strict=True):
            course.end_epoch(epoch, loss)
        if all(course.ended for course in courses):
            break
    return [course.finish() for course in courses]


class _Course:
    """What came of one student so far."""

    def __init__(self, student: Student, settings: TrainSettings) -> None:
        self._model, self._monitor = student.model, student.monitor
        self._patience, self._follow = settings.patience, student.follow
        self._curve: list[float] = []
        self._best, self._best_epoch = float("-inf"), settings.epochs
        self._best_state: dict[str, Tensor] | None = None
        self._last_state: dict[str, Tensor] | None = None
        self._epoch = 0
        self._failure: DivergedError | None = None
        self.ended = False

    def end_epoch(self, epoch: int, loss: float) -> None:
        if self.ended:
            return
        self._epoch = epoch
        if not math.isfinite(loss):
            self._note_failure(
                DivergedError(f"the training loss became {loss} in epoch {epoch}; {ADVICE}")
            )
        elif self._patience or self._follow:
            try:
                self._note_value(self._monitor(self._model))
            except DivergedError as error:
                self._note_failure(error)

    def _note_failure(self, error: DivergedError) -> None:
        self.ended = True
        self._failure = error

    def _note_value(self, value: float) -> None:
        if self._follow:
            self._curve.append(value)
        if self._patience:
            self._compare_best(value)

    def _compare_best(self, value: float) -> None:
        # Of equal epochs the first is the best one.
        if value > self._best:
            self._best, self._best_epoch = value, self._epoch
            self._best_state = copy_state(self._model)
        elif self._epoch - self._best_epoch >= self._patience:
            self.ended = True
            # While others go on, so do this model's weights.
            self._last_state = copy_state(self._model)

    def finish(self) -> Fit | DivergedError:
        if self._failure is not None:
            return self._failure
        if self._last_state is not None:
            self._model.load_state_dict(self._last_state)
        # The loss of an epoch was summed up before its last step, and batch norm's statistics are
        # in no loss at all.
        found = find_not_finite(self._model.state_dict())
        if found is not None:
            return DivergedError(f"{found} is not finite after epoch {self._epoch}; {ADVICE}")
        kept = None if self._best_epoch == self._epoch else self._best_state
        return Fit(self._epoch, self._best_epoch, kept, tuple(self._curve))


PRECISIONS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types of floats that torch computes with; numbers of 8 bits mean something only with a scale."""


def is_ordinary(value: Tensor) -> bool:
    """Whether a tensor has a number in every place, of a type that torch computes with.

    Others, such as sparse or quantized ones and those on ``meta``, lack most functions.
    """
    if value.layout is not torch.strided or value.is_meta or value.is_quantized or value.is_nested:
        return False
    return not value.is_floating_point() or value.dtype in PRECISIONS


def find_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The first tensor of a state that holds an infinity or a NaN; ``None`` where all is finite."""
    floating = {key: value for key, value in state.items() if value.is_floating_point()}
    if not floating:
        return None
    # One answer for all: reading a value from a GPU makes the CPU wait for it.
    finite = torch.stack([torch.isfinite(value).all() for value in floating.values()]).tolist()
    return next((key for key, fine in zip(floating, finite, strict=True) if not fine), None)


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights and statistics as they are now."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def _train_epoch(
    steps: Steps, batch_size: int, generators: Sequence[torch.Generator], offset: int
) -> list[float]:
    """Train on one view of every image, from a position on; each student's sum of losses."""
    for step in steps.students:
        step.model.train()
        # In place: a recorded step adds to this very memory.
        step.total.zero_()
    first = steps.students[0]
    orders = torch.stack([torch.randperm(len(first.images), generator=g) for g in generators])
    orders += offset
    for index in cut_batches(orders.to(first.total.device), batch_size):
        steps.run(index)
    # Asked once per epoch: reading a value from a GPU makes the CPU wait for it.
    return [float(step.total) for step in steps.students]


def cut_batches(orders: Tensor, batch_size: int) -> list[Tensor]:
    """Cut orders of positions into batches; every image is used once.

    A last batch of one image would have no variance for batch norm, so it joins the batch before.

    Args:
        orders: (students, n).
        batch_size: Images per batch.

    Returns:
        (students, batch) each.
    """
    parts = list(torch.split(orders, batch_size, dim=1))
    if len(parts) > 1 and parts[-1].shape[1] == 1:
        parts[-2:] = [torch.cat(parts[-2:], dim=1)]
    return parts


TOGETHER = 8
"""On a GPU. An H200 gains less beyond: with 16 a step of ``cnn`` takes 0.73 of the time that it
takes with 8, and one of ``resnet18`` as long."""


def choose_group_size(model: nn.Module, shape: Shape, engine: Engine) -> int:
    """How many: one small model does not fill a GPU, and a core is full with one.

    Models that draw random numbers while they train run alone: with dropout, what a trial computes
    would depend on its company.

    Args:
        model: Any of the campaign's; its batch norms' statistics move.
        shape: Of an image.
        engine: Device and precision.
    """
    if engine.device.type != "cuda" or draws_random_numbers(model, shape, engine):
        return 1
    return TOGETHER
