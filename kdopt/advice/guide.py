"""The paper's own guide (its Fig. 8), as a tree of yes/no questions, and what following it loses.

The figure is lost: of it the text says only that it is a decision tree "for selecting suitable KD
methods based on specific use cases and data environments" (section IV-E). So the tree is put
together from what the text says of each case. A leaf says where that stands, and what is not in
the text.

The guide learnt nothing from finished pairs, so nothing is left out to judge it; the learnt tree
beside it is judged on partitions that it did not learn from, on the same pairs. A leaf that says to
tune stands for a search: of the points of its region the best on validation counts, which costs a
trial each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.advice.advise import has_enough_pairs
from kdopt.advice.policies import TREE_POLICY, list_policies
from kdopt.advice.regret import (
    compute_net_gains,
    cross_validate,
    estimate_measures,
    list_units,
    make_folds,
    select_gains,
)
from kdopt.advice.training_set import Action, TrainingSet
from kdopt.advice.tree import Indices
from kdopt.analysis.results import Line
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean

Topic = Literal["labels", "forget", "search", "specialized", "similar", "weaker"]
Region = Literal["low", "high"]

LOW_TEMPERATURE = 1.0
"""Greatest small T. The text gives no number; this is vanilla's, where T changes nothing."""

SIMILAR_PP = 5.0
"""Greatest accuracy gap of about equal models; the text gives no number."""

MIDDLE_ALPHA = 0.5
"""The text: a strong teacher deserves more than that, a weak one less."""


class GuideLeaf(NamedTuple):
    """What the paper says to do.

    Attributes:
        name: Short, fixed.
        advice: The action, for people.
        method: ``vanilla``, ``dml`` or ``tuned``.
        region: Where ``tuned`` searches: T up to 1 and alpha below 0.5, or both above.
        where: The sections of the paper that say so.
        lost: What the text lacks and kdopt put in; empty if nothing.
    """

    name: str
    advice: str
    method: str
    region: Region | None
    where: str
    lost: str


class GuideQuestion(NamedTuple):
    """A question, and what follows from its two answers."""

    topic: Topic
    text: str
    yes: GuideQuestion | GuideLeaf
    no: GuideQuestion | GuideLeaf


class GuideAnswer(NamedTuple):
    """One answer on the way to a leaf."""

    question: GuideQuestion
    yes: bool


Answers = Mapping[Topic, bool]


def find_leaf(answers: Answers) -> GuideLeaf:
    """Where some answers lead."""
    node: GuideQuestion | GuideLeaf = GUIDE
    while isinstance(node, GuideQuestion):
        node = node.yes if answers[node.topic] else node.no
    return node


def list_leaves() -> list[tuple[GuideLeaf, list[GuideAnswer]]]:
    """All leaves in reading order, with the answers that lead to each."""
    return list(_walk_leaves(GUIDE, []))


def answer_for_pair(line: Line, situation: str, forget: bool, search: bool) -> Answers:
    """The answers for a finished pair.

    Args:
        line: The pair's line of a training set.
        situation: What was distilled on.
        forget: Whether little forgetting counts more than learning.
        search: Whether settings may be tried.
    """
    gap = float(line["accuracy_gap"])
    return {
        "labels": situation != "public_unlabeled",
        "forget": forget,
        "search": search,
        "specialized": line["family"] == "specialized",
        "similar": abs(gap) <= SIMILAR_PP,
        "weaker": gap < 0,
    }


def _walk_leaves(
    node: GuideQuestion | GuideLeaf, path: list[GuideAnswer]
) -> Iterator[tuple[GuideLeaf, list[GuideAnswer]]]:
    if isinstance(node, GuideLeaf):
        yield node, path
        return
    for child, yes in ((node.yes, True), (node.no, False)):
        yield from _walk_leaves(child, [*path, GuideAnswer(node, yes)])


def _ask_weaker(yes: GuideQuestion | GuideLeaf, no: GuideQuestion | GuideLeaf) -> GuideQuestion:
    return GuideQuestion("weaker", "Is the teacher less accurate than the student?", yes, no)


_NUMBERS = "what a small T is: up to 1 is kdopt's reading"

