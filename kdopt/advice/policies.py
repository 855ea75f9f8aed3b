"""What following advice would have lost, on pairs that it was not learnt from.

A policy chooses an action for every pair of a partition (or of a participant) after learning from
the others, on validation; its *regret* is the test gain of the pair's best action minus that of
the chosen one, in pp. The oracle knows the test gains and has regret 0 by definition; it is the
greatest of many noisy numbers, so nobody reaches it, and searching every action on validation
(which costs a trial each) stands beside it. With the *guard* one trial is spent: the best way to
distil is tried and the untouched student kept unless validation rose, so that a policy need not
say whether to distil at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.advice.training_set import DO_NOTHING, TrainingSet
from kdopt.advice.tree import MAX_DEPTH, Indices, get_min_leaf_pairs, grow_tree
from kdopt.analysis.stats import RESAMPLES, TIE_DECIMALS
from kdopt.campaign.names import seed_for

LeftOut = Literal["partition", "participant"]


class Choices(NamedTuple):
    """What a policy chooses for some pairs: indices of actions, (pairs,).

    Attributes:
        advised: What it would do without a trial.
        tried: What it would try under the guard.
    """

    advised: Indices
    tried: Indices


Chooser = Callable[[TrainingSet, TrainingSet], Choices]
"""From pairs to learn from, what to do with some other pairs."""

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Masks of the pairs to learn from and of those to judge on, each (pairs,)."""

REGRET_MEASURES = ("gain", "regret", "behind_tree", "guarded_gain", "guarded_regret")
REGRET_COLUMNS = (
    "situation",
    "left_out",
    "policy",
    "label",
    "trials",
    *(f"{name}{end}" for name in REGRET_MEASURES for end in ("", "_low", "_high")),
    "n",
)
TREE_POLICY = "tree"
FIXED_POLICIES = ("none", "vanilla", "method", "cell", "action")
"""Policies that advise the same for every pair."""

