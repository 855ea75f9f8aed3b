"""What a worker keeps between the trials of a campaign: images, weights, teachers' logits.

Everything cached here is a pure function of the campaign and of checkpoints named by their hash,
so caching changes the time a trial takes and nothing else.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stage_settings import TransferName
from kdopt.data.datasets import Dataset
from kdopt.outcome import Outcome, Scores
from kdopt.train.engine import Engine, Images, seeded
from kdopt.train.evaluation import (
    Evaluation,
    predict_logits,
    score_logits,
)
from kdopt.train.fit import DivergedError, Fit, fit, fit_together
from kdopt.train.graphs import make_recorder
from kdopt.train.losses import DistillationLoss
from kdopt.train.models import make_model
from kdopt.train.steps import LossFn, StepKeeper, Student
from kdopt.train.weights import parse_weights
from kdopt.trials.cache import Cache, CacheUse
from kdopt.trials.image_sets import ImageSets
from kdopt.trials.interfaces import ArtifactFolder
from kdopt.trials.together import choose_group_size
from kdopt.trials.trained import TrainedModels

logger = logging.getLogger(__name__)

CACHED_MODELS = 16
CACHED_LOGIT_BYTES = 256 * 2**20
"""Logits are kept up to this size: those of a hundred teachers on 5,000 images of 10 classes take
20 MiB. What does not fit is computed again, so memory never grows with the number of teachers."""


class Context(ImageSets):
    """One campaign in one worker process: its images, and its models.

    Args:
        record: The campaign as the store keeps it.
        dataset: Its images.
        artifacts: Where checkpoints and splits are kept.
        engine: Device and precision.

    Attributes:
        evaluating_s: Seconds that scoring models on validation and test has taken so far.
        steps: What trainings of the same model, images and loss share.
        trained: The models of the outcomes made last.
    """

    def __init__(
        self, record: CampaignRecord, dataset: Dataset, artifacts: ArtifactFolder, engine: Engine
    ) -> None:
        super().__init__(record, dataset, artifacts, engine)
        self._weights = Cache[str, dict[str, Tensor]](CACHED_MODELS)
        self._logits = Cache[tuple[str, str, int, TransferName], Tensor](
            CACHED_LOGIT_BYTES, weigh=lambda t: t.numel() * t.element_size()
        )
        self._losses = Cache[tuple[str, int], list[DistillationLoss]](1)
        self._workbenches: list[nn.Module] = []
        self.steps = StepKeeper(make_recorder)
        self.trained = TrainedModels()
        self.evaluating_s = 0.0

    def count_cache_uses(self) -> dict[str, CacheUse]:
        """How often each cache was asked, and how often it had what was asked for."""
        caches: dict[str, Cache[Any, Any]] = {
            "images": self._shares,
            "checkpoints": self._weights,
            "logits": self._logits,
        }
        return {name: CacheUse(c.asked, c.asked - c.made) for name, c in caches.items()}

    def new_model(self) -> nn.Module:
        """A model with random weights, from torch's global generator."""
        model = make_model(self.campaign.model, self._dataset.shape, self._dataset.n_classes)
        return self.engine.move(model)

    def new_model_of_all(self, partition: str) -> nn.Module:
        """A model with the random weights that all participants of a partition start from."""
        seed = seed_for(self.campaign.seed, partition, "pretrain", "initial")
        with seeded(seed, self.engine.device):
            return self.new_model()

    def load_model(self, pretrained: Outcome) -> nn.Module:
        """A participant's pre-trained model; the same object is filled again on every call."""
        return self.load_state(self._read_state(pretrained))

    def load_models(self, pretrained: Outcome, count: int) -> list[nn.Module]:
        """The same in several objects, the first of which is that of :meth:`load_model`."""
        models = [self._get_workbench(number) for number in range(count)]
        for model in models:
            model.load_state_dict(self._read_state(pretrained))
        return models

    def load_state(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The same with any weights of this model."""
        model = self._get_workbench()
        model.load_state_dict(state)
        return model

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights of a model that trials fill, which say the names, shapes and types of all."""
        return self._get_workbench().state_dict()

    def load_peer(self, pretrained: Outcome) -> nn.Module:
        """The same in a second object, for methods that train both models."""
        model = self._get_workbench(1)
        model.load_state_dict(self._read_state(pretrained))
        return model

    def get_logits(
        self, model: Outcome, partition: str, student: int, transfer_set: TransferName = "student"
    ) -> Tensor:
        """A pre-trained model's logits on a transfer set, float32, (n, classes); computed once."""
        checkpoint = model.checkpoint
        assert checkpoint is not None

        def compute() -> Tensor:
            images = self.get_transfer_set(partition, student, transfer_set)
            try:
                return predict_logits(self.load_model(model), images, self.engine)
            except DivergedError as error:
                raise DivergedError(
                    f"the pre-trained model {checkpoint[:12]}... on the images of "
                    f"'{transfer_set}': {error}"
                ) from error

        # A public set is the same for every student of every partition.
        owner = (partition, student) if transfer_set == "student" else ("", 0)
        return self._logits.get((checkpoint, *owner, transfer_set), compute)

    def get_distillation_losses(
        self, teacher: Outcome, partition: str, student: int, count: int
    ) -> list[DistillationLoss]:
        """Losses of a pair on the student's own images; a student's pairs get the same objects."""
        logits = self.get_logits(teacher, partition, student)
        labels = self.get_share(partition, student).labels
        made = self._losses.get((partition, student), list)
        while len(made) < count:
            made.append(DistillationLoss(logits, labels, self.campaign.tune.t2_scale))
        return [loss.set_teacher(logits) for loss in made[:count]]

    def save_model(self, model: nn.Module) -> str:
        """Save a model's weights and return their sha256."""
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        return self._artifacts.put(safetensors.torch.save(state))

    def measure_validation(
        self, model: nn.Module, validation: Images, measure: Literal["accuracy", "loss"]
    ) -> float:
        """What early stopping maximises: the accuracy (paper, section III), or minus the loss."""
        with self._count_seconds():
            logits = predict_logits(model, validation, self.engine)
            if measure == "loss":
                return -float(functional.cross_entropy(logits.double(), validation.labels))
            return float((logits.argmax(dim=1) == validation.labels).double().mean())

    def train_model(
        self,
        model: nn.Module,
        images: Images,
        loss: LossFn,
        settings: TrainSettings,
        generator: torch.Generator,
        validation: Images,
        judged: nn.Module | None = None,
    ) -> Evaluation:
        """Train a model and score its last and its best weights; it is left with the best.

        Args:
            model: What is trained.
            images: The training set.
            loss: What is minimised.
            settings: The budget.
            generator: From :func:`kdopt.train.engine.seeded`.
            validation: From :meth:`get_validation`.
            judged: The part of it whose scores count; the whole by default.
        """
        judged = judged or model
        fitted = fit(
            model,
            images,
            loss,
            settings,
            self.engine,
            generator,
            monitor=lambda _: self.measure_validation(judged, validation, settings.monitor),
            steps=self.steps,
        )
        return self._evaluate(model, judged, fitted, validation)

    def train_models(
        self,
        models: Sequence[nn.Module],
        images: Images,
        losses: Sequence[LossFn],
        settings: TrainSettings,
        generators: Sequence[torch.Generator],
        validation: Images,
    ) -> list[Evaluation | DivergedError]:
        """The same for several models at once."""
        students = [
            Student(
                model,
                loss,
                lambda m: self.measure_validation(m, validation, settings.monitor),
            )
            for model, loss in zip(models, losses, strict=True)
        ]
        fits = fit_together(students, images, settings, self.engine, generators, self.steps)
        return [
            fitted
            if isinstance(fitted, DivergedError)
            else self._try_to_evaluate(model, fitted, validation)
            for model, fitted in zip(models, fits, strict=True)
        ]

    def _try_to_evaluate(
        self, model: nn.Module, fitted: Fit, validation: Images
    ) -> Evaluation | DivergedError:
        try:
            return self._evaluate(model, model, fitted, validation)
        except DivergedError as error:
            # The others of its group go on.
            return error

    def _evaluate(
        self, model: nn.Module, judged: nn.Module, fitted: Fit, validation: Images
    ) -> Evaluation:
        last = self.score_model(judged, validation)
        best = last
        if fitted.best_state is not None:
            model.load_state_dict(fitted.best_state)
            best = self.score_model(judged, validation)
        self.trained.note(best[1], judged)
        return Evaluation(fitted, *best, last[0].accuracy, last[1].accuracy)

    def score_model(self, model: nn.Module, validation: Images) -> tuple[Scores, Scores]:
        """A model on validation and on test."""
        classes = self._dataset.n_classes
        with self._count_seconds():
            on_validation, on_test = (
                score_logits(predict_logits(model, images, self.engine), images.labels, classes)
                for images in (validation, self.test)
            )
        return on_validation, on_test

    @contextmanager
    def _count_seconds(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.evaluating_s += time.perf_counter() - started

    @functools.cached_property
    def together(self) -> int:
        """How many trials of a pair to run at once."""
        return choose_group_size(self._get_workbench(), self._dataset.shape, self.engine)

    def run_one_by_one(self) -> None:
        """Run one trial at a time from now on, and free what several needed."""
        self.together = 1
        del self._workbenches[1:]
        self.steps = StepKeeper(make_recorder)
        torch.cuda.empty_cache()

    def _get_workbench(self, number: int = 0) -> nn.Module:
        """One of the model objects that trials fill again and again."""
        while len(self._workbenches) <= number:
            self._workbenches.append(self._make_blank_model())
        return self._workbenches[number]

    def _make_blank_model(self) -> nn.Module:
        # Made when it is first needed, which may be within a seeded block: drawing its weights
        # must not move the random numbers (of dropout, say) that the trial itself draws.
        with seeded(0, self.engine.device):
            return self.new_model()

    def _read_state(self, pretrained: Outcome) -> dict[str, Tensor]:
        sha256 = pretrained.checkpoint
        assert sha256 is not None

        def read() -> dict[str, Tensor]:
            state = self._artifacts.read(
                sha256,
                f"weights of a '{self.campaign.model}'",
                lambda content: parse_weights(content, self.weights),
            )
            return {k: v.to(self.engine.device) for k, v in state.items()}

        return self._weights.get(sha256, read)
