"""Models compared on the same images, one by one: errors, leads, and whether the best is better.

McNemar's test compares two classifiers by the images on which they differ. Where many were tried,
the best of them leads by luck alone. :func:`rate_lead` asks how often the best of all would lead as
far if none was better: for every image the signs of all differences are turned at random together,
so it knows how alike the candidates are (Westfall and Young 1993, the single-step maxT procedure).
A Bonferroni correction takes 55 neighbouring settings for 55 independent ones and finds less.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdopt.campaign.names import seed_for
from kdopt.outcome import Outcome, Scores

NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors, for means over hundreds of images."""

ByImage = npt.NDArray[np.float64]


FLIPS = 1999
"""Random turns of the signs; the least chance that can be told is one in 2,000."""

_TOLERANCE = 1e-4
"""Sums of floats differ in their last bits between machines; a tie counts as a lead as great."""


def unpack_right(scores: Scores) -> npt.NDArray[np.uint8]:
    """Which images of a set were classified rightly: (images,), 1 or 0.

    Raises:
        ValueError: The scores have no record of it.
    """
    if scores.right is None or scores.images is None:
        raise ValueError("these scores have no record of single images")
    return unpack_bits(scores.right, scores.images)


def unpack_bits(text: str, count: int | None = None) -> npt.NDArray[np.uint8]:
    """The bits of a recorded text, or so many of them: 1 or 0."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=count)


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


Rates = npt.NDArray[np.float32]


def rate_lead(baseline: Rates, candidates: Rates) -> float:
    """How often chance alone gives the best candidate so great a lead over the baseline.

    One-sided. With one candidate and one replicate this is McNemar's test by simulation. The
    error rate holds over all candidates together, exactly, if the differences of an image are as
    likely to have either sign.

    Args:
        baseline: (images,), how often each image is classified rightly, in [0, 1].
        candidates: (images, candidates), the same of each candidate.

    Returns:
        A chance in (0, 1]; 1 where no candidate differs from the baseline.
    """
    differences = candidates - baseline[:, None]
    differences = differences[np.any(differences != 0, axis=1)]
    scale = np.sqrt((differences**2).sum(axis=0))
    differences = differences[:, scale > 0] / scale[scale > 0]
    if not differences.size:
        return 1.0
    lead = float(differences.sum(axis=0).max())
    # One sign per image for all candidates: what they have in common stays common.
    images = len(differences)
    signs = _draw_signs(1 << (images - 1).bit_length())[:, :images]
    by_chance = (signs @ differences).max(axis=1)
    return float((1 + np.count_nonzero(by_chance >= lead - _TOLERANCE)) / (1 + FLIPS))


@lru_cache(maxsize=4)
def _draw_signs(images: int) -> Rates:
    # A seed of its own: the same comparison gives the same chance in every report.
    generator = np.random.default_rng(seed_for("paired test", images))
    return 2 * generator.integers(0, 2, size=(FLIPS, images), dtype=np.int8).astype(np.float32) - 1