SEARCH_POLICIES = ("search", "oracle")
"""Policies that look at the gains of the pair itself, which costs a trial each."""


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
    every = (*untuned, "tuned")
    policies = [
        Policy("none", "never distil", _choose_method("none")),
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
    return [p for p in policies if p.name != "vanilla" or "vanilla" in methods]


def compare_policies(
    training_set: TrainingSet, left_out: LeftOut = "partition", names: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per policy, in the order of :func:`list_policies`.

    ``trials`` is what choosing costs per pair. ``behind_tree`` is the policy's regret minus the
    tree's: above 0 the tree is better. Bounds are 95 % bootstrap intervals over students (all
    pairs of one are drawn together, since they share a model and images).

    Args:
        training_set: Finished pairs of one situation.
        left_out: What is never learnt from when it is judged on: the pair's whole partition, or
            its student (see :func:`make_folds`).
        names: Features that trees may ask for; ``None`` for all that are known of every pair.

    Returns:
        The columns :data:`REGRET_COLUMNS`; empty when nothing can be left out.
    """
    folds = list(make_folds(training_set, left_out))
    if not folds:
        return pd.DataFrame(columns=list(REGRET_COLUMNS))
    best = training_set.test.max(axis=1)
    policies = list_policies(training_set, training_set.usable_features if names is None else names)
    chosen = {p.name: cross_validate(training_set, p.choose, folds) for p in policies}
    regret = {n: best - select_gains(training_set, c.advised) for n, c in chosen.items()}
    lines: list[dict[str, object]] = []
    measured: list[NDArray[np.float64]] = []
    for policy in policies:
        choices = chosen[policy.name]
        # The oracle is the best on test by definition, whatever validation says.
        guarded = select_gains(training_set, choices.tried, guard=policy.name != "oracle")
        # In the order of REGRET_MEASURES.
        measured += [
            select_gains(training_set, choices.advised),
            regret[policy.name],
            regret[policy.name] - regret[TREE_POLICY],
            guarded,
            best - guarded,
        ]
        lines.append(
            {
                "situation": training_set.situation,
                "left_out": left_out,
                "policy": policy.name,
                "label": policy.label,
                "trials": len(training_set.actions) - 1 if policy.name in SEARCH_POLICIES else 0,
                "n": len(training_set),
            }
        )
    intervals = iter(_bootstrap_means(np.array(measured), training_set, left_out))
    for line in lines:
        for name in REGRET_MEASURES:
            line[name], line[f"{name}_low"], line[f"{name}_high"] = next(intervals)
    return pd.DataFrame(lines, columns=list(REGRET_COLUMNS))


def cross_validate(training_set: TrainingSet, choose: Chooser, folds: Sequence[Fold]) -> Choices:
    """What a policy chooses for every pair when it learns from the other folds only."""
    choices = Choices(*np.zeros((2, len(training_set)), dtype=np.intp))
    for known, new in folds:
        of_new = choose(training_set.select_pairs(known), training_set.select_pairs(new))
        choices.advised[new], choices.tried[new] = of_new
    return choices


def select_gains(
    training_set: TrainingSet, chosen: Indices, guard: bool = False
) -> NDArray[np.float64]:
    """Test gains of chosen actions, pp, (pairs,); 0 where the guard keeps the untouched student."""
    lines = np.arange(len(training_set))
    gains: NDArray[np.float64] = training_set.test[lines, chosen]
    if guard:
        rose = np.round(training_set.validation[lines, chosen], TIE_DECIMALS) > 0
        gains = np.where(rose, gains, 0.0)
    return gains


def make_folds(training_set: TrainingSet, left_out: LeftOut) -> Iterator[Fold]:
    """All ways to leave one partition, or one participant, out; none when nothing would be left.

    A partition is left out of all campaigns at once, so that its kind of skew is unknown. So is a
    participant (a number) of all partitions: the pairs that it is the student of are judged, and
    those that it is the teacher of are not learnt from either.
    """
    pairs = training_set.pairs
    partition = pairs["partition"].to_numpy()
    teacher, student = pairs["teacher"].to_numpy(), pairs["student"].to_numpy()
    # dict.fromkeys and not set: folds come in the order of the pairs.
    if left_out == "partition":
        folds = [(partition != name, partition == name) for name in dict.fromkeys(partition)]
    else:
        folds = [
            ((student != who) & (teacher != who), student == who) for who in dict.fromkeys(student)
        ]
    yield from (fold for fold in folds if fold[0].any())


def _choose_method(method: str) -> Chooser:
    """The first action of a method, for all pairs."""

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        index = next(i for i, a in enumerate(known.actions) if a.method == method)
        return Choices(*(np.full(len(new), index),) * 2)

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
        return Choices(nothing if or_none and means.max() <= 0 else best, best)

    return choose


def _choose_by_tree(names: Sequence[str]) -> Chooser:
    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        tree = grow_tree(known, names)
        return Choices(tree.choose_advised(new), tree.choose_tried(new))

    return choose


def _choose_by_gain(images: Literal["validation", "test"]) -> Chooser:
    """The best action of each pair itself, by its gains on some images."""

    def choose(_known: TrainingSet, new: TrainingSet) -> Choices:
        gains = new.validation if images == "validation" else new.test
        return Choices(*(np.round(gains, TIE_DECIMALS).argmax(axis=1),) * 2)

    return choose


def _choose_by_classifier(names: Sequence[str]) -> Chooser:
    """A decision tree that predicts which action wins, whatever the others lose."""

    def choose(known: TrainingSet, new: TrainingSet) -> Choices:
        # Imported here: commands that compare no policies need not load scikit-learn.
        from sklearn.tree import DecisionTreeClassifier

        winner = np.round(known.validation, TIE_DECIMALS).argmax(axis=1)
        if not names:
            return Choices(*(np.full(len(new), np.bincount(winner).argmax()),) * 2)
        model = DecisionTreeClassifier(
            max_depth=MAX_DEPTH, min_samples_leaf=get_min_leaf_pairs(known), random_state=0
        )
        with warnings.catch_warnings():
            # Nearly as many classes as pairs: scikit-learn warns, and it is this policy's flaw.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(known.get_features(names), winner)
        return Choices(*(model.predict(new.get_features(names)),) * 2)

    return choose


def _bootstrap_means(
    measured: NDArray[np.float64], training_set: TrainingSet, left_out: LeftOut
) -> list[tuple[float, float, float]]:
    """Means over pairs of (measures, pairs), each with its bootstrap bounds over students."""
    columns = training_set.pairs[["campaign", "partition", "student"]]
    keys = columns.astype(str).agg("/".join, axis=1)
    _, group = np.unique(keys.to_numpy(dtype=str), return_inverse=True)
    n = int(group.max()) + 1
    rng = np.random.default_rng(seed_for("regret", training_set.situation, left_out))
    # How often each student, and so each of its pairs, is in each sample. The same samples for all
    # measures: differences between policies are paired.
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)[:, group].astype(np.float64)
    means = measured @ weights.T / weights.sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return list(zip(measured.mean(axis=1).tolist(), low.tolist(), high.tolist(), strict=True))
