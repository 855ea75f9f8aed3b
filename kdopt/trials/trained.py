"""The models behind outcomes: which object holds the weights of a trial that was just run."""

from __future__ import annotations

import math
import weakref
from collections import deque

from torch import nn

from kdopt.campaign.participants import Architecture
from kdopt.data.datasets import Dataset
from kdopt.outcome import Outcome, Scores, StudentFacts
from kdopt.plugins.code import get_code_sha256
from kdopt.train.fit import TOGETHER, DivergedError


class TrainedModels:
    """The models that were trained and scored last; the next trial fills most of them again."""

    def __init__(self) -> None:
        # Weak: a model that no trial needs any more must not take a GPU's memory.
        self._last: deque[tuple[Scores, weakref.ref[nn.Module]]] = deque(maxlen=TOGETHER)

    def note(self, test: Scores, model: nn.Module) -> None:
        """Remember which model has these scores, and what scores it has no more."""
        others = [entry for entry in self._last if entry[1]() is not model]
        self._last = deque([*others, (test, weakref.ref(model))], maxlen=TOGETHER)

    def find(self, outcome: Outcome) -> nn.Module | None:
        """The model of an outcome; ``None`` if another trial has filled it again since."""
        for scores, model in self._last:
            # The very object: two trials may have equal scores.
            if scores is outcome.test:
                return model()
        return None


def describe_student(
    kind: Architecture, dataset: Dataset, trial: str, outcome: Outcome
) -> StudentFacts:
    """What a student's file says of it.

    Args:
        kind: What its model is.
        dataset: The images.
        trial: The trial that it is from.
        outcome: What it recorded.
    """
    return StudentFacts(
        trial=trial,
        model=kind.model,
        shape=dataset.shape,
        classes=dataset.class_names,
        mean=dataset.mean,
        std=dataset.std,
        precision=outcome.precision,
        test_accuracy=outcome.test.accuracy,
        test_images=len(dataset.test_labels),
        architecture=None if kind.is_plain else kind,
        tokens=dataset.tokens is not None,
        code_sha256=get_code_sha256("model", kind.model),
    )


def find_checkpoint(pretrained: Outcome) -> str:
    """The sha256 of a participant's pre-trained weights.

    Raises:
        DivergedError: Its training diverged.
    """
    assert pretrained.checkpoint is not None
    if not math.isfinite(pretrained.validation.loss):
        # A result of an older version: those that rest on it fail, and the others go on.
        raise DivergedError(
            f"the pre-trained model {pretrained.checkpoint[:12]}... diverged: its loss on "
            f"validation is {pretrained.validation.loss}"
        )
    return pretrained.checkpoint
