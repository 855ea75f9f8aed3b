"""What a tree promises, and how far off its promises are in partitions it was not learnt from.

Every partition of the lessons is left out once, and what the tree of the others promised for its
pairs is compared with what came out. The errors, relative to how much gains differ within a leaf,
bound the next one: conformal prediction with normalised residuals (Lei et al., 2018), with whole
partitions left out because the pairs of one are alike. How often such bounds really held is
measured by leaving out one partition more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kdopt.advice.policies import folds_of
from kdopt.advice.training_set import Floats, Lessons
from kdopt.advice.tree import AdviceTree, Leaf, grow

FLOOR_PP = 0.5
"""Added to the spread of a leaf's gains: a leaf whose pairs agree by luck is not to be sure."""


class Promise(NamedTuple):
    """What a leaf promises of distilling (also where it advises not to), pp.

    Attributes:
        gain: Expected test gain.
        scale: How much gains differ within the leaf, > 0.
    """

    gain: float
    scale: float


class Kept(NamedTuple):
    """Promises of trees for pairs of partitions they did not know, and what came out, (pairs,)."""

    promised: Floats
    scale: Floats
    came: Floats

    @property
    def errors(self) -> Floats:
        """Came out minus promised, relative to the leaf's spread."""
        relative: Floats = (self.came - self.promised) / self.scale
        return relative


def promise_of(tree: AdviceTree, leaf: Leaf) -> Promise:
    """The mean test gain of a leaf's pairs under its way to distil, and its spread."""
    best = tree.lessons.actions.index(leaf.distil)
    gains = tree.lessons.test[list(leaf.members), best]
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return Promise(float(gains.mean()), spread + FLOOR_PP)


def kept(lessons: Lessons, names: Sequence[str]) -> Kept:
    """Every pair as trees that do not know its partition promise it; empty for one partition."""
    parts = [_judged(others, new, names) for others, new in _folds(lessons)]
    if not parts:
        return Kept(*np.zeros((3, 0)))
    return Kept(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def bounds(errors: Floats, level: float) -> tuple[float, float]:
    """Between which of some errors the next one lies with at least this probability.

    That holds for errors in random order; NaN when there are too few of them.
    """
    n = len(errors)
    # Rounded: 100 * (1 - 0.8) / 2 is a little less than 10.
    rank = math.floor(round((n + 1) * (1 - level) / 2, 9))
    if rank < 1:
        return math.nan, math.nan
    ordered = np.sort(errors)
    return float(ordered[rank - 1]), float(ordered[n - rank])


def coverage(lessons: Lessons, names: Sequence[str], levels: Sequence[float]) -> list[float]:
    """How often intervals made from the other partitions held what came out, in [0, 1], by level.

    NaN where no interval could be made.
    """
    hits: dict[float, list[bool]] = {level: [] for level in levels}
    for others, new in _folds(lessons):
        past, errors = kept(others, names).errors, _judged(others, new, names).errors
        for level in levels:
            low, high = bounds(past, level)
            if math.isfinite(low):
                hits[level] += ((low <= errors) & (errors <= high)).tolist()
    return [sum(found) / len(found) if found else math.nan for found in hits.values()]


def _folds(lessons: Lessons) -> Iterator[tuple[Lessons, Lessons]]:
    for known, new in folds_of(lessons, "partition"):
        yield lessons.take(known), lessons.take(new)


def _judged(known: Lessons, new: Lessons, names: Sequence[str]) -> Kept:
    tree = grow(known, names)
    places = {action: i for i, action in enumerate(known.actions)}
    lines = []
    for features, gains in zip(new.features(names), new.test, strict=True):
        leaf, _ = tree.leaf(dict(zip(names, features, strict=True)))
        lines.append((*promise_of(tree, leaf), gains[places[leaf.distil]]))
    return Kept(*np.array(lines, dtype=np.float64).reshape(-1, 3).T)
