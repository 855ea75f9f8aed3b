"""Advice for a pair that nothing was distilled for yet, with calibrated intervals.

A tree's prediction for a pair is the mean gain of the leaf where the pair ends. How far off such
predictions are is measured: every partition is left out once, and what the tree of the others
predicts for its pairs is compared with what they gained. These errors, relative to how much gains
differ within a leaf, bound the next one: conformal prediction with normalised residuals (Lei et
al., 2018), with whole partitions left out because the pairs of one are alike. How often such bounds
really hold is measured by leaving out one partition more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.advice.policies import (
    FIXED_POLICIES,
    TREE_POLICY,
    compare_policies,
    list_policies,
    make_folds,
)
from kdopt.advice.training_set import Action, TrainingSet
from kdopt.advice.tree import AdviceTree, Answer, Leaf, grow_tree
from kdopt.errors import AdviceError
from kdopt.outcome import Pair

MIN_TRAINING_PAIRS = 20
"""Three of the smallest leaves: with fewer, what tells pairs apart could be luck."""

MIN_TRAINING_PARTITIONS = 3
"""With two, advice for a third would be judged by trees that know a single one."""

INTERVAL_LEVELS = (0.80, 0.95)
N_SIMILAR_PAIRS = 3

SPREAD_FLOOR_PP = 0.5
"""Added to the spread of a leaf's gains: pairs that agree by luck must not make a leaf certain."""


class Interval(NamedTuple):
    """An interval that holds a gain with some probability.

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


class SimilarPair(NamedTuple):
    """A finished pair with features near those asked about.

    Attributes:
        campaign: Its campaign.
        pair: The pair.
        transfer_set: The images that were distilled on.
        gain: Test gain there of the best way to distil that is advised here, pp.
    """

    campaign: str
    pair: Pair
    transfer_set: str
    gain: float


class BetterRule(NamedTuple):
    """A fixed policy that lost less than the tree where neither knew the partition.

    Attributes:
        label: Which.
        action: What it advises for every pair.
        regret: Its mean regret with each partition left out, pp.
    """

    label: str
    action: Action
    regret: float


class Advice(NamedTuple):
    """What to do with a pair, why, and what to expect of it.

    Attributes:
        leaf: What is advised (``leaf.action``) and the pairs that it rests on.
        path: The answers that led there.
        gain: Expected test gain of distilling as advised, or, where the advice is to leave the
            student as it is, of distilling all the same (``leaf.distil``), pp.
        intervals: Of that gain, one per level.
        error: Mean absolute error of such predictions in partitions left out, pp.
        regrets: The policies that were compared with each partition left out; the tree is the one
            that advised (see :func:`kdopt.advice.policies.compare_policies`).
        simpler: A fixed policy that would have done better than the tree, if there is one.
        names: The features of the pair that the tree could use.
        outside: Features beyond what was seen: (value, least seen, greatest seen).
        nearest: The most similar finished pairs.
        training_set: What the tree was learnt from.
    """

    leaf: Leaf
    path: list[Answer]
    gain: float
    intervals: list[Interval]
    error: float
    regrets: pd.DataFrame
    simpler: BetterRule | None
    names: tuple[str, ...]
    outside: Mapping[str, tuple[float, float, float]]
    nearest: list[SimilarPair]
    training_set: TrainingSet


class Prediction(NamedTuple):
    """The gain that a leaf predicts of distilling (also where it advises not to), pp.

    Attributes:
        gain: Expected test gain.
        scale: How much gains differ within the leaf, > 0.
    """

    gain: float
    scale: float


class HeldOutPredictions(NamedTuple):
    """Predictions of trees for pairs of partitions they did not know, pp, each (pairs,).

    Attributes:
        predicted: Expected test gains.
        scale: How much gains differ within the leaf, > 0.
        actual: The test gains.
    """

    predicted: NDArray[np.float64]
    scale: NDArray[np.float64]
    actual: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Actual minus predicted gains, relative to the leaf's spread, (pairs,)."""
        relative: NDArray[np.float64] = (self.actual - self.predicted) / self.scale
        return relative


