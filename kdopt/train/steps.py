"""One step of training: a batch forward, its loss backward, the optimizer's step.

Small models keep a GPU waiting: the host takes longer to ask for the hundred or so kernels of a
step than the GPU to run them. So on CUDA a step is recorded once, as a CUDA graph, and replayed as
a whole. :class:`RecordedStep` knows when; ``kdopt.train.graphs`` does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Engine, Images

logger = logging.getLogger(__name__)

LossFn = Callable[[Tensor, Tensor], Tensor]
"""``loss(index, logits)``: positions of the batch in the training set, (batch,), and the model's
logits, (batch, classes), to a scalar. Labels and teachers' logits are looked up by position."""


class TrainingStep:
    """A step that the host asks for operation by operation.

    Args:
        model: In training mode whenever :meth:`run` is called.
        images: The training set.
        loss: What is minimised.
        settings: Names the optimizer and its rates.
        engine: Device and precision.

    Attributes:
        total: Sum of the losses of the steps since it was last set to zero, on the device.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        loss: LossFn,
        settings: TrainSettings,
        engine: Engine,
    ) -> None:
        self.model, self.images, self.loss, self.engine = model, images, loss, engine
        self.settings = settings
        self.optimizer = engine.make_optimizer(
            settings.optimizer, model, settings.learning_rate, settings.weight_decay
        )
        self.total = torch.zeros((), device=engine.device)

    def run(self, index: Tensor) -> None:
        """Train on one batch.

        Args:
            index: (batch,), positions in the training set, on the device.
        """
        with self.engine.autocast():
            logits = self.model(self.images.batch(index))
        value = self.loss(index, logits)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.total += value.detach()


class Recorder(Protocol):
    """What records operations of a device and repeats them."""

    def rehearse(self, operations: Callable[[], None]) -> None:
        """Run operations in the way in which they will be recorded."""
        ...

    def record(self, operations: Callable[[], None]) -> Callable[[], None]:
        """Record operations without running them; what runs them on the same memory.

        Raises:
            RuntimeError: They cannot be recorded, as one of them asks for a value, say.
        """
        ...


class RecordedStep(TrainingStep):
    """A step that is recorded and replayed: the same kernels on the same memory.

    The first batch of a size runs as usual, so that libraries load their kernels and take their
    memory; the second is recorded. A model or loss that cannot be recorded runs as usual for ever.

    Args:
        model: See :class:`TrainingStep`, as the next four.
        images: See there.
        loss: Numbers that change between trainings must be tensors: others are recorded too.
        settings: See there.
        engine: See there.
        recorder: Records the steps.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        loss: LossFn,
        settings: TrainSettings,
        engine: Engine,
        recorder: Recorder,
    ) -> None:
        super().__init__(model, images, loss, settings, engine)
        self._recorder: Recorder | None = recorder
        self._rehearsed: set[int] = set()
        self._recorded: dict[int, tuple[Tensor, Callable[[], None]]] = {}

    def run(self, index: Tensor) -> None:
        """Train on one batch; see :meth:`TrainingStep.run`."""
        size = len(index)
        if self._recorder is None:
            super().run(index)
        elif size not in self._rehearsed:
            self._rehearsed.add(size)
            self._recorder.rehearse(lambda: TrainingStep.run(self, index))
        elif size in self._recorded or self._record(index, self._recorder):
            place, replay = self._recorded[size]
            place.copy_(index)
            replay()
        else:
            super().run(index)

    def _record(self, index: Tensor, recorder: Recorder) -> bool:
        """Record the step of a batch of this size; whether that was possible."""
        # The replayed kernels read the positions from here.
        place = index.clone()
        try:
            replay = recorder.record(lambda: TrainingStep.run(self, place))
        except RuntimeError as error:
            self._recorder = None
            self._recorded.clear()
            reason = str(error).partition("\n")[0]
            logger.info(
                "steps of %s are not recorded as a CUDA graph, so each takes longer: %s",
                type(self.model).__name__,
                reason,
            )
            return False
        self._recorded[len(index)] = (place, replay)
        return True


class StepKeeper:
    """Prepares steps; on CUDA it keeps the last one, for trainings that repeat it.

    The trials of a pair train the same model object on the same images, from other weights and with
    another temperature and alpha. Their steps are recorded once.

    Args:
        make_recorder: Makes what records steps on a device; ``None`` where steps are not recorded.
    """

    def __init__(self, make_recorder: Callable[[torch.device], Recorder | None]) -> None:
        self._make_recorder = make_recorder
        self._kept: TrainingStep | None = None

    def prepare(
        self,
        model: nn.Module,
        images: Images,
        loss: LossFn,
        settings: TrainSettings,
        engine: Engine,
    ) -> TrainingStep:
        """A step with a fresh optimizer."""
        kept = self._kept
        if (
            kept is not None
            and (kept.model is model and kept.images is images and kept.loss is loss)
            and (kept.settings, kept.engine) == (settings, engine)
        ):
            kept.optimizer.reset()
            return kept
        self._kept = kept = None  # Its memory is free for the next one.
        recorder = self._make_recorder(engine.device)
        if recorder is None:
            return TrainingStep(model, images, loss, settings, engine)
        self._kept = RecordedStep(model, images, loss, settings, engine, recorder)
        return self._kept
