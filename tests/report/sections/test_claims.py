import csv
import io
import random

import pandas as pd
import pytest

from kdopt.analysis.paper.claims import CLAIMS, judge_claims
from kdopt.analysis.tables import Tables
from kdopt.report.export_columns import name_export_column
from kdopt.report.format import format_frame
from kdopt.report.sections.claims import CLAIM_COLUMNS, format_claims_csv, format_claims_markdown
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=4)


@pytest.fixture(scope="module")
def rows(campaign):
    return make_rows(campaign) + compare_rows(campaign)


def exports(rows, campaign):
    found = judge_claims(Tables(rows, campaign))
    gains = Tables(rows, campaign).method_gains
    return [format_frame(gains), format_claims_csv(found), format_claims_markdown(found, campaign)]


def test_shuffled_rows_give_the_same_bytes(campaign, rows):
    shuffled = random.Random(5).sample(rows, len(rows))
    assert exports(shuffled, campaign) == exports(rows, campaign)


def test_every_text_ends_with_one_newline_and_has_no_nan(campaign, rows):
    for some in (rows, make_rows(campaign), []):
        for text in exports(some, campaign):
            assert text.endswith("\n") and not text.endswith("\n\n") and "\r" not in text
            assert ",nan" not in text.lower()


def test_writing_the_gains_that_were_read_gives_the_same_bytes(campaign, rows):
    text = format_frame(Tables(rows, campaign).method_gains)
    assert format_frame(pd.read_csv(io.StringIO(text))) == text
    assert len(text.splitlines()) == 1 + 5 * 12 * 13


def test_the_claims_file_has_every_contrast_and_every_claim(campaign, rows):
    found = judge_claims(Tables(rows, campaign))
    lines = list(csv.DictReader(io.StringIO(format_claims_csv(found))))
    assert set(lines[0]) == set(map(name_export_column, CLAIM_COLUMNS))
    assert {line["claim"] for line in lines} == {f"C{i}" for i in range(1, len(CLAIMS) + 1)}
    assert len(lines) == sum(max(1, len(claim.contrasts)) for claim in found)
    for line in lines:
        if line["low"]:
            assert float(line["low"]) <= float(line["value"]) <= float(line["high"])


def test_markdown_has_as_many_cells_in_every_line_and_states_the_rule(campaign, rows):
    text = exports(rows, campaign)[2]
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(CLAIMS)
    assert {line.replace("\\|", "").count("|") for line in table} == {6}
    assert "A claim is supported if all its contrasts are" in text
