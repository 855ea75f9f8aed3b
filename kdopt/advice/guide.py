"""The paper's own guide (its Fig. 8), as a tree of yes/no questions.

The figure is lost: of it the text says only that it is a decision tree "for selecting suitable KD
methods based on specific use cases and data environments" (section IV-E). So the tree is put
together from what the text says of each case. A leaf says where that stands, and what is not in
the text. ``kdopt.advice.guide_regret`` measures what following it loses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

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


def answer_for_pair(line: Mapping[Any, Any], situation: str, forget: bool, search: bool) -> Answers:
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
