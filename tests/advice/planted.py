"""Finished pairs whose best action is known, because it was planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from kdopt.advice.training_set import DO_NOTHING, Action, TrainingSet
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.measurements import PAIR_COLUMNS

VANILLA = Action("vanilla", 1.0, 0.5)
LOW = Action("tuned", 1.0, 0.1)
HIGH = Action("tuned", 4.0, 0.9)
DML = Action("dml")
ACTIONS = (DO_NOTHING, VANILLA, LOW, HIGH, DML)
PARTITIONS = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
Gains = Callable[[dict[str, float]], dict[Action, float]]


def by_gap(features: dict[str, float]) -> dict[Action, float]:
    """Distil from stronger teachers at high T and alpha, from slightly weaker ones at low alpha,
    and never from much weaker ones.
    """
    gap = features["accuracy_gap"]
    if gap > 10:
        return {VANILLA: 4.0, LOW: 1.0, HIGH: 8.0, DML: 2.0}
    if gap > -10:
        return {VANILLA: -1.0, LOW: 3.0, HIGH: -4.0, DML: 1.0}
    return {VANILLA: -5.0, LOW: -2.0, HIGH: -9.0, DML: -3.0}


def planted(
    rule: Gains = by_gap,
    *,
    noise: float = 0.0,
    participants: int = 6,
    partitions: Sequence[str] = PARTITIONS,
    actions: Sequence[Action] = ACTIONS,
    seed: int = 0,
    campaign: str = "planted",
) -> TrainingSet:
    """Pairs that follow a rule: gaps from -40 to 40 pp, other features random, some noise (pp)."""
    rng = np.random.default_rng(seed)
    lines, validation, test = [], [], []
    for partition in partitions:
        # The same accuracies everywhere, so that no partition says more than another.
        accuracy = np.linspace(40, 80, participants)
        for t in range(participants):
            for s in range(participants):
                if t == s:
                    continue
                features = dict(zip(FEATURE_NAMES, rng.random(len(FEATURE_NAMES)), strict=True))
                features["accuracy_gap"] = accuracy[t] - accuracy[s]
                gains = {DO_NOTHING: 0.0, **rule(features)}
                pair = dict(zip(PAIR_COLUMNS, (campaign, partition, t, s), strict=True))
                lines.append({**pair, "transfer_set": "student", "family": partition, **features})
                exact = np.array([gains[a] for a in actions])
                shown = [exact + noise * rng.normal(size=len(actions)) for _ in range(2)]
                for values, one in ((validation, shown[0]), (test, shown[1])):
                    one[0] = 0.0  # doing nothing has no noise
                    values.append(one)
    return TrainingSet(
        "own", tuple(actions), pd.DataFrame(lines), np.array(validation), np.array(test)
    )
