"""A decision tree from cheap features of a pair to what to do with it (paper, Fig. 8).

The tree is a multi-output regression tree (scikit-learn): it predicts what every action loses
against the best one of the pair, so pairs are parted where these losses differ, not where the
winner's name does. A leaf advises the action of greatest mean gain, which makes the mean regret
the objective; among 50 cells of T and alpha whose gains hardly differ, a classifier of the winner
chases noise (``kdopt.advice.policies`` compares the two). Validation gains of finished pairs
choose among the ways to distil; their test gains tell what a choice is worth, and veto one that
was worth nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.advice.training_set import DO_NOTHING, Action, TrainingSet
from kdopt.analysis.stats import TIE_DECIMALS

MAX_DEPTH = 3
"""Questions until an advice: eight leaves fit a page and a head."""

LEAF_PAIRS = 6
LEAF_SHARE = 0.06
"""A leaf has at least so many pairs and this share of all: an advice rests on several pairs."""

SHRINKAGE = 12.0
"""Pairs that the mean of the level above counts for in a leaf's mean. Of 50 actions some look good
on six pairs by luck; they have to look good above as well."""

SPREAD_PP = 0.5
"""Losses are taken relative to how much the pair's actions differ, plus so much: a few pairs whose
actions differ by 30 pp would otherwise ask all the questions."""

Indices = NDArray[np.intp]

NEIGHBOUR = 0.25
"""What a neighbouring cell's gain counts for in a smoothed one. Gains of one pair are differences
of a few images; neighbours have nearly the same true gain and other noise."""


@dataclass(frozen=True)
class Leaf:
    """An advice and what it rests on.

    Attributes:
        action: What is advised.
        distil: The same, or the best way to distil all the same where doing nothing is advised.
        band: For a cell: how far T and alpha can move at no clear loss.
        gain: Mean test gain of the action over the leaf's pairs, pp.
        guarded: The same of ``distil`` where it is tried once and the untouched student kept
            unless validation rose, pp.
        gains: By method, the mean test gain of its best action on validation, pp.
        searched: Mean test gain if every action were tried on every pair and the best on
            validation taken, pp.
        members: Line numbers of the pairs that end here.
        partitions: How many of them each partition has.
    """

    action: Action
    distil: Action
    band: Band | None
    gain: float
    guarded: float
    gains: Mapping[str, float]
    searched: float
    members: tuple[int, ...]
    partitions: Mapping[str, int]


@dataclass(frozen=True)
class Question:
    """A question: is the feature at most the threshold (``below``) or not (``above``)?"""

    feature: str
    threshold: float
    below: Question | Leaf
    above: Question | Leaf


class Answer(NamedTuple):
    """One answer on the way to a leaf."""

    feature: str
    threshold: float
    above: bool


@dataclass(frozen=True, eq=False)
class AdviceTree:
    """A learnt tree.

    Attributes:
        root: The first question, or the only advice.
        training_set: What it was learnt from.
        names: The features that it could ask for.
    """

    root: Question | Leaf
    training_set: TrainingSet
    names: tuple[str, ...]

    def find_leaf(self, features: Mapping[str, float]) -> tuple[Leaf, list[Answer]]:
        """Where a pair ends, and the answers that led there."""
        node, path = self.root, list[Answer]()
        while isinstance(node, Question):
            above = features[node.feature] > node.threshold
            path.append(Answer(node.feature, node.threshold, above))
            node = node.above if above else node.below
        return node, path

    def list_leaves(self) -> list[tuple[Leaf, list[Answer]]]:
        """All advices in reading order, with the answers that lead to each."""
        return list(_walk(self.root, []))

    def choose(self, pairs: TrainingSet) -> Indices:
        """The index of the advised action for each of some pairs, (pairs,)."""
        return self._indices([leaf.action for leaf in self._leaves_of(pairs)])

    def to_try(self, pairs: TrainingSet) -> Indices:
        """The same of the best way to distil, for those who try it and keep it if it helps."""
        return self._indices([leaf.distil for leaf in self._leaves_of(pairs)])

    def _leaves_of(self, pairs: TrainingSet) -> list[Leaf]:
        lines = [dict(zip(self.names, x, strict=True)) for x in pairs.get_features(self.names)]
        return [self.find_leaf(line)[0] for line in lines]

    def _indices(self, actions: Sequence[Action]) -> Indices:
        places = {action: i for i, action in enumerate(self.training_set.actions)}
        return np.array([places[action] for action in actions], dtype=np.intp)


def grow_tree(
    training_set: TrainingSet, names: Sequence[str], depth: int = MAX_DEPTH
) -> AdviceTree:
    """Learn a tree.

    Args:
        training_set: One pair or more.
        names: Features it may ask for, known of every pair.
        depth: Most questions; with 0 one action is advised for all.
    """
    growth = _Growth(
        training_set,
        smooth_gains(training_set.actions, training_set.validation),
        training_set.pairs["partition"].to_numpy(),
        tuple(names),
        training_set.get_features(names),
    )
    everyone = np.arange(len(training_set))
    if depth == 0 or not names or len(training_set) < 2:
        leaf = _leaf(growth, everyone, _means(growth.gains))
        return AdviceTree(leaf, training_set, growth.names)
    nodes = _regressor(growth, depth).tree_
    root, _ = _build(growth, nodes, 0, everyone, None)
    return AdviceTree(root, training_set, growth.names)


def get_min_leaf_pairs(training_set: TrainingSet) -> int:
    """Fewest pairs of a leaf."""
    return max(LEAF_PAIRS, math.ceil(LEAF_SHARE * len(training_set)))


class _Growth(NamedTuple):
    """What stays the same while a tree is built: ``gains`` are smooth_gains, ``values`` (pairs,
    names).
    """

    training_set: TrainingSet
    gains: NDArray[np.float64]
    partitions: NDArray[np.object_]
    names: tuple[str, ...]
    values: NDArray[np.float64]


def _regressor(growth: _Growth, depth: int) -> Any:
    """scikit-learn's tree of the relative losses of all actions."""
    from sklearn.tree import DecisionTreeRegressor

    gains = growth.gains
    losses = gains - gains.max(axis=1, keepdims=True)
    spread = gains.std(axis=1, keepdims=True) + SPREAD_PP
    least = get_min_leaf_pairs(growth.training_set)
    model = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=least, random_state=0)
    return model.fit(growth.values, losses / spread)


