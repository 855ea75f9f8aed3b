import json
import re

import pytest

from kdopt.advice.training_set import SITUATIONS, TrainingCampaign
from kdopt.advice.tree import grow_tree
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.features.measurements import PartitionMeasurements
from kdopt.report.blocks import ReportData
from kdopt.report.sections.advice import (
    draw_tree,
    learn_advice,
    make_advice_section,
    tabulate_rules,
)
from tests.advice.planted import planted
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    pretrain_rows,
)

CAMPAIGN = compare_campaign()
ROWS = [*make_rows(CAMPAIGN), *compare_rows(CAMPAIGN)]


def texts(figure):
    return [note["text"] for note in figure["layout"]["annotations"]]


def test_the_figure_has_a_box_per_advice_and_two_answers_per_question():
    training_set = planted(noise=3.0)
    tree = grow_tree(training_set, training_set.usable_features)
    figure = draw_tree(tree)
    json.dumps(figure, allow_nan=False)
    leaves = tree.list_leaves()
    boxes = [n for n in figure["layout"]["annotations"] if "bordercolor" in n]
    assert len(boxes) == len(leaves) > 2
    # Boxes stand under each other in the order of the rules, each in a row of its own.
    assert [n["y"] for n in boxes] == list(range(len(leaves)))
    assert len({n["x"] for n in boxes}) == 1
    answers = [t for t in texts(figure) if t.startswith(("at most", "more than"))]
    assert len(answers) == 2 * (len(leaves) - 1)
    for box, (leaf, _) in zip(boxes, leaves, strict=True):
        assert f"{len(leaf.members)} cases" in box["text"]


def test_lines_join_every_box_to_the_root():
    training_set = planted()
    figure = draw_tree(grow_tree(training_set, training_set.usable_features))
    (trace,) = figure["data"]
    points = list(zip(trace["x"], trace["y"], strict=True))
    boxes = [(n["x"], n["y"]) for n in figure["layout"]["annotations"] if "bordercolor" in n]
    assert set(boxes) <= set(points)
    assert min(x for x in trace["x"] if x is not None) == 0


def test_a_tree_without_questions_is_one_box():
    figure = draw_tree(grow_tree(planted(), []))
    assert len(texts(figure)) == 1


def test_a_table_line_per_advice():
    training_set = planted(noise=3.0)
    tree = grow_tree(training_set, training_set.usable_features)
    frame = tabulate_rules(tree)
    assert len(frame) == len(tree.list_leaves())
    assert frame["cases"].sum() == len(training_set)
    assert (frame["none"] == 0).all()


def test_every_situation_is_learnt():
    found = learn_advice([TrainingCampaign(CAMPAIGN, ROWS, {})])
    assert list(found) == list(SITUATIONS)
    for one in found.values():
        assert one.tree is not None
        assert set(one.regrets["left_out"]) == {"partition", "participant"}


def test_the_section_shows_what_was_learnt():
    part = make_advice_section(ReportData(CAMPAIGN, ROWS))
    *learnt, guide = part.blocks
    assert len(learnt) == 3
    assert part.list_figures() == [block.figure for block in learnt]
    assert guide.title == "The paper's own guide" and len(guide.tables) == 2
    for block in learnt:
        assert not block.missing
        assert len(block.tables) == 3  # rules, and regret on both that were left out
        assert "kdopt features" in block.note
        assert re.search(r"it follows: [^.]+\. .* that lost \d+\.\d\d pp \(95 %: ", block.note)
        assert "the simplest rule, unless a more complex one loses measurably less" in block.note
    assert list(part.files) == ["advice.txt"]
    assert part.files["advice.txt"].count("To distil on") == 3
    assert "a participant left out" in part.files["advice.txt"]


def test_nobody_is_sent_to_measure_what_is_measured():
    n = CAMPAIGN.participants
    some = tuple(tuple(None if t == s else 0.1 * t + 0.01 * s for s in range(n)) for t in range(n))
    measurements = {
        p.name: PartitionMeasurements(
            tuple((10 + i, 5) for i in range(n)),
            (None,) * n,
            {"student": some},
            {"student": some},
        )
        for p in CAMPAIGN.partitions
    }
    part = make_advice_section(ReportData(CAMPAIGN, ROWS, measurements=measurements))
    assert "kdopt features" not in part.blocks[0].note
    assert "kdopt features" in part.blocks[1].note


@pytest.mark.parametrize(
    "rows", [pretrain_rows(CAMPAIGN), ROWS[: len(ROWS) // 8]], ids=["pre-trained", "begun"]
)
def test_too_little_says_what_it_takes(rows):
    part = make_advice_section(ReportData(CAMPAIGN, rows))
    assert "It needs 20 cases from at least 3 partitions" in part.blocks[0].missing
    assert not part.list_figures() and not part.files


def test_without_a_comparison_only_the_students_data_are_shown():
    campaign = make_campaign(
        participants=4,
        partitions=tuple(PartitionSettings(n) for n in ("uniform", "specialized", "label_chunks")),
    )
    part = make_advice_section(ReportData(campaign, make_rows(campaign)))
    assert [block.title for block in part.blocks] == [
        "To distil on the student's own labelled images",
        "The paper's own guide",
    ]
    assert part.blocks[0].figure.id == "advice-own"


def test_a_campaign_without_pairs_has_no_such_section():
    campaign = make_campaign(stages=("combine",))
    assert make_advice_section(ReportData(campaign, pretrain_rows(campaign))) is None
