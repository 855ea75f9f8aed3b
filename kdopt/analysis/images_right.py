"""Which images a model classifies rightly, and what that says about a difference of two models."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdopt.outcome import Outcome, Scores

NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors, for means over hundreds of images."""

ByImage = npt.NDArray[np.float64]


def unpack_right(scores: Scores) -> npt.NDArray[np.uint8]:
    """Which images of a set were classified rightly: (images,), 1 or 0.

    Raises:
        ValueError: The scores have no record of it.
    """
    if scores.right is None or scores.images is None:
        raise ValueError("these scores have no record of single images")
    packed = np.frombuffer(base64.b64decode(scores.right), dtype=np.uint8)
    return np.unpackbits(packed, count=scores.images)


def compare_on_test(after: Sequence[Outcome], before: Sequence[Outcome]) -> ByImage | None:
    """By test image, in how much greater a share of replicates it is right after than before.

    ``None`` if either has no trial, or one without a record of single images.
    """
    rates = _average_right(after), _average_right(before)
    return None if rates[0] is None or rates[1] is None else rates[0] - rates[1]


def measure_image_error(differences: ByImage) -> float:
    """Half the width (pp) of the 95 % interval of a mean difference over other test images."""
    return 100 * NORMAL_95 * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))


class ImageLead(NamedTuple):
    """How far one model leads another on the same test images, pp.

    Attributes:
        mean: The difference of their accuracies.
        error: Half the width of its 95 % interval over other test images of the same kind.
    """

    mean: float
    error: float


def measure_lead(after: Sequence[Outcome], before: Sequence[Outcome]) -> ImageLead | None:
    """How far models lead others on test, replicates averaged; ``None`` if it is not known."""
    differences = compare_on_test(after, before)
    if differences is None:
        return None
    return ImageLead(100 * float(np.mean(differences)), measure_image_error(differences))


def _average_right(outcomes: Sequence[Outcome]) -> ByImage | None:
    if not outcomes or any(outcome.test.right is None for outcome in outcomes):
        return None
    mean: ByImage = np.mean([unpack_right(outcome.test) for outcome in outcomes], axis=0)
    return mean
