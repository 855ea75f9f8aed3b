from __future__ import annotations

import csv
import io
import json

import pytest

from kdopt.report.blocks import ReportData
from kdopt.report.sections.pairs import make_pairs_section
from kdopt.report.verdict_text import describe_verdict, format_verdicts_json
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
