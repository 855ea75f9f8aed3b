"""Numbers that the paper reports, to stand beside those of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kdopt.campaign.stage_settings import StartName, TransferName


class Weighings(NamedTuple):
    """Test accuracies of one way of combining, in percent."""

    weighted: float
    unweighted: float


COLUMNS: tuple[tuple[TransferName, StartName], ...] = (
    ("public_unlabeled_large", "worst"),
    ("public_unlabeled_large", "best"),
    ("public_unlabeled_large", "untrained"),
    ("student", "worst"),
    ("student", "best"),
)
"""The columns of Table II, each of them a weighted and an unweighted one."""

_ROWS: Mapping[str, tuple[float, ...]] = {
    "uniform": (71.64, 72.36, 72.35, 73.43, 69.55, 70.59, 71.34, 72.24, 72.68, 73.97),
    "quantity_skew": (68.18, 64.89, 77.90, 73.86, 67.31, 64.66, 29.77, 30.01, 78.34, 76.33),
    "specialized": (51.57, 54.72, 53.07, 55.11, 52.55, 52.98, 43.70, 50.72, 52.39, 53.60),
    "label_chunks": (65.44, 66.73, 73.33, 71.68, 66.35, 66.22, 19.22, 20.67, 75.71, 75.41),
    "label_dirichlet": (61.67, 54.03, 67.63, 57.82, 63.77, 52.41, 28.61, 27.35, 66.92, 63.00),
}

TABLE_II: Mapping[tuple[str, str, str], Weighings] = {
    (partition, *column): Weighings(*values[2 * i : 2 * i + 2])
    for partition, values in _ROWS.items()
    for i, column in enumerate(COLUMNS)
}
"""Table II by partition, transfer set and start: CIFAR-10, ResNet-18, 30 epochs (section V-A)."""

MEAN_ROUND_REDUCTION = 60.6
"""Percent fewer communication rounds to a target accuracy, on average (abstract of version 2)."""
