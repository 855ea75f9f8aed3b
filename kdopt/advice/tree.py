"""A decision tree from cheap features of a pair to what to do with it (paper, Fig. 8).

The tree is a multi-output regression tree (scikit-learn): it predicts what every action loses
against the best one of the pair, so pairs are split where these losses differ, not where the
winner's name does. A leaf advises the action of greatest mean gain, which makes the mean regret
the objective; among 50 points of T and alpha whose gains hardly differ, a classifier of the winner
chases noise (:mod:`kdopt.advice.policies` compares the two). Validation gains of finished pairs
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
"""Most questions before an advice: eight leaves fit on a page, and in a reader's memory."""

MIN_LEAF_PAIRS = 6
MIN_LEAF_SHARE = 0.06
"""A leaf has at least so many pairs and this share of all: an advice rests on several pairs."""

SHRINKAGE_PAIRS = 12.0
"""Pairs that the mean of the level above counts for in a leaf's mean. Of 50 actions some look good
on six pairs by luck; they have to look good above as well."""

LOSS_FLOOR_PP = 0.5
"""Losses are divided by how much the pair's actions differ, plus so much: a few pairs whose actions
differ by 30 pp would otherwise decide all splits."""

NEIGHBOUR_WEIGHT = 0.25
"""Weight of a neighbouring point's gain in a smoothed one. Gains of one pair are differences of a
few images; neighbours have nearly the same true gain and other noise."""

Indices = NDArray[np.intp]


class Band(NamedTuple):
    """The points around a best one that do no worse, as far as its pairs can tell.

    Attributes:
        temperature: Least and greatest T at the best alpha.
        alpha: Least and greatest alpha at the best T.
    """

    temperature: tuple[float, float]
    alpha: tuple[float, float]


@dataclass(frozen=True)
class Leaf:
    """An advice and what it rests on.

    Attributes:
        action: What is advised.
        distil: The same, or the best way to distil all the same where no teacher is advised.
        band: For an action with T and alpha: how far these can move without a clear loss.
        gain: Mean test gain of the action over the leaf's pairs, pp.
        guarded: The same of ``distil`` where it is tried once and the untouched student kept
            unless validation rose, pp.
        gains: By method, the mean test gain of its best action on validation, pp.
        searched: Mean test gain if every action were tried on every pair and the best on
            validation taken, pp.
        members: Positions of the leaf's pairs in the training set.
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
    """A node: is the feature at most the threshold (``below``) or not (``above``)?"""

    feature: str
    threshold: float
    below: Question | Leaf
    above: Question | Leaf


class Answer(NamedTuple):
    """One answer on the path to a leaf."""

    feature: str
    threshold: float
    above: bool


@dataclass(frozen=True, eq=False)
class AdviceTree:
    """A tree that was learnt.

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
        """All leaves in reading order, with the answers that lead to each."""
        return list(_walk_leaves(self.root, []))

    def choose_advised(self, pairs: TrainingSet) -> Indices:
        """The index of the advised action for each of some pairs, (pairs,)."""
        return self._find_indices([leaf.action for leaf in self.find_leaves(pairs)])

    def choose_tried(self, pairs: TrainingSet) -> Indices:
        """The same of the best way to distil, for those who try it and keep it if it helps."""
        return self._find_indices([leaf.distil for leaf in self.find_leaves(pairs)])

    def find_leaves(self, pairs: TrainingSet) -> list[Leaf]:
        """Where each of some pairs ends."""
        lines = [dict(zip(self.names, x, strict=True)) for x in pairs.get_features(self.names)]
        return [self.find_leaf(line)[0] for line in lines]

    def _find_indices(self, actions: Sequence[Action]) -> Indices:
        indices = {action: i for i, action in enumerate(self.training_set.actions)}
        return np.array([indices[action] for action in actions], dtype=np.intp)


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
        leaf = _make_leaf(growth, everyone, _compute_means(growth.gains))
        return AdviceTree(leaf, training_set, growth.names)
    nodes = _fit_regressor(growth, depth).tree_
    root, _ = _build_node(growth, nodes, 0, everyone, None)
    return AdviceTree(root, training_set, growth.names)


def get_min_leaf_pairs(training_set: TrainingSet) -> int:
    """Fewest pairs of a leaf."""
    return max(MIN_LEAF_PAIRS, math.ceil(MIN_LEAF_SHARE * len(training_set)))


