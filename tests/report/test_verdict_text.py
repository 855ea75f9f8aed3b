from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import pytest

from kdopt.analysis.verdicts import Candidate
from kdopt.campaign.stage_settings import CompareSettings, TuneSettings
from kdopt.report.blocks import ReportData
from kdopt.report.sections.pairs import make_pairs_section
from kdopt.report.verdict_text import (
    describe_effect,
    describe_full_setting,
    describe_verdict,
    format_verdicts_json,
    give_reason,
)
from tests.analysis.synthetic import make_campaign, make_rows


@pytest.fixture(scope="module")
def data():
    campaign = make_campaign()
    return ReportData(campaign, make_rows(campaign))


def test_json_has_the_names_and_units_of_the_csv_file(data):
    records = json.loads(format_verdicts_json(data.tables.verdicts))
    text = make_pairs_section(data).files["verdicts.csv"]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(records) == len(lines) > 0
    for record, line in zip(records, lines, strict=True):
        assert list(record) == list(line)
        assert record["pair"] == line["pair"]
        assert line["test_gain_pp"] in ("", f"{record['test_gain_pp'] or 0:.2f}")


def test_a_drawn_setting_has_three_digits_in_words_and_all_in_json(data):
    verdicts = data.tables.verdicts.assign(
        action="distil", method="tuned", transfer_set="student", setting="",
        temperature=2.043776598844426, alpha=0.75,
    )  # fmt: skip
    (line, *_) = verdicts.to_dict("records")
    assert describe_verdict(line) == "distil: Tuned, T=2.04, alpha=0.75"
    assert json.loads(format_verdicts_json(verdicts))[0]["temperature"] == 2.043776598844426


LINE = {
    "method": "vanilla",
    "transfer_set": "student",
    "chance_over_leaving": 0.99,
    "chance_over_training": 0.2,
    "accuracy_before": 96.21,
    "accuracy_after": 96.21,
    "validation_gain": 0.74,
    "test_gain": 0.0,
    "control_gain": 0.0,
}


def test_a_student_without_a_teacher_has_a_reason():
    assert give_reason({**LINE, "action": "leave as it is"}) == (
        "Validation alone decides, and nothing that was tried beats the untouched student "
        "measurably there (chance 0.990; less than 0.05 counts as measurable)."
    )
    trained = {**LINE, "action": "train on"}
    assert "no teacher" in give_reason(trained) and "(chance 0.200;" in give_reason(trained)
    assert describe_effect(trained) == (
        "Training on without a teacher, on the student's own data, gains +0.74 pp on validation "
        "and 0.00 pp on test: accuracy on test stays 96.21 %."
    )


@pytest.mark.parametrize(("low", "zero"), [(-0.24, True), (0.24, False)])
def test_an_interval_around_0_is_said_in_words(low, zero):
    line = {**LINE, "action": "distil", "net_gain": 1.5, "net_low": low, "net_high": 3.4}
    assert ("the interval includes 0" in describe_effect(line)) is zero


@pytest.mark.parametrize(
    ("method", "images", "said"),
    [
        ("vanilla", "student", "T=2, alpha=0.75"),
        ("vanilla", "public_labeled", "T=2, alpha=0.75, self_teacher_weight=0.5"),
        ("vanilla", "public_unlabeled_small", "T=2, alpha=1, self_teacher_weight=0.5"),
        ("dml", "student", "T=3, plain sum"),
        ("dml", "public_unlabeled_small", "T=3"),
        ("dp_kd", "public_labeled", "T=4, label_weight=0.25"),
        ("dp_kd", "public_unlabeled_large", "T=4"),
    ],
)
def test_a_setting_is_said_with_all_that_has_a_part_in_the_loss(method, images, said):
    tune = TuneSettings(vanilla_temperature=2.0, vanilla_alpha=0.75)
    compare = CompareSettings(dml_temperature=3.0, dp_kd_temperature=4.0, dp_kd_label_weight=0.25)
    campaign = dataclasses.replace(make_campaign(), tune=tune, compare=compare)
    point = tune.vanilla_point if method == "vanilla" else (math.nan, math.nan)
    candidate = Candidate("distil", method, images, *point, [], ())
    assert describe_full_setting(candidate, campaign) == said
