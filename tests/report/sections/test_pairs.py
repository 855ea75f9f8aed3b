from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from kdopt.analysis.results import list_pairs
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.report.blocks import ReportData, SortCell, make_tables
from kdopt.report.columns import Column, IntervalColumn
from kdopt.report.export_columns import EXPORT_COLUMNS
from kdopt.report.format import TRANSFER_SET_TITLES, format_points, format_transfer_set
from kdopt.report.sections.pairs import (
    collect_pair_data,
    list_pair_options,
    make_best_tables,
    make_pair_key,
    make_verdict_tables,
)
from kdopt.report.verdict_text import describe_effect
from tests.analysis.synthetic import (
    accuracy_of,
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
    tune_row,
    validation_surface,
)


def data_of(campaign, rows):
    found = collect_pair_data(ReportData(campaign, rows))
    json.dumps(found, allow_nan=False)
    return found


def test_surfaces_of_the_page_are_those_of_the_rows():
    campaign = make_campaign()
    found = data_of(campaign, make_rows(campaign))
    shown = {**found["grid"], **found["pairs"]["uniform/t02-s00"]}
    gap = 100 * (accuracy_of(2) - accuracy_of(0))
    for i, t in enumerate(shown["temperatures"]):
        for j, a in enumerate(shown["alphas"]):
            assert shown["validation"][i][j] == pytest.approx(
                validation_surface(gap, t, a), abs=6e-4
            )


def test_the_history_has_every_finished_trial_in_order_and_failed_ones_without_gains():
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [
        tune_row(campaign, (0, 1), cell, 2, outcome(-1, 3)),
        tune_row(campaign, (0, 1), {**cell, "alpha": 0.9}, 0, error="NaN loss"),
        tune_row(campaign, (0, 1), {**cell, "alpha": 0.1}, 1, outcome(1, 2)),
        tune_row(campaign, (0, 1), {}, 3),
    ]
    shown = data_of(campaign, rows)["pairs"]["uniform/t00-s01"]
    assert shown["history"] == [
        [0, 1.0, 0.9, None, None],
        [1, 1.0, 0.1, 1.0, 2.0],
        [2, 1.0, 0.5, -1.0, 3.0],
    ]


def test_classes_have_names_colours_and_every_method():
    campaign = compare_campaign(participants=2)
    found = data_of(campaign, make_rows(campaign) + compare_rows(campaign))
    assert found["classes"] == ["digit 0", "digit 1"]
    assert list(found["methods"]) == ["tuned", "vanilla", "dml", "dp_kd"]
    for pair in found["pairs"].values():
        assert pair["scores"].keys() == {"before", "after"}
        assert pair["scores"]["after"].keys() == found["methods"].keys()


def test_without_tuning_a_pair_has_its_classes_only():
    campaign = compare_campaign(participants=2, stages=("compare",))
    found = data_of(campaign, compare_rows(campaign))
    assert {tuple(pair) for pair in found["pairs"].values()} == {
        ("scores", "verdict", "effect", "tried")
    }
    assert make_best_tables(ReportData(campaign, []).best_settings) == []


def test_pairs_to_choose_from_stand_in_the_order_of_the_campaign():
    partitions = tuple(map(PartitionSettings, ("uniform", "label_dirichlet")))
    campaign = make_campaign(partitions=partitions[::-1])
    keys = ["odd/t00-s01", "uniform/t01-s00", "label_dirichlet/t00-s01", "uniform/t00-s01"]
    assert list_pair_options(dict.fromkeys(keys, ""), campaign) == {
        "Label dirichlet": [("label_dirichlet/t00-s01", "t00-s01")],
        "Uniform": [("uniform/t00-s01", "t00-s01"), ("uniform/t01-s00", "t01-s00")],
        "Odd": [("odd/t00-s01", "t00-s01")],
    }


def test_numbers_sort_as_numbers_and_empty_cells_have_an_empty_key():
    campaign = make_campaign()
    (table,) = make_best_tables(Tables([], campaign).best_settings)
    assert {cell.key for line in table.lines for cell in line[2:10]} == {""}
    (table,) = make_best_tables(Tables(make_rows(campaign), campaign).best_settings)
    first = table.lines[0]
    assert isinstance(first[2].key, float)
    worded = [head.heading for head in table.columns if head.worded]
    assert worded == ["Partition", "Pair", "Verdict", "Cells"]
    tips = {head.heading: head.tip for head in table.columns}
    assert tips["T"] == EXPORT_COLUMNS["temperature"].meaning
    assert tips["Net gain of tuned KD (pp)"]


def test_pairs_to_distil_come_first_and_only_they_have_a_net_gain():
    campaign = make_campaign(participants=6)
    rows = make_rows(campaign, validation=lambda gap, t, a: -1.0 if gap < 0 else gap)
    (table,) = make_verdict_tables(ReportData(campaign, rows))
    place = table.headings.index("Verdict")
    actions = [line[place].text.partition(":")[0] for line in table.lines]
    assert set(actions) == {"distil", "leave as it is"}
    assert actions == sorted(actions)
    net = table.headings.index("Net gain of the verdict (pp)")
    assert {line[net] for line in table.lines if line[place].text == "leave as it is"} == {
        SortCell("\u2013", "")
    }


