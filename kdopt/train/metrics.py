"""Metrics: pure functions. Accuracies are shares in [0, 1]; gains are percentage points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kdopt.outcome import Scores


def score(logits: Tensor, labels: Tensor, n_classes: int) -> Scores:
    """Accuracy, accuracy per class and mean cross-entropy of one model on one set.

    Args:
        logits: (n, classes).
        labels: (n,), class numbers below ``n_classes``.
        n_classes: Number of classes.
    """
    right = logits.argmax(dim=1) == labels
    hits = torch.bincount(labels, weights=right.double(), minlength=n_classes).tolist()
    totals = torch.bincount(labels, minlength=n_classes).tolist()
    per_class = tuple(h / t if t else None for h, t in zip(hits, totals, strict=True))
    loss = functional.cross_entropy(logits.double(), labels)
    return Scores(sum(hits) / max(1, sum(totals)), per_class, float(loss))


def accuracy_gain(after: Scores, before: Scores) -> float:
    """Accuracy after minus accuracy before, in percentage points (paper, section III)."""
    return 100 * (after.accuracy - before.accuracy)


class Change(NamedTuple):
    """Learning and forgetting, both >= 0, in percentage points."""

    learning: float
    forgetting: float


def learning_and_forgetting(after: Scores, before: Scores) -> Change:
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
        learning=sum(max(0.0, d) for d in differences) / n,
        forgetting=sum(max(0.0, -d) for d in differences) / n,
    )