def smooth_gains(actions: Sequence[Action], gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains with every point of T and alpha drawn towards its (up to four) neighbours.

    Args:
        actions: What was tried; an action without T and alpha keeps its gains.
        gains: (pairs, actions), pp.
    """
    grid = _index_grid(actions)
    smooth = gains.copy()
    for (t, a), index in grid.items():
        steps = ((t - 1, a), (t + 1, a), (t, a - 1), (t, a + 1))
        near = [grid[step] for step in steps if step in grid]
        total = gains[:, index] + NEIGHBOUR_WEIGHT * gains[:, near].sum(axis=1)
        smooth[:, index] = total / (1 + NEIGHBOUR_WEIGHT * len(near))
    return smooth


def find_band(actions: Sequence[Action], gains: NDArray[np.float64], best: int) -> Band:
    """Walk from the best point along T and along alpha until something is surely lost.

    A point does no worse when the best one's mean lead over it is within one standard error of
    that lead over the pairs. The two are walked one at a time (a cross, not a box): points far off
    in both at once are not looked at.

    Args:
        actions: What was tried.
        gains: (pairs, actions), pp.
        best: Index of an action with T and alpha.
    """
    grid = _index_grid(actions)
    temperatures, alphas = _list_axes(actions)
    t, a = next(position for position, index in grid.items() if index == best)

    def is_as_good(position: tuple[int, int]) -> bool:
        if position not in grid:
            return False
        lead = gains[:, best] - gains[:, grid[position]]
        return bool(lead.mean() <= compute_standard_error(lead))

    low_t = _walk_axis(t, -1, lambda i: is_as_good((i, a)))
    high_t = _walk_axis(t, 1, lambda i: is_as_good((i, a)))
    low_a = _walk_axis(a, -1, lambda i: is_as_good((t, i)))
    high_a = _walk_axis(a, 1, lambda i: is_as_good((t, i)))
    return Band((temperatures[low_t], temperatures[high_t]), (alphas[low_a], alphas[high_a]))


def find_short_threshold(low: float, high: float) -> float:
    """The shortest decimal number t with low <= t < high in the middle half between them.

    Any such number splits the pairs alike, so people may as well read a short one.
    """
    middle = low + (high - low) / 2
    for digits in range(-3, 12):
        short = round(middle, digits)
        if low <= short < high and abs(short - middle) <= (high - low) / 4:
            return float(short)
    return float(low)


def compute_standard_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of some values; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1)) / math.sqrt(len(values))


class _Growth(NamedTuple):
    """What stays the same while a tree is built.

    Attributes:
        training_set: The pairs.
        gains: Smoothed validation gains, pp, (pairs, actions).
        partitions: The partition of each pair, (pairs,).
        names: The features that may be asked for.
        values: Their values, (pairs, names).
    """

    training_set: TrainingSet
    gains: NDArray[np.float64]
    partitions: NDArray[np.object_]
    names: tuple[str, ...]
    values: NDArray[np.float64]


def _fit_regressor(growth: _Growth, depth: int) -> Any:
    """scikit-learn's tree of the relative losses of all actions."""
    # Imported here: commands that grow no tree need not load scikit-learn.
    from sklearn.tree import DecisionTreeRegressor

    gains = growth.gains
    losses = gains - gains.max(axis=1, keepdims=True)
    spread = gains.std(axis=1, keepdims=True) + LOSS_FLOOR_PP
    model = DecisionTreeRegressor(
        max_depth=depth,
        min_samples_leaf=get_min_leaf_pairs(growth.training_set),
        # It draws the order of features, which decides between equally good splits.
        random_state=0,
    )
    return model.fit(growth.values, losses / spread)


def _build_node(
    growth: _Growth, nodes: Any, node: int, members: Indices, above: NDArray[np.float64] | None
) -> tuple[Question | Leaf, Indices]:
    """Translate a node of scikit-learn's tree, and prune it.

    Args:
        growth: The tree that is built.
        nodes: scikit-learn's tree.
        node: Which of its nodes.
        members: The pairs that reach it.
        above: Mean gains of the node's parent, (actions,).

    Returns:
        The node, and the action that it advises for each member.
    """
    gains = growth.gains
    means = _compute_means(gains[members], above)
    single = np.full(len(members), means.argmax())
    if nodes.children_left[node] < 0:
        return _make_leaf(growth, members, means), single
    values = growth.values[members, nodes.feature[node]]
    # In single precision, as scikit-learn compares: else a pair could change sides.
    low = values.astype(np.float32) <= nodes.threshold[node]
    threshold = find_short_threshold(values[low].max(), values[~low].min())
    advised = single.copy()
    left, right = nodes.children_left[node], nodes.children_right[node]
    below, advised[low] = _build_node(growth, nodes, left, members[low], means)
    beyond, advised[~low] = _build_node(growth, nodes, right, members[~low], means)
    better = gains[members, advised] - gains[members, single]
    # A question that does not surely pay, or whose answer changes nothing, is not asked.
    if better.mean() <= compute_standard_error(better):
        return _make_leaf(growth, members, means), single
    if isinstance(below, Leaf) and isinstance(beyond, Leaf) and below.action == beyond.action:
        return _make_leaf(growth, members, means, below.action), advised
    return Question(growth.names[nodes.feature[node]], threshold, below, beyond), advised


def _compute_means(
    gains: NDArray[np.float64], above: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Mean gain of every action, drawn towards the means of the level above, (actions,)."""
    total, weight = gains.sum(axis=0), float(len(gains))
    if above is not None:
        total, weight = total + SHRINKAGE_PAIRS * above, weight + SHRINKAGE_PAIRS
    means: NDArray[np.float64] = np.round(total / weight, TIE_DECIMALS)
    return means


def _make_leaf(
    growth: _Growth, members: Indices, means: NDArray[np.float64], action: Action | None = None
) -> Leaf:
    """A leaf of some pairs; without ``action`` it advises the one of greatest mean gain."""
    training_set, actions = growth.training_set, growth.training_set.actions
    test = training_set.test[members]
    # argmax takes the first of equals, which is the simplest: actions are sorted so.
    best = int(means.argmax()) if action is None else actions.index(action)
    ways = training_set.distilling
    distil = best if best in ways else int(ways[means[ways].argmax()])
    rose = np.round(training_set.validation[members], TIE_DECIMALS) > 0
    guarded = np.where(rose, test, 0.0).mean(axis=0)
    # Test's veto: even with the guard, the best gained nothing here.
    if guarded[best] <= 0:
        best = actions.index(DO_NOTHING)
    by_method = {}
    for method in dict.fromkeys(a.method for a in actions):
        some = [i for i, a in enumerate(actions) if a.method == method]
        by_method[method] = float(test[:, some[int(means[some].argmax())]].mean())
    own = np.round(training_set.validation[members], TIE_DECIMALS).argmax(axis=1)
    has_point = actions[best].temperature is not None
    return Leaf(
        action=actions[best],
        distil=actions[distil],
        band=find_band(actions, growth.gains[members], best) if has_point else None,
        gain=float(test[:, best].mean()),
        guarded=float(guarded[distil]),
        gains=by_method,
        searched=float(test[np.arange(len(members)), own].mean()),
        members=tuple(int(i) for i in members),
        partitions=dict(Counter(growth.partitions[members].tolist())),
    )


def _walk_leaves(node: Question | Leaf, path: list[Answer]) -> Iterator[tuple[Leaf, list[Answer]]]:
    if isinstance(node, Leaf):
        yield node, path
        return
    for child, above in ((node.below, False), (node.above, True)):
        yield from _walk_leaves(child, [*path, Answer(node.feature, node.threshold, above)])


def _walk_axis(start: int, step: int, is_as_good: Callable[[int], bool]) -> int:
    while is_as_good(start + step):
        start += step
    return start


def _list_axes(actions: Sequence[Action]) -> tuple[list[float], list[float]]:
    """The temperatures and the alphas that were tried, in order."""
    temperatures = sorted({a.temperature for a in actions if a.temperature is not None})
    return temperatures, sorted({a.alpha for a in actions if a.alpha is not None})


def _index_grid(actions: Sequence[Action]) -> dict[tuple[int, int], int]:
    """The index of each action with T and alpha, by its position on the grid of both."""
    temperatures, alphas = _list_axes(actions)
    return {
        (temperatures.index(a.temperature), alphas.index(a.alpha)): i
        for i, a in enumerate(actions)
        if a.temperature is not None and a.alpha is not None
    }
