"""Advice for a pair that nothing was distilled for yet, learnt from finished ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.advice.calibration import bounds, coverage, kept, promise_of
from kdopt.advice.policies import RULES, TREE, policies, regrets
from kdopt.advice.training_set import Action, Lessons
from kdopt.advice.tree import Leaf, Step, grow
from kdopt.analysis.results import Pair
from kdopt.errors import AdviceError

MIN_PAIRS = 20
"""Three of the smallest leaves: with fewer, what tells pairs apart could be luck."""

MIN_PARTITIONS = 3
"""With two, an advice for a third would be judged by trees that know a single one."""

LEVELS = (0.80, 0.95)
NEAREST = 3


class Interval(NamedTuple):
    """Where a gain lies with some probability.

    Attributes:
        level: The probability, in (0, 1).
        low: Lower bound, pp; NaN when there are too few pairs to say.
        high: Upper bound, pp.
        held: How often such intervals held the gains of partitions left out, in [0, 1]; NaN when
            there are too few to know.
    """

    level: float
    low: float
    high: float
    held: float


class Alike(NamedTuple):
    """A finished pair with features near those asked about."""

    campaign: str
    pair: Pair
    transfer_set: str
    gain: float
    """What the best way to distil that is advised here gained there on test, pp."""


class Simpler(NamedTuple):
    """A rule without questions that lost less than the tree where neither knew the partition.

    Attributes:
        label: Which.
        action: What it advises for every pair.
        regret: Its mean regret with each partition left out, pp.
    """

    label: str
    action: Action
    regret: float


class Advice(NamedTuple):
    """What to do with a pair, why, and what that is worth.

    Attributes:
        leaf: What is advised (``leaf.action``) and the pairs that it rests on.
        path: The answers that led there.
        gain: Expected test gain of distilling as advised, or, where the advice is to leave the
            student as it is, of distilling all the same (``leaf.distil``), pp.
        intervals: Of that gain, one per level.
        error: Mean absolute difference between such promises and what came out, in partitions
            left out, pp.
        regrets: The rules that were compared, leaving a partition out; the tree is the one that
            advised (see :func:`kdopt.advice.policies.regrets`).
        simpler: A rule that would have done better than the tree, if there is one.
        names: The features that were known and could be asked for.
        outside: Features beyond what was seen: (value, least seen, greatest seen).
        nearest: Finished pairs most alike.
        lessons: What was learnt from.
    """

    leaf: Leaf
    path: list[Step]
    gain: float
    intervals: list[Interval]
    error: float
    regrets: pd.DataFrame
    simpler: Simpler | None
    names: tuple[str, ...]
    outside: Mapping[str, tuple[float, float, float]]
    nearest: list[Alike]
    lessons: Lessons


def check_enough(lessons: Lessons) -> None:
    """Refuse lessons that are too few for an advice that could be judged.

    Raises:
        AdviceError: They are; the message says what there is and what it takes.
    """
    n, partitions = len(lessons), lessons.pairs["partition"].nunique()
    if n < MIN_PAIRS or partitions < MIN_PARTITIONS:
        why = f" (left out: {'; '.join(lessons.left_out)})" if lessons.left_out else ""
        raise AdviceError(
            f"too little to learn from: {n} finished cases of {partitions} partitions{why}; an "
            f"advice takes {MIN_PAIRS} of {MIN_PARTITIONS} partitions, so that it can be judged on "
            "one that it does not know. Run a campaign with the grid sampler and more partitions, "
            "such as studies/fashion-advice.toml"
        )


def advise(lessons: Lessons, features: Mapping[str, float]) -> Advice:
    """Advise for a pair.

    Args:
        lessons: Finished pairs of the situation, without the pair itself.
        features: What is known of it, by name (see :mod:`kdopt.features.definitions`); NaN or
            absent where it is not known.

    Raises:
        AdviceError: Lessons or features are too few for an advice that could be judged.
    """
    names = tuple(n for n in lessons.known if math.isfinite(features.get(n, math.nan)))
    check_enough(lessons)
    if not names:
        given = ", ".join(k for k, v in features.items() if math.isfinite(v)) or "nothing"
        raise AdviceError(
            f"nothing to go by: of this pair {given} is known, but of the finished ones "
            f"{', '.join(lessons.known) or 'nothing that tells them apart'}"
        )
    tree = grow(lessons, names)
    leaf, path = tree.leaf(features)
    promise = promise_of(tree, leaf)
    past = kept(lessons, names)
    intervals = []
    for level, held in zip(LEVELS, coverage(lessons, names, LEVELS), strict=True):
        low, high = (promise.gain + promise.scale * e for e in bounds(past.errors, level))
        intervals.append(Interval(level, low, high, held))
    table = regrets(lessons, "partition", names)
    return Advice(
        leaf,
        path,
        promise.gain,
        intervals,
        float(np.abs(past.came - past.promised).mean()),
        table,
        _simpler(lessons, names, table),
        names,
        _outside(lessons, names, features),
        _nearest(lessons, names, features, leaf),
        lessons,
    )


def _simpler(lessons: Lessons, names: Sequence[str], table: pd.DataFrame) -> Simpler | None:
    lost = {str(n): float(r) for n, r in zip(table["policy"], table["regret"], strict=True)}
    rules = [p for p in policies(lessons, names) if p.name in RULES]
    best = min(rules, key=lambda p: lost[p.name])
    if lost[best.name] >= lost[TREE]:
        return None
    index = int(best.choose(lessons, lessons).advised[0])
    return Simpler(best.label, lessons.actions[index], lost[best.name])


def _outside(
    lessons: Lessons, names: Sequence[str], features: Mapping[str, float]
) -> dict[str, tuple[float, float, float]]:
    seen = {name: (lessons.pairs[name].min(), lessons.pairs[name].max()) for name in names}
    return {
        name: (features[name], float(low), float(high))
        for name, (low, high) in seen.items()
        if not low <= features[name] <= high
    }


def _nearest(
    lessons: Lessons, names: Sequence[str], features: Mapping[str, float], leaf: Leaf
) -> list[Alike]:
    seen = lessons.features(names)
    here = np.array([features[name] for name in names])
    distances = np.square((seen - here) / seen.std(axis=0)).sum(axis=1)
    action = lessons.actions.index(leaf.distil)
    lines = lessons.pairs.to_dict("records")
    return [
        Alike(
            str(lines[i]["campaign"]),
            Pair(str(lines[i]["partition"]), int(lines[i]["teacher"]), int(lines[i]["student"])),
            str(lines[i]["transfer_set"]),
            float(lessons.test[i, action]),
        )
        for i in np.argsort(distances, kind="stable")[:NEAREST]
    ]
