"""What is said of one pair: every number with its method and images, none against another."""

from __future__ import annotations

import re

import pytest

from kdopt.analysis.results import list_pairs
from kdopt.report.blocks import ReportData
from kdopt.report.format import TRANSFER_SET_TITLES, format_points, format_transfer_set
from kdopt.report.sections.pairs import collect_pair_data
from kdopt.report.sections.verdicts import make_pair_key
from kdopt.report.verdict_text import describe_effect
from tests.analysis.synthetic import compare_campaign, compare_rows, make_campaign, make_rows

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
