"""The features of a teacher-student pair: what is known of it before anything is distilled.

They come from three sources, cheapest first; only the first is always there:

- the two pre-training outcomes (validation accuracy and recall per class), which the store has;
- the number of images of each class that both were trained on, known when a campaign is planned;
- the logits of both models on the images to distil on, without labels: one pass of each model.

Everything is computed on validation or on training images, never on test, so that advice learnt
from these numbers may be judged on test. A number that is not known is NaN. People may also type
features of a pair that no store has (:func:`combine_features`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdopt.errors import AdviceError
from kdopt.outcome import Scores
from kdopt.shown import shorten
from kdopt.typed import check_digits


class Feature(NamedTuple):
    """One number that describes a pair.

    Attributes:
        name: Its column.
        label: How people read it.
        unit: ``pp``, ``%``, ``nats``, ``images``, ``x`` (doublings, shown as a factor) or empty.
    """

    name: str
    label: str
    unit: str


OUTCOME_FEATURES = (
    Feature("accuracy_gap", "accuracy gap (teacher - student)", "pp"),
    Feature("teacher_accuracy", "teacher's accuracy", "%"),
    Feature("student_accuracy", "student's accuracy", "%"),
    Feature("teacher_edge", "what the teacher knows better", "pp"),
    Feature("student_edge", "what the student knows better", "pp"),
    Feature("teacher_loss", "teacher's cross-entropy", "nats"),
)
LABEL_FEATURES = (
    Feature("label_distance", "distance of the label histograms", ""),
    Feature("size_ratio", "teacher's images / student's images", "x"),
    Feature("coverage", "student's images in classes the teacher saw", "%"),
    Feature("teacher_balance", "class balance of the teacher's data", ""),
    Feature("student_balance", "class balance of the student's data", ""),
    Feature("transfer_images", "images to distil on", "images"),
)
MODEL_FEATURES = (
    Feature("disagreement", "images on which the two disagree", "%"),
    Feature("teacher_entropy", "teacher's entropy (1: clueless)", ""),
)
FEATURES = (*OUTCOME_FEATURES, *LABEL_FEATURES, *MODEL_FEATURES)
FEATURES_BY_NAME = {feature.name: feature for feature in FEATURES}
FEATURE_NAMES = tuple(FEATURES_BY_NAME)

RANGES = {
    "pp": (-100.0, 100.0),
    "%": (0.0, 100.0),
    "": (0.0, 1.0),
    "nats": (0.0, 1e6),
    "images": (1.0, 1e12),
    "x": (1e-9, 1e9),
}
"""What the values of a unit can be, as they are typed."""

ROUNDING_PP = 0.11
"""How far two accuracies of one decimal may be from their gap."""


class LogitFeatures(NamedTuple):
    """What the logits of teacher and student on the images to distil on show; no label is used.

    Attributes:
        disagreement: Share of the images that the two classify differently, in [0, 1].
        teacher_entropy: Mean entropy of the teacher's predictions at temperature 1 as a share of
            the greatest possible (the logarithm of the number of classes), in [0, 1].
    """

    disagreement: float
    teacher_entropy: float


def describe_pair(
    teacher: Scores,
    student: Scores,
    teacher_counts: ArrayLike | None = None,
    student_counts: ArrayLike | None = None,
    logits: LogitFeatures | None = None,
    transfer_images: int | None = None,
) -> dict[str, float]:
    """All features of one pair, by the names of :data:`FEATURE_NAMES`.

    If teacher and student change places, ``accuracy_gap`` and ``size_ratio`` change their sign, the
    two edges and the two balances swap, and ``label_distance`` stays. No feature depends on the
    order of the classes.

    Args:
        teacher: The teacher before distillation, on validation.
        student: The student before distillation, on validation.
        teacher_counts: Images of each class that the teacher was trained on, (classes,).
        student_counts: The same of the student.
        logits: How the two differ on the transfer set.
        transfer_images: Images of the transfer set; ``None`` for the student's own data.
    """
    return {
        **_describe_outcomes(teacher, student),
        **_describe_labels(teacher_counts, student_counts, transfer_images),
        "disagreement": 100 * logits.disagreement if logits else math.nan,
        "teacher_entropy": logits.teacher_entropy if logits else math.nan,
    }


def measure_label_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Jensen-Shannon distance of two label histograms, in [0, 1].

    The square root of the Jensen-Shannon divergence in bits (Endres and Schindelin, 2003): a
    metric, 0 for equal proportions and 1 for histograms without a common class; sizes do not
    count. NaN when one is empty.
    """
    p, q = _normalize_counts(one), _normalize_counts(other)
    if p is None or q is None:
        return math.nan
    divergence = (
        _compute_entropy_bits((p + q) / 2)
        - (_compute_entropy_bits(p) + _compute_entropy_bits(q)) / 2
    )
    # Rounding can leave the divergence a little outside its range.
    return math.sqrt(min(1.0, max(0.0, divergence)))


