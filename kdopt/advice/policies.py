"""Rules that say what to do with every pair: the decision tree, and what it has to beat.

A policy chooses an action for each of some pairs after learning from others, on validation. With
the *guard* one trial is spent: the best way to distil is tried and the untouched student kept
unless validation rose, so that a policy need not say whether to distil at all. What following a
policy loses is measured in :mod:`kdopt.advice.regret`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.advice.training_set import DO_NOTHING, TrainingSet
from kdopt.advice.tree import MAX_DEPTH, Indices, get_min_leaf_pairs, grow_tree
from kdopt.analysis.stats import TIE_DECIMALS

TREE_POLICY = "tree"
FIXED_POLICIES = ("none", "control", "vanilla", "method", "cell", "action")
"""Policies that advise the same for every pair."""

RULES = (*FIXED_POLICIES, TREE_POLICY)
"""Policies that may lead, the simplest first."""

SEARCH_POLICIES = ("search", "oracle")
"""Policies that look at the gains of the pair itself, which costs a trial each."""


class Choices(NamedTuple):
    """What a policy chooses for some pairs: indices of actions, (pairs,).

    Attributes:
        advised: What it would do without a trial.
        tried: What it would try under the guard.
        rests_on: Which of the pairs that it learnt from each choice rests on, (pairs, known).
    """

    advised: Indices
    tried: Indices
    rests_on: NDArray[np.bool_]


Chooser = Callable[[TrainingSet, TrainingSet], Choices]
"""From pairs to learn from, what to do with some other pairs."""


class Policy(NamedTuple):
    """A rule that chooses actions.

    Attributes:
        name: Short, fixed.
        label: How people read it.
        choose: What it does.
    """

    name: str
    label: str
    choose: Chooser


def list_policies(training_set: TrainingSet, names: Sequence[str]) -> list[Policy]:
    """The tree, and what it has to beat, as far as the actions of the training set allow.

    Args:
        training_set: Finished pairs of one situation.
        names: Features that trees may ask for.
    """
    methods = {a.method for a in training_set.actions}
    untuned, grid = ("vanilla", "dml", "dp_kd"), ("vanilla", "tuned")
    every = ("control", *untuned, "tuned")
    policies = [
        Policy("none", "never distil, leave as it is", _choose_method("none")),
        Policy("control", "never distil, train on", _choose_method("control")),
        Policy("vanilla", "always vanilla", _choose_method("vanilla")),
        Policy("method", "always the best untuned method", _choose_best_of(untuned, or_none=True)),
        Policy("cell", "always the globally best cell", _choose_best_of(grid)),
        Policy("action", "always the globally best action", _choose_best_of(every, or_none=True)),
        Policy("classifier", "tree that predicts the winner", _choose_by_classifier(names)),
        Policy(TREE_POLICY, "decision tree", _choose_by_tree(names)),
        Policy("search", "try everything, best on validation", _choose_by_gain("validation")),
        Policy("oracle", "oracle, best on test", _choose_by_gain("test")),
    ]
    if "tuned" not in methods:
        policies = [p for p in policies if p.name not in ("cell", "action")]
    return [p for p in policies if p.name not in ("control", "vanilla") or p.name in methods]


def _choose_method(method: str) -> Chooser:
    """The first action of a method, for all pairs."""

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        index = next(i for i, a in enumerate(known.actions) if a.method == method)
        return _choose_same(known, np.full(len(new), index))

    return choose


def _choose_best_of(methods: Sequence[str], or_none: bool = False) -> Chooser:
    """The action of greatest mean gain among those of some methods, for all pairs.

    With ``or_none`` it advises to do nothing where none of them gains.
    """

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        some = [i for i, a in enumerate(known.actions) if a.method in methods]
        means = np.round(known.validation[:, some].mean(axis=0), TIE_DECIMALS)
        best = np.full(len(new), some[int(means.argmax())])
        nothing = np.full(len(new), known.actions.index(DO_NOTHING))
        same = _choose_same(known, best)
        return same._replace(advised=nothing) if or_none and means.max() <= 0 else same

    return choose


def _choose_by_tree(names: Sequence[str]) -> Chooser:
    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        tree = grow_tree(known, names)
        pairs = np.arange(len(known))
        members = {id(leaf): np.isin(pairs, leaf.members) for leaf, _ in tree.list_leaves()}
        rests_on = np.array([members[id(leaf)] for leaf in tree.find_leaves(new)])
        return Choices(tree.choose_advised(new), tree.choose_tried(new), rests_on)

    return choose


def _choose_by_gain(images: Literal["validation", "test"]) -> Chooser:
    """The best action of each pair itself, by its gains on some images."""

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        gains = new.validation if images == "validation" else new.test
        return _choose_same(known, np.round(gains, TIE_DECIMALS).argmax(axis=1))

    return choose


def _choose_by_classifier(names: Sequence[str]) -> Chooser:
    """A decision tree that predicts which action wins, whatever the others lose."""

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        # Imported here: commands that compare no policies need not load scikit-learn.
        from sklearn.tree import DecisionTreeClassifier

        winner = np.round(known.validation, TIE_DECIMALS).argmax(axis=1)
        if not names:
            return _choose_same(known, np.full(len(new), np.bincount(winner).argmax()))
        model = DecisionTreeClassifier(
            max_depth=MAX_DEPTH, min_samples_leaf=get_min_leaf_pairs(known), random_state=0
        )
        with warnings.catch_warnings():
            # Nearly as many classes as pairs: scikit-learn warns, and it is this policy's flaw.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(known.get_features(names), winner)
        return _choose_same(known, model.predict(new.get_features(names)))

    return choose


def _choose_same(known: TrainingSet, actions: Indices) -> Choices:
    """The same with and without the guard, resting on all that is known."""
    return Choices(actions, actions, np.ones((len(actions), len(known)), dtype=bool))