def _build(
    growth: _Growth, nodes: Any, node: int, members: Indices, above: NDArray[np.float64] | None
) -> tuple[Question | Leaf, Indices]:
    """A node of scikit-learn's tree as one of ours, and what it advises for each member.

    ``nodes`` is that tree, ``above`` are the mean gains of the node's parent.
    """
    gains = growth.gains
    means = _means(gains[members], above)
    mine = np.full(len(members), means.argmax())
    if nodes.children_left[node] < 0:
        return _leaf(growth, members, means), mine
    values = growth.values[members, nodes.feature[node]]
    # scikit-learn compares single-precision numbers.
    low = values.astype(np.float32) <= nodes.threshold[node]
    threshold = find_short_threshold(values[low].max(), values[~low].min())
    advised = mine.copy()
    below, advised[low] = _build(growth, nodes, nodes.children_left[node], members[low], means)
    beyond, advised[~low] = _build(growth, nodes, nodes.children_right[node], members[~low], means)
    better = gains[members, advised] - gains[members, mine]
    # Questions that do not pay for sure, or whose answer changes nothing, are not asked.
    if better.mean() <= compute_standard_error(better):
        return _leaf(growth, members, means), mine
    if isinstance(below, Leaf) and isinstance(beyond, Leaf) and below.action == beyond.action:
        return _leaf(growth, members, means, below.action), advised
    return Question(growth.names[nodes.feature[node]], threshold, below, beyond), advised