def measure_balance(counts: ArrayLike) -> float:
    """Entropy of a label histogram as a share of the greatest possible, in [0, 1].

    0 when all images are of one class, 1 when all classes have equally many. NaN for an empty
    histogram and for one of a single class.
    """
    p = _normalize_counts(counts)
    return math.nan if p is None or len(p) < 2 else _compute_entropy_bits(p) / math.log2(len(p))


def compare_logits(teacher_logits: ArrayLike, student_logits: ArrayLike) -> LogitFeatures:
    """Disagreement and entropy from two models' logits on the same images, (images, classes).

    Raises:
        ValueError: The shapes differ, or there is no image or fewer than two classes.
    """
    teacher = np.asarray(teacher_logits, dtype=np.float64)
    student = np.asarray(student_logits, dtype=np.float64)
    if teacher.shape != student.shape or teacher.ndim != 2 or not len(teacher):
        raise ValueError(f"logits of shapes {teacher.shape} and {student.shape} cannot be compared")
    if teacher.shape[1] < 2:
        raise ValueError("logits of a single class cannot be compared; there must be two or more")
    # Shifted before exp: large logits would overflow.
    shifted = teacher - teacher.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    entropy = -(np.exp(log_p) * log_p).sum(axis=1) / math.log(teacher.shape[1])
    differ = teacher.argmax(axis=1) != student.argmax(axis=1)
    return LogitFeatures(float(differ.mean()), float(np.clip(entropy.mean(), 0.0, 1.0)))


def _describe_outcomes(teacher: Scores, student: Scores) -> dict[str, float]:
    ahead = _read_recalls(teacher.per_class) - _read_recalls(student.per_class)
    # A class without validation images has no recall, and must not count as 0.
    ahead = 100 * ahead[np.isfinite(ahead)]
    known = len(ahead) > 0
    return {
        "accuracy_gap": 100 * (teacher.known_accuracy - student.known_accuracy),
        "teacher_accuracy": 100 * teacher.known_accuracy,
        "student_accuracy": 100 * student.known_accuracy,
        "teacher_edge": float(np.maximum(ahead, 0).mean()) if known else math.nan,
        "student_edge": float(np.maximum(-ahead, 0).mean()) if known else math.nan,
        "teacher_loss": teacher.loss,
    }


def _describe_labels(
    teacher: ArrayLike | None, student: ArrayLike | None, transfer_images: int | None
) -> dict[str, float]:
    found = dict.fromkeys([feature.name for feature in LABEL_FEATURES], math.nan)
    if transfer_images is not None:
        found["transfer_images"] = float(transfer_images)
    elif student is not None:
        found["transfer_images"] = float(np.sum(student))
    if teacher is None or student is None:
        return found
    of_student, of_teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    # Without images there are no proportions to compare.
    if not of_student.sum() or not of_teacher.sum():
        return found
    return found | {
        "label_distance": measure_label_distance(of_teacher, of_student),
        "size_ratio": math.log2(of_teacher.sum() / of_student.sum()),
        "coverage": 100 * float(of_student[of_teacher > 0].sum() / of_student.sum()),
        "teacher_balance": measure_balance(of_teacher),
        "student_balance": measure_balance(of_student),
    }


