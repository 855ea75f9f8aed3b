"""What a trial recorded, as plain values: scores, an outcome, and a row of the store."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, get_args

from annotated_types import Interval

from kdopt.campaign.federated_algorithms import FEDAVG
from kdopt.campaign.fields import SHA256_RULE, Fraction, MaybeInfinite
from kdopt.campaign.names import StageName, pair_label
from kdopt.campaign.participants import Architecture
from kdopt.campaign.plain import PlainValueError, describe_value
from kdopt.campaign.shapes import Shape
from kdopt.campaign.studies import Params

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

WHERE_IT_RAN = ("seconds", "device", "precision", "versions", "taken_from")
"""Fields of an :class:`Outcome` that say how it was computed, not what came out."""

Statistics = Literal["running", "measured"]
"""Where a model's batch-norm statistics are from: its training, or a pass over its images after.
Those of a student on its line are between those of training, as its weights are."""

STATISTICS: tuple[Statistics, ...] = get_args(Statistics)

TRAINED = 1.0
"""The trained student's position on its student line."""

IF_BOTH_WERE_TRIED = ("batch_norm", "measured_line")
"""Fields of an :class:`Outcome` that its record has only where both statistics were tried."""

Points = Annotated[float, Interval(ge=-1000, le=1000)]
"""A difference in percentage points, within sane bounds: what is beyond ±100 the doctor names."""
_Whole = Annotated[int, Interval(ge=0)]


