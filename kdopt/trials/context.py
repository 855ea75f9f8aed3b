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
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.participants import Architecture
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stage_settings import TransferName
from kdopt.data.datasets import Dataset
from kdopt.errors import ArtifactError
from kdopt.outcome import Outcome, Scores
from kdopt.train.adapted import build_model
from kdopt.train.batch_norm import measure_statistics
from kdopt.train.engine import Engine, Images, seeded
from kdopt.train.evaluation import Evaluation, predict_logits, score_logits
from kdopt.train.fit import DivergedError, Fit, choose_group_size, copy_state, fit, fit_together
from kdopt.train.losses import DistillationLoss
from kdopt.train.steps import LossFn, StepKeeper, Student, make_recorder
from kdopt.train.student_line import choose_on_line
from kdopt.train.students import pack_student
from kdopt.train.weights import pack_weights, parse_architecture, parse_weights
from kdopt.trials.cache import Cache, CacheUse
from kdopt.trials.image_sets import ImageSets
from kdopt.trials.interfaces import ArtifactFolder
from kdopt.trials.trained import TrainedModels, describe_student, find_checkpoint

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
        self._weights = Cache[str, tuple[Architecture, dict[str, Tensor]]](CACHED_MODELS)
        self._logits = Cache[tuple[str, str, int, TransferName], Tensor](
            CACHED_LOGIT_BYTES, weigh=lambda t: t.numel() * t.element_size()
        )
        self._losses = Cache[tuple[str, int], list[DistillationLoss]](1)
        self._architectures = self.campaign.architectures
        self._logits_of = frozenset(
            record.weights[row.name]
            for row in self.campaign.participant
            if row.logits is not None and row.name in record.weights
        )
        self._workbenches: dict[tuple[Architecture, int], nn.Module] = {}
        self._kinds = WeakKeyDictionary[nn.Module, Architecture]()
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

    def new_model(self, participant: int = 0) -> nn.Module:
        """A participant's model with random weights, from torch's global generator.

        A model of nobody, such as the global one, is as that of the first participant.
        """
        return self._new_model(self.campaign.get_architecture(participant))

    def new_model_of_all(self, partition: str) -> nn.Module:
        """A model with the random weights that all participants of a partition start from."""
        seed = seed_for(self.campaign.seed, partition, "pretrain", "initial")
        with seeded(seed, self.engine.device):
            return self.new_model()

    def load_model(self, pretrained: Outcome) -> nn.Module:
        """A participant's pre-trained model; the same object is filled again on every call."""
        return self.load_models(pretrained, 1)[0]

    def load_models(self, pretrained: Outcome, count: int) -> list[nn.Module]:
        """The same in several objects, the first of which is that of :meth:`load_model`."""
        checkpoint = find_checkpoint(pretrained)
        return [self.load_checkpoint(checkpoint, number) for number in range(count)]

    def load_peer(self, pretrained: Outcome) -> nn.Module:
        """The same in a second object, for methods that train both models."""
        return self.load_checkpoint(find_checkpoint(pretrained), 1)

    def load_state(
        self, state: Mapping[str, Tensor], participant: int = 0, number: int = 0
    ) -> nn.Module:
        """The same with any weights of a participant's model, in one of several objects."""
        model = self._get_workbench(self.campaign.get_architecture(participant), number)
        model.load_state_dict(state)
        return model

    def get_weights(self, participant: int = 0) -> Mapping[str, Tensor]:
        """Some weights of a participant's model, which say the names, shapes and types of all."""
        return self._get_workbench(self.campaign.get_architecture(participant)).state_dict()

    def get_logits(
        self, model: Outcome, partition: str, student: int, transfer_set: TransferName = "student"
    ) -> Tensor:
        """A participant's logits on a transfer set, float32, (n, classes); computed once."""
        checkpoint = model.checkpoint
        assert checkpoint is not None

        def compute() -> Tensor:
            if checkpoint in self._logits_of:
                return self.look_up_logits(checkpoint, partition, student, transfer_set)
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

    def pack_trained(self, model: nn.Module, trial: str, outcome: Outcome, who: int) -> bytes:
        """The file of a student that a trial trained.

        Args:
            model: It.
            trial: The trial's name.
            outcome: What it recorded.
            who: The student's number.
        """
        kind = self.campaign.get_architecture(who)
        return pack_student(model, describe_student(kind, self._dataset, trial, outcome))

    def save_model(self, model: nn.Module) -> str:
        """Save a model's weights and return their sha256."""
        return self._artifacts.put(pack_weights(model.state_dict(), self._kinds[model]))

    def save_content(self, content: bytes) -> str:
        """Save a file and return its sha256."""
        return self._artifacts.put(content)

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
        from_student: bool = False,
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
            from_student: Whether it is an untouched student now, so that the campaign's student
                line begins at its present weights.
        """
        judged = judged or model
        untouched = self._copy_for_line(judged) if from_student else None
        fitted = fit(
            model,
            images,
            loss,
            settings,
            self.engine,
            generator,
            monitor=lambda _: self.measure_validation(judged, validation, settings.monitor),
            steps=self.steps,
            follow=from_student and self.campaign.records_curve(settings),
        )
        settled = images if from_student else None
        return self._evaluate_fit(model, judged, fitted, validation, untouched, settled)

    def train_models(
        self,
        models: Sequence[nn.Module],
        images: Images,
        losses: Sequence[LossFn],
        settings: TrainSettings,
        generators: Sequence[torch.Generator],
        validation: Images,
    ) -> list[Evaluation | DivergedError]:
        """The same for several copies of an untouched student at once."""
        untouched = self._copy_for_line(models[0])
        students = [
            Student(
                model,
                loss,
                lambda m: self.measure_validation(m, validation, settings.monitor),
                self.campaign.records_curve(settings),
            )
            for model, loss in zip(models, losses, strict=True)
        ]
        fits = fit_together(students, images, settings, self.engine, generators, self.steps)
        return [
            fitted
            if isinstance(fitted, DivergedError)
            else self._try_to_evaluate(model, fitted, validation, untouched, images)
            for model, fitted in zip(models, fits, strict=True)
        ]

    def _try_to_evaluate(
        self,
        model: nn.Module,
        fitted: Fit,
        validation: Images,
        untouched: Mapping[str, Tensor] | None,
        images: Images,
    ) -> Evaluation | DivergedError:
        try:
            return self._evaluate_fit(model, model, fitted, validation, untouched, images)
        except DivergedError as error:
            # The others of its group go on.
            return error

    def _evaluate_fit(
        self,
        model: nn.Module,
        judged: nn.Module,
        fitted: Fit,
        validation: Images,
        untouched: Mapping[str, Tensor] | None,
        images: Images | None,
    ) -> Evaluation:
        ways = self.campaign.batch_norm if images is not None else "running"

        def measure() -> bool:
            return images is not None and measure_statistics(judged, images, self.engine)

        def score(on_test: bool) -> Scores:
            if not on_test and ways == "measured":
                measure()
            return self._score_images(judged, self.test if on_test else validation)

        last = best = score(False), score(True)
        if fitted.best_state is not None:
            model.load_state_dict(fitted.best_state)
            best = score(False), score(True)
        line = None
        if untouched is not None or ways == "both":
            best, line = choose_on_line(
                judged,
                untouched or {},
                best,
                self.campaign.student_line,
                self.campaign.select_on == "test",
                score,
                measure if ways == "both" else None,
            )
        self.trained.note(best[1], judged)
        return Evaluation(fitted, *best, last[0].accuracy, last[1].accuracy, line)

    def _copy_for_line(self, model: nn.Module) -> dict[str, Tensor] | None:
        return copy_state(model) if self.campaign.student_line else None

    def score_model(self, model: nn.Module, validation: Images) -> tuple[Scores, Scores]:
        """A model on validation and on test."""
        return self._score_images(model, validation), self._score_images(model, self.test)

    def _score_images(self, model: nn.Module, images: Images) -> Scores:
        with self._count_seconds():
            logits = predict_logits(model, images, self.engine)
            return score_logits(logits, images.labels, self._dataset.n_classes)

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
        return min(
            choose_group_size(self._get_workbench(kind), self._dataset.shape, self.engine)
            for kind in self._architectures
        )

    def run_one_by_one(self) -> None:
        """Run one trial at a time from now on, and free what several needed."""
        self.together = 1
        self._workbenches = {key: m for key, m in self._workbenches.items() if key[1] == 0}
        self.steps = StepKeeper(make_recorder)
        torch.cuda.empty_cache()

    def _new_model(self, kind: Architecture) -> nn.Module:
        data = self._dataset
        model = build_model(kind, data.shape, data.class_names, data.mean, data.std)
        moved = self.engine.move(model)
        self._kinds[moved] = kind
        return moved

    def _get_workbench(self, kind: Architecture, number: int = 0) -> nn.Module:
        """One of the model objects that trials fill again and again."""
        if (kind, number) not in self._workbenches:
            # Made when it is first needed, which may be within a seeded block: drawing its weights
            # must not move the random numbers (of dropout, say) that the trial itself draws.
            with seeded(0, self.engine.device):
                self._workbenches[kind, number] = self._new_model(kind)
        return self._workbenches[kind, number]

    def find_given_weights(self, participant: int) -> str | None:
        """The weights or logits that a participant brought; ``None`` if it is to be trained."""
        rows = self.campaign.participant
        return self._record.weights.get(rows[participant].name) if rows else None

    def load_checkpoint(self, sha256: str, number: int = 0) -> nn.Module:
        """A model with the weights of a checkpoint, in one of the objects that are filled again."""
        kind, state = self._weights.get(
            sha256, lambda: self._artifacts.read(sha256, "weights of a model", self._parse_model)
        )
        model = self._get_workbench(kind, number)
        model.load_state_dict(state)
        return model

    def _parse_model(self, content: bytes) -> tuple[Architecture, dict[str, Tensor]]:
        said = parse_architecture(content)
        if said is None:
            kinds = [kind for kind in self._architectures if kind.is_plain]
        else:
            kinds = [kind for kind in self._architectures if kind == said]
        faults = []
        for kind in kinds:
            try:
                state = parse_weights(content, self._get_workbench(kind).state_dict())
            except ArtifactError as error:
                faults.append(error)
            else:
                return kind, {k: v.to(self.engine.device) for k, v in state.items()}
        raise faults[0] if faults else ArtifactError("no participant has such a model")
