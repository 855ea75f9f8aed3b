"""Handwritten digits of the UCI repository, 8x8 pixels: comes with scikit-learn, needs no files."""

from __future__ import annotations

import numpy as np

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.names import seed_for
from kdopt.data.sources.base import RawDataset
from kdopt.data.splits import draw_stratified

TEST_FRACTION = 0.25
"""The set has no test split of its own; this share of every class becomes one."""


def read_digits(settings: DataSettings) -> RawDataset:
    """All 1,797 digits, values 0..16 scaled to 0..255.

    The test split is the same for every campaign, as it is for the sets that bring their own.

    Args:
        settings: Nothing of it is used; the set has one form.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998
    (scikit-learn's copy of its test part).
    """
    from sklearn.datasets import load_digits  # takes 1.6 s to import: only where it is used

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    rng = np.random.default_rng(seed_for("digits", "test"))
    test = draw_stratified(labels, round(TEST_FRACTION * len(labels)), rng)
    train = np.setdiff1d(np.arange(len(labels)), test)
    names = tuple(str(digit) for digit in bunch.target_names)
    return RawDataset(
        settings.name, images[train], labels[train], images[test], labels[test], names
    )