class Recorded:
    """Base of what a trial records: what pydantic is to do with it when a store is read.

    Keys that a class lacks are a newer version's: they stay in the store and are passed over.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, object]] = {
        "strict": True,
        "extra": "ignore",
        "allow_inf_nan": False,
    }


# With slots, as a campaign has some hundred thousand of each: a third of the memory.
@dataclass(frozen=True, slots=True)
class Scores(Recorded):
    """How one model does on one set of images.

    Attributes:
        accuracy: Share of images classified rightly, in [0, 1].
        per_class: The same per class, in class order; ``None`` for a class with no image.
        loss: Mean cross-entropy in nats.
        images: Number of images; ``None`` in records of older versions, and where the scores are
            the mean of several models'.
        right: Which images were classified rightly, one bit each in the set's order, the first in
            the highest bit, as base64. Two models are compared image by image with it. It takes a
            sixth of a byte per image. ``None`` where it was not kept.
    """

    accuracy: Fraction
    per_class: tuple[Fraction | None, ...]
    loss: Annotated[float, MaybeInfinite()]  # stores have some of models that diverged
    images: _Whole | None = None
    right: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Scores:
        """Read what ``dataclasses.asdict`` wrote."""
        return cls(**{**record, "per_class": tuple(record["per_class"])})

    @property
    def known_accuracy(self) -> float:
        """The accuracy; NaN where no image was scored, as of a teacher given by some logits."""
        return math.nan if self.images == 0 else self.accuracy


def make_unknown_scores(n_classes: int) -> Scores:
    """What is recorded of a model on a set on which its answers are not known.

    Its accuracy is 0 as JSON has no number for none; :attr:`Scores.known_accuracy` tells.
    """
    return Scores(0.0, (None,) * n_classes, math.nan, 0)


def measure_gain(after: Scores, before: Scores) -> float:
    """Accuracy after minus accuracy before, in percentage points (paper, section III)."""
    return 100 * (after.accuracy - before.accuracy)


class Change(NamedTuple):
    """Learning and forgetting, both >= 0, in percentage points."""

    learning: float
    forgetting: float


def measure_change(after: Scores, before: Scores) -> Change:
    """Mean rise and mean fall of the per-class accuracies (paper, section III, Metrics).

    Classes without images are left out. On a set with equally many images per class, accuracy
    gain = learning - forgetting.
    """
    differences = [
        100 * (a - b)
        for a, b in zip(after.per_class, before.per_class, strict=True)
        if a is not None and b is not None
    ]
    n = max(1, len(differences))
    return Change(
        learning=sum([d for d in differences if d > 0]) / n,
        forgetting=sum([-d for d in differences if d < 0]) / n,
    )


class RoundScore(NamedTuple):
    """The global model, or the mean of the participants', after one communication round.

    Accuracies are in [0, 1].
    """

    validation_accuracy: Fraction
    test_accuracy: Fraction


class LinePoint(NamedTuple):
    """A student on the line between the untouched and the trained one.

    Attributes:
        position: 0 is the untouched student, 1 the trained one.
        validation_accuracy: In [0, 1].
        right: Which validation images it classifies rightly, as :attr:`Scores.right`.
    """

    position: Annotated[float, Interval(gt=0, le=2)]
    validation_accuracy: Fraction
    right: str


@dataclass(frozen=True, slots=True)
class Outcome(Recorded):
    """What one finished trial recorded.

    Gains, learning and forgetting are in percentage points (paper, section III, Metrics); they
    are ``None`` for stages that start from no model.

    Attributes:
        value: The study's objective.
        validation: The trained model on the validation set.
        test: The trained model on the test set.
        validation_before: The untouched student on the validation set, without ``right``, which
            its pre-training has.
        test_before: The untouched student on the test set.
        validation_gain: Accuracy gain on validation, pp.
        test_gain: Accuracy gain on test, pp.
        learning: Mean over classes of the rises of test accuracy, pp.
        forgetting: Mean over classes of the falls of test accuracy, pp (>= 0).
        epochs: Epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        last_validation_accuracy: Validation accuracy after the last epoch.
        last_test_accuracy: Test accuracy after the last epoch.
        seconds: Wall time of the trial.
        device: Where it ran, such as ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``, as it was resolved.
        versions: Versions of kdopt, torch and Python.
        checkpoint: sha256 of the weights, where the stage keeps them.
        participant: The student that the stage itself chose to start from.
        rounds: Federated rounds: the global model, or the mean of the participants' models, before
            the first and after each.
        round_bytes: What is sent in one round, to and from participants; every transfer counts
            once.
        start_bytes: What they sent and received to make the initial model.
        line_position: Student line: which student was kept and scored; 1 is the end of training.
            ``None`` where the line was not tried.
        line: The other students of the line, by position.
        batch_norm: Which batch-norm statistics the kept student has; ``None`` where not both were
            tried.
        measured_line: Where both were: the students with measured statistics by position, that of
            the end of training too. Those of ``line`` have the others.
        curve: Accuracy on validation after each epoch, or minus the loss where that is monitored,
            where the campaign records learning curves.
        taken_from: Pre-training that was not run again: the trial of another campaign, of the same
            images, split, model, budget and seed, whose result this is.
    """

    value: Points
    validation: Scores
    test: Scores
    epochs: _Whole
    best_epoch: _Whole
    last_validation_accuracy: Fraction
    last_test_accuracy: Fraction
    seconds: Annotated[float, Interval(ge=0)]
    device: str
    precision: str
    versions: Mapping[str, str] = field(default_factory=dict)
    validation_before: Scores | None = None
    test_before: Scores | None = None
    validation_gain: Points | None = None
    test_gain: Points | None = None
    learning: Points | None = None
    forgetting: Points | None = None
    checkpoint: Annotated[str, SHA256_RULE] | None = None
    participant: _Whole | None = None
    rounds: tuple[RoundScore, ...] = ()
    round_bytes: _Whole | None = None
    start_bytes: _Whole | None = None
    taken_from: str | None = None
    line_position: Annotated[float, Interval(gt=0, le=2)] | None = None
    line: tuple[LinePoint, ...] = ()
    batch_norm: Statistics | None = None
    measured_line: tuple[LinePoint, ...] = ()
    curve: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; :meth:`from_text` reads their text."""
        record = asdict(self)
        if self.batch_norm is None:
            record = {k: v for k, v in record.items() if k not in IF_BOTH_WERE_TRIED}
        return record

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        """Read the JSON of :meth:`to_json`.

        Raises:
            PlainValueError: It is no outcome; says key, value and rule.
        """
        try:
            # A campaign has up to some hundred thousand: pydantic parses and checks in one go, in
            # less time than Python takes to parse alone.
            outcome = _make_adapter().validate_json(text)
        except ValueError as error:
            raise PlainValueError(_describe_first(error)) from error
        # All trials of a student begin with the same scores, and most ran with the same versions.
        shared = {
            "validation_before": _share_scores(outcome.validation_before),
            "test_before": _share_scores(outcome.test_before),
            "versions": _share_versions(tuple(outcome.versions.items())),
        }
        for name, value in shared.items():
            object.__setattr__(outcome, name, value)
        return outcome


