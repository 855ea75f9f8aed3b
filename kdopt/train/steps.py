"""One step of training: a batch forward, its loss backward, the optimizer's step.

Small models keep a GPU waiting: the host takes longer to ask for the hundred or so kernels of a
step than the GPU to run them. So on CUDA a step is recorded once, as a CUDA graph, and replayed as
a whole. :class:`RecordedStep` knows when; :class:`GraphRecorder` does it. And one small model does
not fill a GPU, so several students of one set of images take their steps at once.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Engine, Images

logger = logging.getLogger(__name__)


LossFn = Callable[[Tensor, Tensor], Tensor]
"""``loss(index, logits)``: positions of the batch in the training set, (batch,), and the model's
logits, (batch, classes), to a scalar. Labels and teachers' logits are looked up by position."""


class Student(NamedTuple):
    """What is trained.

    Attributes:
        model: On the engine's device.
        loss: What is minimised.
        monitor: Value to be maximised, asked after every epoch, such as validation accuracy.
        follow: Whether it is asked also where nothing stops early.
    """

    model: nn.Module
    loss: LossFn
    monitor: Callable[[nn.Module], float]
    follow: bool = False


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
        # Not under autocast: losses are computed in float32.
        value = self.loss(index, logits)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # Detached, or the sum would keep all that autograd knows of every step.
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

    def run_at_once(self, parts: Sequence[Callable[[], None]]) -> None:
        """Run operations that do not need each other, at the same time where possible."""
        ...


class RecordedStep:
    """Steps that are recorded and replayed: the same kernels on the same memory.

    The first batch of a size runs as usual, so that libraries load their kernels and take their
    memory; the second is recorded. A model or loss that cannot be recorded runs as usual for ever.

    Args:
        steps: What each student does with a batch. Numbers of their losses that change between
            trainings must be tensors: others are recorded too.
        recorder: Records them.
    """

    def __init__(self, steps: Sequence[TrainingStep], recorder: Recorder) -> None:
        self._steps = steps
        self._recorder = recorder
        self._works = True
        self._rehearsed: set[int] = set()
        self._recorded: dict[int, tuple[Tensor, Callable[[], None]]] = {}

    def run(self, index: Tensor) -> None:
        """Train every student on one batch, given positions: (students, batch)."""
        size = index.shape[1]
        if not self._works:
            self._run_students(index)
        elif size not in self._rehearsed:
            self._rehearsed.add(size)
            self._recorder.rehearse(lambda: self._run_students(index))
        elif size in self._recorded or self._record_steps(index):
            place, replay = self._recorded[size]
            place.copy_(index)
            replay()
        else:
            self._run_students(index)

    def _run_students(self, index: Tensor) -> None:
        if len(self._steps) == 1 or not self._works:
            _run_in_turn(self._steps, index)
        else:
            columns = zip(self._steps, index, strict=True)
            self._recorder.run_at_once([partial(step.run, row) for step, row in columns])

    def _record_steps(self, index: Tensor) -> bool:
        """Record the steps of a batch of this size; whether that was possible."""
        # The replayed kernels read the positions from here.
        place = index.clone()
        try:
            replay = self._recorder.record(lambda: self._run_students(place))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._works = False
            self._recorded.clear()
            reason = str(error).partition("\n")[0]
            logger.info(
                "steps of %s are not recorded as a CUDA graph, so each takes longer: %s",
                type(self._steps[0].model).__name__,
                reason,
            )
            return False
        self._recorded[index.shape[1]] = (place, replay)
        return True


class Steps(NamedTuple):
    """What trains students on a batch.

    Attributes:
        students: The step of each of them.
        run: All their steps on a batch each, given positions: (students, batch).
    """

    students: tuple[TrainingStep, ...]
    run: Callable[[Tensor], None]


class StepKeeper:
    """Prepares steps; on CUDA it keeps the last ones, for trainings that repeat them.

    The trials of a pair train the same model object on the same images, from other weights and with
    another temperature and alpha. Their steps are recorded once.

    Args:
        make_recorder: Makes what records steps on a device; ``None`` where steps are not recorded.
    """

    def __init__(self, make_recorder: Callable[[torch.device], Recorder | None]) -> None:
        self._make_recorder = make_recorder
        self._kept: Steps | None = None

    def prepare(
        self,
        students: Sequence[Student],
        images: Images,
        settings: TrainSettings,
        engine: Engine,
    ) -> Steps:
        """Steps with fresh optimizers."""
        if self._kept is not None and _do_same(self._kept, students, images, settings, engine):
            for step in self._kept.students:
                step.optimizer.reset()
            return self._kept
        self._kept = None  # Its memory is free for the next ones.
        steps = tuple(TrainingStep(s.model, images, s.loss, settings, engine) for s in students)
        recorder = self._make_recorder(engine.device)
        if recorder is None:
            return Steps(steps, partial(_run_in_turn, steps))
        self._kept = Steps(steps, RecordedStep(steps, recorder).run)
        return self._kept


def _run_in_turn(steps: Sequence[TrainingStep], index: Tensor) -> None:
    for step, row in zip(steps, index, strict=True):
        step.run(row)


def _do_same(
    kept: Steps,
    students: Sequence[Student],
    images: Images,
    settings: TrainSettings,
    engine: Engine,
) -> bool:
    return len(kept.students) == len(students) and all(
        (step.model is student.model and step.loss is student.loss and step.images is images)
        and (step.settings, step.engine) == (settings, engine)
        for step, student in zip(kept.students, students, strict=True)
    )


class GraphRecorder:
    """Records operations as CUDA graphs that share their memory.

    Sharing is safe as graphs are replayed one after the other, and nothing that one of them leaves
    in that memory is read after it.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _get_stream(device, 0)
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, operations: Callable[[], None]) -> None:
        """Run operations on the stream on which they will be recorded."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            operations()
        current.wait_stream(self._stream)

    def record(self, operations: Callable[[], None]) -> Callable[[], None]:
        """Record operations without running them; what replays them on the same memory.

        Raises:
            RuntimeError: They cannot be recorded: one of them reads a value back, say.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads of a worker renew its lease meanwhile, which is no business of the GPU's.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            operations()
        return graph.replay

    def run_at_once(self, parts: Sequence[Callable[[], None]]) -> None:
        """Run operations that do not need each other, each on a stream of its own."""
        current = torch.cuda.current_stream(self._device)
        streams = [_get_stream(self._device, number) for number in range(1, len(parts) + 1)]
        for stream, part in zip(streams, parts, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                part()
        for stream in streams:
            current.wait_stream(stream)


@functools.cache
def _get_stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """The streams of all recordings: cuBLAS keeps 32 MiB or more for each that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def make_recorder(device: torch.device) -> Recorder | None:
    """What records steps on a device; ``None`` where it has no such thing."""
    return GraphRecorder(device) if device.type == "cuda" else None
