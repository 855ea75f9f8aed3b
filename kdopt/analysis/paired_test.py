"""A paired test of models on the same images: is the best of many really better?

McNemar's test compares two classifiers by the images on which they differ. Where many were tried,
the best of them leads by luck alone. This test asks how often the best of all would lead as far if
none was better: for every image the signs of all differences are turned at random together, so it
knows how alike the candidates are (Westfall and Young 1993, the single-step maxT procedure). A
Bonferroni correction takes 55 neighbouring settings for 55 independent ones and finds less.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kdopt.campaign.names import seed_for

Rates = npt.NDArray[np.float32]

FLIPS = 1999
"""Random turns of the signs; the least chance that can be told is one in 2,000."""

_TOLERANCE = 1e-4
"""Sums of floats differ in their last bits between machines; a tie counts as a lead as great."""


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