@functools.lru_cache(maxsize=4096)
def _share_scores(scores: Scores | None) -> Scores | None:
    """The first one that equals it."""
    return scores


@functools.lru_cache(maxsize=256)
def _share_versions(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)


@functools.cache
def _make_adapter() -> TypeAdapter[Outcome]:
    # Imported when the first outcome is read: commands that read none start without it.
    from pydantic import TypeAdapter

    return TypeAdapter(Outcome)


def _describe_first(error: ValueError) -> str:
    """The first thing that is wrong: key, value and rule."""
    if not hasattr(error, "errors"):
        return str(error)
    problem: ValidationError = error  # type: ignore[assignment]
    first = problem.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = describe_value(first["input"])
    if first["type"] == "json_invalid":
        return f"{rule}, in {shown}"
    return f"{key}: {rule}" if first["type"] == "missing" else f"{key} = {shown}: {rule}"


@dataclass(frozen=True)
class StudentFacts:
    """What a student's file says of the model in it.

    Attributes:
        trial: Where it is from, such as ``mine/uniform/tune/t00-s01 #3``.
        model: The model's name.
        shape: Channels, height and width of an image, the numbers of a vector, or length,
            vocabulary and padding of token ids.
        classes: Names in the order of the logits.
        mean: Per channel, of pixels scaled to [0, 1].
        std: Per channel, of pixels scaled to [0, 1].
        precision: In which it was scored.
        test_accuracy: On the campaign's test images, in [0, 1].
        test_images: How many these are.
        architecture: What stands between these images and classes and the model's own, if
            anything does.
        tokens: Whether it takes token ids.
        code_sha256: Which code the model is, where it is a plugin's; empty otherwise.
    """

    trial: str
    model: str
    shape: Shape
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str
    test_accuracy: float
    test_images: int
    architecture: Architecture | None = None
    tokens: bool = False
    code_sha256: str = ""


class Pair(NamedTuple):
    """Who teaches whom, under which partition. Pairs sort by partition, teacher and student."""

    partition: str
    teacher: int
    student: int

    @property
    def label(self) -> str:
        """How people see it, such as ``t03-s07``."""
        return pair_label(self.teacher, self.student)


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as the store holds it, for status and analysis.

    Attributes:
        study: Study name.
        partition: Partition name.
        stage: Stage name.
        teacher: Teacher's participant number, if the study has a pair.
        student: Student's participant number, if the study has a pair.
        number: The trial's number within its study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE`` or ``FAIL``.
        params: The parameters; empty for an open trial that was not claimed yet.
        outcome: The result of a complete trial.
        error: The reason of a failed one.
        method: What its study tunes, where that is not temperature and alpha alone; in stage
            ``federate`` its algorithm, where that is not federated averaging.
    """

    study: str
    partition: str
    stage: StageName
    teacher: int | None
    student: int | None
    number: int
    state: Literal["WAITING", "RUNNING", "COMPLETE", "FAIL"]
    params: Params
    outcome: Outcome | None = None
    error: str | None = None
    method: str | None = None

    @property
    def algorithm(self) -> str | None:
        """The federated algorithm of a trial of stage ``federate``; ``None`` in other stages."""
        return (self.method or FEDAVG) if self.stage == "federate" else None

    @property
    def pair(self) -> Pair | None:
        """The pair of the trial's study; ``None`` if the study has none."""
        if self.teacher is None or self.student is None:
            return None
        return Pair(self.partition, self.teacher, self.student)


def find_pretrained(rows: Iterable[TrialRow]) -> dict[tuple[str, int], Outcome]:
    """The pre-training outcome of every (partition, participant) that has one."""
    return {
        (row.partition, int(row.params["participant"])): row.outcome
        for row in rows
        if row.stage == "pretrain" and row.state == "COMPLETE" and row.outcome is not None
    }


def group_by_method(rows: Iterable[TrialRow]) -> dict[Pair, dict[str, list[TrialRow]]]:
    """The rows of methods with parameters of their own, by pair and method."""
    found: dict[Pair, dict[str, list[TrialRow]]] = {}
    for row in rows:
        if row.pair is not None and row.method is not None:
            found.setdefault(row.pair, {}).setdefault(row.method, []).append(row)
    return found