_UNLABELED = _ask_weaker(
    GuideLeaf(
        "unlabeled_weak",
        "Vanilla, with a copy of the student as a second teacher; not DML",
        "vanilla",
        None,
        "III, IV-A",
        "which method is best here: the text only warns of DML, so this is what remains",
    ),
    GuideLeaf(
        "unlabeled_strong",
        "Vanilla, with a copy of the student as a second teacher, on as many images as there are",
        "vanilla",
        None,
        "III, IV-A, IV-B",
        "",
    ),
)

_SEARCHED = GuideQuestion(
    "specialized",
    "Has each participant mostly images of one class?",
    GuideLeaf(
        "specialized",
        "Tuned, searching small T and small alpha",
        "tuned",
        "low",
        "IV-C",
        f"{_NUMBERS}, alpha below 0.5 as well",
    ),
    GuideQuestion(
        "similar",
        f"Are teacher and student about equally accurate (within {SIMILAR_PP:g} pp)?",
        GuideLeaf(
            "similar",
            "Vanilla: tuning gains little here",
            "vanilla",
            None,
            "IV-C",
            f"from which gap on tuning pays: {SIMILAR_PP:g} pp is kdopt's reading",
        ),
        _ask_weaker(
            GuideLeaf(
                "tuned_weak",
                "Tuned, searching small T and alpha below 0.5",
                "tuned",
                "low",
                "IV-C",
                f"{_NUMBERS}; for uniform data the text finds no pattern",
            ),
            GuideLeaf(
                "tuned_strong",
                "Tuned, searching large T and alpha above 0.5",
                "tuned",
                "high",
                "IV-C",
                "what a large T is: above 1 is kdopt's reading; for uniform data the text finds "
                "no pattern",
            ),
        ),
    ),
)

_UNTUNED = _ask_weaker(
    GuideLeaf("weak", "DML", "dml", None, "IV-A, IV-B", ""),
    GuideLeaf("strong", "Vanilla", "vanilla", None, "IV-B", ""),
)

GUIDE = GuideQuestion(
    "labels",
    "Have the images to distil on labels (the student's own, or a public labelled set)?",
    GuideQuestion(
        "forget",
        "Must the student forget as little as possible, even if it learns less?",
        GuideLeaf("forget", "DML", "dml", None, "IV-E", ""),
        GuideQuestion(
            "search",
            "Can you try settings of T and alpha on validation images?",
            _SEARCHED,
            _UNTUNED,
        ),
    ),
    _UNLABELED,
)

GUIDE_REMARKS = (
    "Fig. 8 itself is lost; this is put together from the text of the paper.",
    "DP-KD is at no leaf: the text finds Vanilla as good on uniform, quantity-skewed and chunked "
    "data and better on the others, and warns of DP-KD where the teacher's classes are unbalanced "
    "(IV-B).",
    "'Leave the student as it is' and 'train on without a teacher' are at no leaf: the text "
    "compares neither.",
)


GUIDE_VARIANTS = {
    False: "the paper's guide, nothing tried",
    True: "the paper's guide, T and alpha searched where it says so",
}
"""By whether settings may be tried. Little forgetting is not what gains are about."""

LEAF_COLUMNS = ("leaf", "cases", "trials", "gain", "net_gain", "regret")
GUIDE_MEASURES = ("gain", "net_gain", "regret", "tree_regret", "behind_tree")
GUIDE_COLUMNS = (
    "situation", "search", "label", "trials", "n", "total",
    *(f"{name}{end}" for name in GUIDE_MEASURES for end in ("", "_low", "_high")),
)  # fmt: skip

NOT_TRIED = -1


def measure_leaves(training_set: TrainingSet) -> pd.DataFrame:
    """One line per leaf that some of the pairs reach: mean test gain, net gain and regret, pp.

    ``cases`` are the pairs that reach it and on which its action was tried, ``trials`` what
    choosing costs per pair. Without such pairs the numbers are NaN.
    """
    lines = []
    best = training_set.test.max(axis=1)
    ways = [(False, False), (False, True), (True, False)]
    found = {way: _find_leaves(training_set, *way) for way in ways}
    for leaf, path in list_leaves():
        asked = {step.question.topic: step.yes for step in path}
        leaves = found[asked.get("forget", False), asked.get("search", False)]
        chosen = np.array([a if one is leaf else NOT_TRIED for one, a in leaves], dtype=np.intp)
        known = chosen != NOT_TRIED
        if not any(one is leaf for one, _ in leaves):
            continue
        gain = select_gains(training_set, chosen)[known]
        net = compute_net_gains(training_set, chosen)[known]
        points = len(_list_region(training_set, leaf)) if leaf.region else 0
        means = (compute_mean(values) for values in (gain, net, best[known] - gain))
        lines.append((leaf.name, int(known.sum()), points, *means))
    return pd.DataFrame(lines, columns=list(LEAF_COLUMNS))


