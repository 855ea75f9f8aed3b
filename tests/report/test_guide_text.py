import json

from kdopt.advice.guide import GUIDE, GuideQuestion, list_leaves
from kdopt.report.guide_text import (
    GUIDE_SCHEMA,
    describe_path,
    format_guide,
    format_guide_json,
    measure_guide,
)
from tests.advice.planted import planted

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