def has_enough_pairs(training_set: TrainingSet) -> bool:
    """Whether a training set is large enough for advice that can be judged."""
    return (
        len(training_set) >= MIN_TRAINING_PAIRS
        and training_set.n_partitions >= MIN_TRAINING_PARTITIONS
    )


def check_training_set_size(training_set: TrainingSet) -> None:
    """Refuse a training set that is too small for advice that can be judged.

    Raises:
        AdviceError: It is; the message says what there is and what it takes.
    """
    if not has_enough_pairs(training_set):
        notes = training_set.left_out
        why = f" (left out: {'; '.join(notes)})" if notes else ""
        raise AdviceError(
            f"too little to learn from: {len(training_set)} finished cases of "
            f"{training_set.n_partitions} partitions{why}; an "
            f"advice takes {MIN_TRAINING_PAIRS} of {MIN_TRAINING_PARTITIONS} partitions, so that "
            "it can be judged on one that it does not know. Run a campaign with the grid sampler "
            "and more partitions, such as studies/fashion-advice.toml"
        )


def advise_pair(training_set: TrainingSet, features: Mapping[str, float]) -> Advice:
    """Advise on a pair.

    Args:
        training_set: Finished pairs of the situation, without the pair itself.
        features: What is known of it, by name (see :mod:`kdopt.features.definitions`); NaN or
            absent where it is not known.

    Raises:
        AdviceError: Finished pairs or features are too few for advice that can be judged.
    """
    usable = training_set.usable_features
    names = tuple(n for n in usable if math.isfinite(features.get(n, math.nan)))
    check_training_set_size(training_set)
    if not names:
        given = ", ".join(k for k, v in features.items() if math.isfinite(v)) or "nothing"
        raise AdviceError(
            f"nothing to go by: of this pair {given} is known, but of the finished ones "
            f"{', '.join(usable) or 'nothing that tells them apart'}"
        )
    tree = grow_tree(training_set, names)
    leaf, path = tree.find_leaf(features)
    prediction = predict_gain(tree, leaf)
    past = predict_held_out(training_set, names)
    intervals = []
    measured = measure_coverage(training_set, names, INTERVAL_LEVELS)
    for level, held in zip(INTERVAL_LEVELS, measured, strict=True):
        bounds = compute_error_bounds(past.errors, level)
        low, high = (prediction.gain + prediction.scale * error for error in bounds)
        intervals.append(Interval(level, low, high, held))
    regrets = compare_policies(training_set, "partition", names)
    return Advice(
        leaf,
        path,
        prediction.gain,
        intervals,
        float(np.abs(past.actual - past.predicted).mean()),
        regrets,
        _find_better_rule(training_set, names, regrets),
        names,
        _find_features_outside(training_set, names, features),
        _find_similar_pairs(training_set, names, features, leaf),
        training_set,
    )


def predict_gain(tree: AdviceTree, leaf: Leaf) -> Prediction:
    """The mean test gain of a leaf's pairs under its best way to distil, and their spread."""
    best = tree.training_set.actions.index(leaf.distil)
    gains = tree.training_set.test[list(leaf.members), best]
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return Prediction(float(gains.mean()), spread + SPREAD_FLOOR_PP)


