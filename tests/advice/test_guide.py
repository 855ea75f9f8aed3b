from itertools import product

import pytest

from kdopt.advice.guide import (
    GUIDE,
    GuideQuestion,
    answer_for_pair,
    find_leaf,
    list_leaves,
)


def answers(**known):
    usual = {"labels": True, "forget": False, "search": False, "specialized": False}
    return {**usual, "similar": False, "weaker": False, **known}


def lead(**known):
    return find_leaf(answers(**known))


def test_every_answer_leads_to_a_leaf_and_every_leaf_has_an_answer():
    topics = list(answers())
    reached = {
        find_leaf(dict(zip(topics, said, strict=True))).name
        for said in product([False, True], repeat=len(topics))
    }
    assert reached == {leaf.name for leaf, _ in list_leaves()}
    assert len(reached) == len(list_leaves()) == 9


def test_the_path_to_a_leaf_leads_there():
    for leaf, path in list_leaves():
        assert path[0].question is GUIDE
        said = answers(**{step.question.topic: step.yes for step in path})
        assert find_leaf(said) == leaf


# What the text of the paper says, by section.
@pytest.mark.parametrize(
    ("known", "method", "region"),
    [
        ({"labels": False, "weaker": True}, "vanilla", None),  # IV-A: not DML without labels
        ({"labels": False}, "vanilla", None),
        ({"weaker": True}, "dml", None),  # IV-A, IV-B: DML with weaker teachers
        ({}, "vanilla", None),  # IV-B: with stronger ones Vanilla outperforms DML
        ({"forget": True}, "dml", None),  # IV-E: DML shows minimal forgetting
        ({"search": True, "similar": True}, "vanilla", None),  # IV-C: benefits diminish
        ({"search": True, "weaker": True}, "tuned", "low"),  # IV-C
        ({"search": True}, "tuned", "high"),  # IV-C
        ({"search": True, "specialized": True}, "tuned", "low"),  # IV-C: across all pairings
    ],
)
def test_the_guide_says_what_the_text_says(known, method, region):
    leaf = lead(**known)
    assert (leaf.method, leaf.region) == (method, region)


def test_every_leaf_says_where_it_stands_and_what_is_missing():
    for leaf, _ in list_leaves():
        assert all(part.startswith(("III", "IV-")) for part in leaf.where.split(", "))
        # The text has no numbers for a small or a large T.
        assert (leaf.region is None) or "kdopt's reading" in leaf.lost


def test_a_pair_answers_by_its_gap_and_its_partition():
    line = {"accuracy_gap": -7.0, "family": "specialized"}
    said = answer_for_pair(line, "own", forget=False, search=True)
    assert said == answers(search=True, specialized=True, weaker=True)
    near = answer_for_pair({"accuracy_gap": 5.0, "family": "uniform"}, "own", True, False)
    assert near["similar"] and not near["weaker"] and near["forget"]
    assert not answer_for_pair(line, "public_unlabeled", False, False)["labels"]


def test_questions_are_asked_once_on_a_path():
    for _, path in list_leaves():
        topics = [step.question.topic for step in path]
        assert len(topics) == len(set(topics))
        assert all(isinstance(step.question, GuideQuestion) for step in path)