def compare_guide(training_set: TrainingSet) -> pd.DataFrame:
    """One line per way to follow the guide, and the learnt tree's regret on the same pairs.

    ``n`` of the ``total`` pairs have a trial of what the guide says. ``behind_tree`` is the
    guide's regret minus the tree's; both are NaN where there is too little to learn a tree from.
    Bounds are 95 % intervals, as of :func:`kdopt.advice.regret.compare_policies`.
    """
    best, total = training_set.test.max(axis=1), len(training_set)
    if not total:
        return pd.DataFrame(columns=list(GUIDE_COLUMNS))
    tree = np.full(total, np.nan)
    if has_enough_pairs(training_set):
        policies = list_policies(training_set, training_set.usable_features)
        choose = next(p.choose for p in policies if p.name == TREE_POLICY)
        judged = cross_validate(training_set, choose, list(make_folds(training_set, "partition")))
        tree = best - select_gains(training_set, judged.advised)
    units = list_units(training_set, "partition")
    lines = []
    for search, label in GUIDE_VARIANTS.items():
        # The paper tuned on the student's own images, and so does kdopt.
        if search and training_set.situation != "own":
            continue
        leaves = _find_leaves(training_set, forget=False, search=search)
        chosen = np.array([action for _, action in leaves], dtype=np.intp)
        known = chosen != NOT_TRIED
        spent = [len(_list_region(training_set, leaf)) if leaf.region else 0 for leaf, _ in leaves]
        gain = np.where(known, select_gains(training_set, chosen), np.nan)
        net = np.where(known, compute_net_gains(training_set, chosen), np.nan)
        regret = best - gain
        same = np.where(known, tree, np.nan)
        line: dict[str, object] = {
            "situation": training_set.situation,
            "search": search,
            "label": label,
            "trials": compute_mean(float(n) for n, k in zip(spent, known, strict=True) if k),
            "n": int(known.sum()),
            "total": total,
        }
        measured = (gain, net, regret, same, regret - same)
        lines.append(line | estimate_measures(GUIDE_MEASURES, measured, units))
    return pd.DataFrame(lines, columns=list(GUIDE_COLUMNS))


def _find_leaves(
    training_set: TrainingSet, forget: bool, search: bool
) -> list[tuple[GuideLeaf, int]]:
    """Where each pair ends, and the index of the action that it stands for there."""
    lines = training_set.pairs.to_dict("records")
    leaves = [
        find_leaf(answer_for_pair(line, training_set.situation, forget, search)) for line in lines
    ]
    return [(leaf, _find_action(training_set, leaf, row)) for row, leaf in enumerate(leaves)]


def _find_action(training_set: TrainingSet, leaf: GuideLeaf, row: int) -> int:
    if leaf.region is None:
        methods = [action.method for action in training_set.actions]
        return methods.index(leaf.method) if leaf.method in methods else NOT_TRIED
    points = _list_region(training_set, leaf)
    if not len(points):
        return NOT_TRIED
    gains: NDArray[np.float64] = np.round(training_set.validation[row, points], TIE_DECIMALS)
    return int(points[gains.argmax()])


def _list_region(training_set: TrainingSet, leaf: GuideLeaf) -> Indices:
    """The points that a leaf says to search."""
    return np.array(
        [i for i, a in enumerate(training_set.actions) if _is_in_region(a, leaf)], dtype=np.intp
    )


def _is_in_region(action: Action, leaf: GuideLeaf) -> bool:
    if action.temperature is None or action.alpha is None:
        return False
    if leaf.region == "low":
        return action.temperature <= LOW_TEMPERATURE and action.alpha < MIDDLE_ALPHA
    return action.temperature > LOW_TEMPERATURE and action.alpha > MIDDLE_ALPHA