def predict_held_out(training_set: TrainingSet, names: Sequence[str]) -> HeldOutPredictions:
    """Every pair as predicted without its partition; empty if there is a single partition."""
    parts = [
        _predict_unknown(known, new, names) for known, new in _leave_partitions_out(training_set)
    ]
    if not parts:
        return HeldOutPredictions(*np.zeros((3, 0)))
    return HeldOutPredictions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def compute_error_bounds(errors: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Two of the errors that the next one lies between with at least this probability.

    That holds for errors in random order; NaN when there are too few of them.
    """
    n = len(errors)
    # Rounded before floor: 100 * (1 - 0.8) / 2 is a little less than 10.
    rank = math.floor(round((n + 1) * (1 - level) / 2, 9))
    if rank < 1:
        return math.nan, math.nan
    ordered = np.sort(errors)
    return float(ordered[rank - 1]), float(ordered[n - rank])


def measure_coverage(
    training_set: TrainingSet, names: Sequence[str], levels: Sequence[float]
) -> list[float]:
    """How often intervals made from the other partitions held the actual gain, in [0, 1].

    One number per level; NaN where no interval could be made.
    """
    hits: dict[float, list[bool]] = {level: [] for level in levels}
    for known, new in _leave_partitions_out(training_set):
        past = predict_held_out(known, names).errors
        errors = _predict_unknown(known, new, names).errors
        for level in levels:
            low, high = compute_error_bounds(past, level)
            if math.isfinite(low):
                hits[level] += ((low <= errors) & (errors <= high)).tolist()
    return [sum(found) / len(found) if found else math.nan for found in hits.values()]


def _leave_partitions_out(training_set: TrainingSet) -> Iterator[tuple[TrainingSet, TrainingSet]]:
    for known, new in make_folds(training_set, "partition"):
        yield training_set.select_pairs(known), training_set.select_pairs(new)


def _predict_unknown(
    known: TrainingSet, new: TrainingSet, names: Sequence[str]
) -> HeldOutPredictions:
    tree = grow_tree(known, names)
    indices = {action: i for i, action in enumerate(known.actions)}
    lines = []
    for features, gains in zip(new.get_features(names), new.test, strict=True):
        leaf, _ = tree.find_leaf(dict(zip(names, features, strict=True)))
        lines.append((*predict_gain(tree, leaf), gains[indices[leaf.distil]]))
    return HeldOutPredictions(*np.array(lines, dtype=np.float64).reshape(-1, 3).T)


def _find_better_rule(
    training_set: TrainingSet, names: Sequence[str], table: pd.DataFrame
) -> BetterRule | None:
    regrets = {str(n): float(r) for n, r in zip(table["policy"], table["regret"], strict=True)}
    fixed = [p for p in list_policies(training_set, names) if p.name in FIXED_POLICIES]
    best = min(fixed, key=lambda p: regrets[p.name])
    if regrets[best.name] >= regrets[TREE_POLICY]:
        return None
    index = int(best.choose(training_set, training_set).advised[0])
    return BetterRule(best.label, training_set.actions[index], regrets[best.name])


def _find_features_outside(
    training_set: TrainingSet, names: Sequence[str], features: Mapping[str, float]
) -> dict[str, tuple[float, float, float]]:
    seen = training_set.pairs
    ranges = {name: (seen[name].min(), seen[name].max()) for name in names}
    return {
        name: (features[name], float(low), float(high))
        for name, (low, high) in ranges.items()
        if not low <= features[name] <= high
    }


def _find_similar_pairs(
    training_set: TrainingSet, names: Sequence[str], features: Mapping[str, float], leaf: Leaf
) -> list[SimilarPair]:
    seen = training_set.get_features(names)
    here = np.array([features[name] for name in names])
    # In standard deviations, so that no feature counts for more because of its unit.
    distances = np.square((seen - here) / seen.std(axis=0)).sum(axis=1)
    action = training_set.actions.index(leaf.distil)
    lines = training_set.pairs.to_dict("records")
    return [
        SimilarPair(
            str(lines[i]["campaign"]),
            Pair(str(lines[i]["partition"]), int(lines[i]["teacher"]), int(lines[i]["student"])),
            str(lines[i]["transfer_set"]),
            float(training_set.test[i, action]),
        )
        for i in np.argsort(distances, kind="stable")[:N_SIMILAR_PAIRS]
    ]
