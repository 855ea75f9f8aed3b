import math

import pytest

from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import Action
from kdopt.advice.tree import Answer, grow_tree
from kdopt.errors import AdviceError
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.report.advice_text import (
    format_action,
    format_band,
    format_condition,
    format_feature,
    format_regrets,
    format_rules,
    parse_feature,
)
from kdopt.report.format import format_signed
from tests.advice.planted import planted


def follow(text, value):
    """What indented rules on one feature say for a value of it."""
    stack = text.splitlines()[1:]
    depth = 2
    for line in stack:
        indent = len(line) - len(line.lstrip())
        if indent != depth:
            continue
        rule = line.strip()
        if not rule.startswith("if "):
            return rule
        sign, number = (">", rule.split("> ")[1]) if "> " in rule else ("<=", rule.split("<= ")[1])
        threshold = float(number.split()[0])
        if (value > threshold) == (sign == ">"):
            depth += 2
    raise AssertionError("no rule fits")


@pytest.mark.parametrize("gap", [-40, -10.5, 0, 8, 39])
def test_printed_rules_say_what_the_tree_advises(gap):
    tree = grow_tree(planted(), ["accuracy_gap"])
    leaf, _ = tree.find_leaf({"accuracy_gap": gap})
    assert follow(format_rules(tree), gap).startswith(format_action(leaf.action))


def test_rules_say_what_they_rest_on():
    training_set = planted()
    text = format_rules(grow_tree(training_set, training_set.usable_features))
    assert text.startswith(
        "To distil on the student's own labelled images (150 pairs, 5 partitions, planted):\n"
    )
    cases = [
        int(line.rsplit("; ", 1)[1].split()[0]) for line in text.splitlines() if "cases" in line
    ]
    assert sum(cases) == 150


def test_the_regret_table_is_aligned_and_complete():
    table = compare_policies(planted(noise=2.0))
    head, *lines = format_regrets(table).splitlines()
    assert [line.removeprefix("* ").split("  ")[0] for line in lines] == list(table["label"])
    assert sum(line.startswith("* ") for line in lines) == 1
    assert len({len(line) for line in (head, *lines)}) == 1
    oracle = lines[-1].split()
    assert "0.00" in oracle


def test_features_as_people_type_and_read_them():
    assert parse_feature("accuracy_gap=-12.5") == ("accuracy_gap", -12.5)
    assert parse_feature("size-ratio=4") == ("size_ratio", 2)  # two doublings
    assert format_feature("size_ratio", 2.0) == "4 x"
    assert format_feature("accuracy_gap", 12.345) == "12.3 pp"
    assert format_condition(Answer("label_distance", 0.5, False)) == (
        "distance of the label histograms <= 0.5"
    )


@pytest.mark.parametrize("text", ["gap=1", "accuracy", ""])
def test_an_unknown_feature_lists_all(text):
    with pytest.raises(AdviceError) as refusal:
        parse_feature(text)
    assert all(f"  {name} " in str(refusal.value) for name in FEATURE_NAMES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("accuracy_gap=big", "'big' is not a number"),
        ("accuracy_gap=nan", "'nan' is not a number"),
        ("accuracy_gap", "'' is not a number"),
        ("size_ratio=0", "not a number above 0"),
        ("size_ratio=-2", "not a number above 0"),
    ],
)
def test_a_value_that_is_none_is_refused(text, reason):
    with pytest.raises(AdviceError, match=reason):
        parse_feature(text)


def test_small_words():
    assert [format_signed(v) for v in (1.234, -0.5, 0.001, math.nan)] == [
        "+1.23",
        "-0.50",
        "0.00",
        "",
    ]
    assert format_action(Action("dp_kd")) == "DP-KD"
    leaf = grow_tree(planted(), []).root
    assert format_band(leaf) == ""  # nothing can be moved