def test_an_interval_is_one_cell_and_says_why_it_is_not_there():
    columns = [IntervalColumn(Column("gain", "Gain (pp)"))]
    nothing = float("nan")
    frame = pd.DataFrame({"gain": [1.0, 2.0, nothing], "low": [0.5, nothing, nothing]})
    (table,) = make_tables("Gains", columns, frame.assign(high=[1.5, nothing, nothing]))
    assert table.headings == ["Gain (pp)", "95 %"]
    cells = [line[1] for line in table.lines]
    assert cells == [
        SortCell("[0.50, 1.50]", 0.5),
        SortCell("too few participants", ""),
        SortCell("", ""),
    ]


IMAGES = ("on the student's own data", *(f"on {t.lower()}" for t in TRANSFER_SET_TITLES.values()))
METHODS = ("Vanilla", "DML", "DP-KD", "Tuned", "tuned KD", "without a teacher", "without one")


@pytest.fixture(scope="module")
def data():
    campaign = compare_campaign(participants=6)
    return ReportData(campaign, make_rows(campaign) + compare_rows(campaign))


@pytest.fixture(scope="module")
def tuned():
    """No other stage, so that some students are left alone."""
    campaign = make_campaign(participants=6)
    return ReportData(campaign, make_rows(campaign))


@pytest.fixture(scope="module")
def drawn(data):
    return collect_pair_data(data)


def test_every_gain_in_the_texts_of_a_pair_names_method_and_images(drawn):
    for key, pair in drawn["pairs"].items():
        for sentence in re.split(r"\. (?=[A-Z])", f"{pair['effect']} {pair['tuning']}"):
            # The gap is no gain of a method.
            if " pp" not in sentence or sentence.startswith("The teacher's accuracy"):
                continue
            assert any(images in sentence for images in IMAGES), (key, sentence)
            assert any(method in sentence for method in METHODS), (key, sentence)


@pytest.mark.parametrize(("name", "action"), [("data", "distil"), ("tuned", "leave as it is")])
def test_the_verdict_is_among_what_was_tried_with_the_gains_of_the_table(name, action, request):
    data = request.getfixturevalue(name)
    verdicts, actions, drawn = data.tables.verdicts, set(), collect_pair_data(data)
    methods, sets = drawn["tried"]["methods"], drawn["tried"]["sets"]
    for pair, line in zip(list_pairs(verdicts), verdicts.to_dict("records"), strict=True):
        shown = drawn["pairs"][make_pair_key(pair)]
        method, images, _, validation, test = shown["tried"][shown["chosen"]]
        assert validation == format_points(line["validation_gain"])
        assert test == format_points(line["test_gain"])
        actions.add(line["action"])
        if line["action"] == "leave as it is":
            assert methods[method] == "Leave as it is" and test == "0.00"
        else:
            assert sets[images] == format_transfer_set(line["transfer_set"])
    assert action in actions


def test_of_each_method_on_each_image_set_there_is_one_line_the_best_on_validation_first(drawn):
    for pair in drawn["pairs"].values():
        kinds = [(method, images) for method, images, *_ in pair["tried"]]
        assert len(set(kinds)) == len(kinds) > 4
        methods = drawn["tried"]["methods"]
        for method, _, setting, *_ in pair["tried"]:
            taught = methods[method] not in ("Leave as it is", "Train on without a teacher")
            assert ("T=" in setting) is taught
        gains = [float(line[3]) for line in pair["tried"]]
        assert gains == sorted(gains, reverse=True)


def test_what_was_tried_and_the_best_cell_are_the_same_numbers(data, drawn):
    """The map's selected cell is a line of the table, or is said to be vanilla's."""
    best, own = data.best_settings, drawn["tried"]["sets"].index("Student data")
    for pair, line in zip(list_pairs(best), best.to_dict("records"), strict=True):
        tried = drawn["pairs"][make_pair_key(pair)]["tried"]
        settings = {setting: test for _, images, setting, _, test in tried if images == own}
        cell = f"T={line['temperature']:g}, alpha={line['alpha']:g}"
        found = settings.get(cell) or settings[f"{cell}, which is the tuned cell"]
        assert found == format_points(line["test_gain"])


def test_beside_a_student_left_alone_the_sentence_with_other_gains_says_why(tuned):
    verdicts, drawn = tuned.tables.verdicts, collect_pair_data(tuned)["pairs"]
    left = verdicts[verdicts["action"] == "leave as it is"]
    assert len(left)
    for pair, line in zip(list_pairs(left), left.to_dict("records"), strict=True):
        shown = drawn[make_pair_key(pair)]
        assert "Validation alone decides" in shown["effect"]
        assert "none of them counts here, as validation decides" in shown["tuning"]
        said = describe_effect({**line, "control_gain": 3.4})
        (sentence,) = [s for s in said.split(". ") if "+3.40 pp" in s]
        assert "test images take no part in choosing" in sentence
