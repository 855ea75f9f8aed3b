"""Grids of pairs without a store, such as the lessons that come with kdopt, as a training set.

Such a record has the models' names, a few features, and the gain on validation at every point of T
and alpha. It lacks test gains, the control and other methods, so its gains on validation are what
policies are judged on. That is fair for pairs that were left out, whose gains had no part in the
choice; but among 55 points the best is too good by luck, so regrets look greater than they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.advice.training_set import DO_NOTHING, Action, TrainingSet, rank_simplicity
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.table import PAIR_COLUMNS

GridPoint = tuple[float, float]
"""Temperature and alpha."""


class GridPair(NamedTuple):
    """One pair of a record.

    Attributes:
        teacher: A name of its weights.
        student: The same.
        features: What is known of it, by name.
        gains: By point, pp on validation.
    """

    teacher: str
    student: str
    features: Mapping[str, float]
    gains: Mapping[GridPoint, float]


def build_from_grids(
    source: str, partitions: Sequence[str], vanilla: GridPoint, pairs: Sequence[GridPair]
) -> TrainingSet:
    """The pairs of a record, all at the same points.

    Args:
        source: What stands for the campaign.
        partitions: The names of its partitions, in the order in which the record has them. Pairs
            of one partition are those that are joined by models, as no model has two partitions.
        vanilla: The untuned point.
        pairs: At least one.

    Raises:
        ValueError: There are not as many partitions as names.
    """
    groups = _join_models(pairs)
    if len(set(groups)) != len(partitions):
        raise ValueError(f"{len(set(groups))} partitions, but {len(partitions)} names")
    participants: dict[tuple[int, str], int] = {}
    counts = [0] * len(partitions)
    # Records are sorted by teacher, so teachers come in the order of their numbers.
    for group, pair in zip(groups, pairs, strict=True):
        if (group, pair.teacher) not in participants:
            participants[group, pair.teacher] = counts[group]
            counts[group] += 1
    actions = sorted(
        (Action("vanilla" if p == vanilla else "tuned", *p) for p in pairs[0].gains),
        key=rank_simplicity,
    )
    lines = [
        {
            "campaign": source,
            "partition": partitions[group],
            "teacher": participants[group, pair.teacher],
            "student": participants[group, pair.student],
            "transfer_set": "student",
            "family": partitions[group],
            **pair.features,
        }
        for group, pair in zip(groups, pairs, strict=True)
    ]
    columns = [*PAIR_COLUMNS, "transfer_set", "family", *FEATURE_NAMES]
    gains = [[0.0, *(pair.gains[a.temperature, a.alpha] for a in actions)] for pair in pairs]  # type: ignore[index]
    table = np.array(gains, dtype=np.float64)
    frame = pd.DataFrame(lines).reindex(columns=columns)
    return TrainingSet("own", (DO_NOTHING, *actions), frame, table, table, judged_on="validation")


def _join_models(pairs: Sequence[GridPair]) -> list[int]:
    """The group of each pair, numbered as they come: pairs that share a model share it."""
    above: dict[str, str] = {}

    def find(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for pair in pairs:
        above[find(pair.teacher)] = find(pair.student)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(find(pair.teacher), len(numbers)) for pair in pairs]