def _read_recalls(per_class: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if r is None else r for r in per_class], dtype=np.float64)


def _normalize_counts(counts: ArrayLike) -> NDArray[np.float64] | None:
    array = np.asarray(counts, dtype=np.float64)
    total = array.sum()
    return array / total if total > 0 else None


def _compute_entropy_bits(p: NDArray[np.float64]) -> float:
    some = p[p > 0]
    return float(-(some * np.log2(some)).sum())


def parse_feature(text: str) -> tuple[str, float]:
    """A feature as people type it, such as ``size_ratio=2`` for twice the images.

    Raises:
        KdoptError: It is no feature, or its value is no number or out of range.
    """
    name, _, number = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in FEATURES_BY_NAME:
        units = {"x": "as a factor", "": "0 to 1"}
        known = "\n".join(
            f"  {f.name:<17} {f.label} ({units.get(f.unit, f.unit)})" for f in FEATURES
        )
        raise AdviceError(
            f"feature '{shorten(text, 100)}': give NAME=VALUE, the names are\n{known}"
        )
    check_digits(number, f"feature {name}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    check_feature(name, value, number)
    return name, math.log2(value) if FEATURES_BY_NAME[name].unit == "x" else value


def check_feature(name: str, value: float, typed: str) -> None:
    """Refuse a value that no pair can have.

    Args:
        name: The feature.
        value: As it is typed: ratios as factors.
        typed: The text, for the message.

    Raises:
        AdviceError: It is no number, or out of the range of its unit.
    """
    unit = FEATURES_BY_NAME[name].unit
    least, most = RANGES[unit]
    if not least <= value <= most:
        numbers = "a number above 0" if unit == "x" else "a number"
        raise AdviceError(
            f"feature {name}: '{shorten(typed, 50)}' is not {numbers} from {least:g} to {most:g}"
            f"{f' {unit}' if unit in ('pp', '%', 'nats') else ''}, as in {name}=1"
        )


def combine_features(gap: float | None, texts: Sequence[str]) -> dict[str, float]:
    """The features of a pair as they were typed; the teacher's accuracy follows from two others.

    Args:
        gap: ``accuracy_gap``, if it was given by itself.
        texts: Further ones, see :func:`parse_feature`.

    Raises:
        AdviceError: One is out of range or given twice, or they contradict each other.
    """
    known: dict[str, float] = {}
    if gap is not None:
        check_feature("accuracy_gap", gap, str(gap))
        known["accuracy_gap"] = gap
    for name, value in map(parse_feature, texts):
        if name in known:
            raise AdviceError(f"feature {name}: given twice; give it once")
        known[name] = value
    if {"accuracy_gap", "student_accuracy"} <= known.keys():
        teacher = known["accuracy_gap"] + known["student_accuracy"]
        check_feature("teacher_accuracy", teacher, f"{teacher:g} (student's accuracy and gap)")
        known.setdefault("teacher_accuracy", teacher)
    accuracies = {"accuracy_gap", "student_accuracy", "teacher_accuracy"}
    if accuracies <= known.keys():
        gap_of_both = known["teacher_accuracy"] - known["student_accuracy"]
        if abs(gap_of_both - known["accuracy_gap"]) > ROUNDING_PP:
            raise AdviceError(
                f"accuracy_gap = {known['accuracy_gap']:g}: teacher_accuracy - student_accuracy is "
                f"{gap_of_both:g} pp; leave one of the three out"
            )
    return known