def _means(
    gains: NDArray[np.float64], above: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Mean gain of every action, drawn towards the means of the level above."""
    total, weight = gains.sum(axis=0), float(len(gains))
    if above is not None:
        total, weight = total + SHRINKAGE * above, weight + SHRINKAGE
    means: NDArray[np.float64] = np.round(total / weight, TIE_DECIMALS)
    return means


def _leaf(
    growth: _Growth, members: Indices, means: NDArray[np.float64], action: Action | None = None
) -> Leaf:
    training_set, actions = growth.training_set, growth.training_set.actions
    test = training_set.test[members]
    # The first of equals is the simplest: they are sorted so.
    best = int(means.argmax()) if action is None else actions.index(action)
    distil = best if actions[best] != DO_NOTHING else 1 + int(means[1:].argmax())
    rose = np.round(training_set.validation[members, distil], TIE_DECIMALS) > 0
    guarded = float(np.where(rose, test[:, distil], 0.0).mean())
    if guarded <= 0:
        best = actions.index(DO_NOTHING)
    by_method = {}
    for method in dict.fromkeys(a.method for a in actions):
        some = [i for i, a in enumerate(actions) if a.method == method]
        by_method[method] = float(test[:, some[int(means[some].argmax())]].mean())
    own = np.round(training_set.validation[members], TIE_DECIMALS).argmax(axis=1)
    is_cell = actions[best].temperature is not None
    return Leaf(
        action=actions[best],
        distil=actions[distil],
        band=find_band(actions, growth.gains[members], best) if is_cell else None,
        gain=float(test[:, best].mean()),
        guarded=guarded,
        gains=by_method,
        searched=float(test[np.arange(len(members)), own].mean()),
        members=tuple(int(i) for i in members),
        partitions=dict(Counter(growth.partitions[members].tolist())),
    )


def find_short_threshold(low: float, high: float) -> float:
    """The shortest decimal number t with low <= t < high in the middle half between them.

    Any such number parts the pairs alike, so people may as well read a short one.
    """
    middle = low + (high - low) / 2
    for digits in range(-3, 12):
        short = round(middle, digits)
        if low <= short < high and abs(short - middle) <= (high - low) / 4:
            return float(short)
    return float(low)


def _walk(node: Question | Leaf, path: list[Answer]) -> Iterator[tuple[Leaf, list[Answer]]]:
    if isinstance(node, Leaf):
        yield node, path
        return
    for child, above in ((node.below, False), (node.above, True)):
        yield from _walk(child, [*path, Answer(node.feature, node.threshold, above)])


class Band(NamedTuple):
    """The cells about a best one that do no worse, as far as its pairs can tell.

    Attributes:
        temperature: Least and greatest T at the best alpha.
        alpha: Least and greatest alpha at the best T.
    """

    temperature: tuple[float, float]
    alpha: tuple[float, float]


def smooth_gains(actions: Sequence[Action], gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains with every cell drawn towards its (up to four) neighbours on the grid.

    Args:
        actions: What was tried; what is no cell is left as it is.
        gains: (pairs, actions), pp.
    """
    places = _places(actions)
    out = gains.copy()
    for (t, a), index in places.items():
        steps = ((t - 1, a), (t + 1, a), (t, a - 1), (t, a + 1))
        near = [places[step] for step in steps if step in places]
        total = gains[:, index] + NEIGHBOUR * gains[:, near].sum(axis=1)
        out[:, index] = total / (1 + NEIGHBOUR * len(near))
    return out


def find_band(actions: Sequence[Action], gains: NDArray[np.float64], best: int) -> Band:
    """Walk from the best cell along T and along alpha while nothing is lost for sure.

    A cell does no worse when the best one's mean lead over it is within one standard error of
    that lead over the pairs. The two are walked one at a time (a cross, not a box): cells far off
    in both at once were not looked at.

    Args:
        actions: What was tried.
        gains: (pairs, actions), pp.
        best: Index of a cell among the actions.
    """
    places = _places(actions)
    temperatures, alphas = _axes(actions)
    t, a = next(place for place, index in places.items() if index == best)

    def near(place: tuple[int, int]) -> bool:
        if place not in places:
            return False
        lead = gains[:, best] - gains[:, places[place]]
        return bool(lead.mean() <= compute_standard_error(lead))

    low_t = _walk_axis(t, -1, lambda i: near((i, a)))
    high_t = _walk_axis(t, 1, lambda i: near((i, a)))
    low_a = _walk_axis(a, -1, lambda i: near((t, i)))
    high_a = _walk_axis(a, 1, lambda i: near((t, i)))
    return Band((temperatures[low_t], temperatures[high_t]), (alphas[low_a], alphas[high_a]))


def compute_standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of some values; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _walk_axis(start: int, step: int, near: Callable[[int], bool]) -> int:
    while near(start + step):
        start += step
    return start


def _axes(actions: Sequence[Action]) -> tuple[list[float], list[float]]:
    temperatures = sorted({a.temperature for a in actions if a.temperature is not None})
    return temperatures, sorted({a.alpha for a in actions if a.alpha is not None})


def _places(actions: Sequence[Action]) -> dict[tuple[int, int], int]:
    """The index of each cell among the actions, by its place on the grid."""
    temperatures, alphas = _axes(actions)
    return {
        (temperatures.index(a.temperature), alphas.index(a.alpha)): i
        for i, a in enumerate(actions)
        if a.temperature is not None and a.alpha is not None
    }
