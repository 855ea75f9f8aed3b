import json
import math

import pytest

from kdopt.advice.guide import GUIDE, GuideQuestion, list_leaves
from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import Action
from kdopt.advice.tree import Answer, grow_tree
from kdopt.report.advice_text import (
    GUIDE_SCHEMA,
    describe_path,
    format_action,
    format_band,
    format_condition,
    format_feature,
    format_guide,
    format_guide_json,
    format_regrets,
    format_rules,
    measure_guide,
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


def test_features_as_people_read_them():
    assert format_feature("size_ratio", 2.0) == "4 x"
    assert format_feature("accuracy_gap", 12.345) == "12.3 pp"
    assert format_condition(Answer("label_distance", 0.5, False)) == (
        "distance of the label histograms <= 0.5"
    )


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


FOUND = measure_guide({"own": planted(noise=2.0), "public_labeled": planted().select_pairs([])})


def walk(node):
    if "leaf" in node:
        return [node]
    return [*walk(node["yes"]), *walk(node["no"])]


def test_every_leaf_is_there_with_its_place_and_its_measure():
    text = format_guide(FOUND)
    for leaf, _ in list_leaves():
        assert f"=> {leaf.advice} (paper, {leaf.where})" in text
        assert leaf.lost in text
    assert "cases, 1 trial each, gain" in text
    assert "Fig. 8 itself is lost" in text


def test_what_the_guide_loses_stands_beside_the_tree():
    line = next(line for line in format_guide(FOUND).splitlines() if "nothing tried" in line)
    whole = FOUND["own"].whole.iloc[0]
    assert f"{whole['regret']:.2f}" in line and f"{whole['tree_regret']:.2f}" in line


def test_situations_without_pairs_are_left_out_and_without_any_it_says_so():
    assert list(FOUND) == ["own"]
    assert format_guide({}).endswith("No finished pair to measure it on.\n")


def test_json_has_the_same_tree():
    record = json.loads(format_guide_json(FOUND, "a note"))
    assert record["schema"] == GUIDE_SCHEMA and record["note"] == "a note"
    assert record["tree"]["ask"] == GUIDE.text and isinstance(GUIDE, GuideQuestion)
    leaves = walk(record["tree"])
    assert [leaf["leaf"] for leaf in leaves] == [leaf.name for leaf, _ in list_leaves()]
    strong = next(leaf for leaf in leaves if leaf["leaf"] == "strong")
    assert strong["measured"]["own"]["cases"] == 75 and strong["where"] == "IV-B"
    assert [line["search"] for line in record["measured"]] == [False, True]
    assert record["measured"][0]["net_gain"] is None


def test_a_path_reads_as_a_few_words_per_answer():
    paths = [describe_path(path) for _, path in list_leaves()]
    assert paths[0] == "labels, forget little"
    assert paths[-1] == "no labels, stronger teacher"
    assert len(set(paths)) == len(paths)
