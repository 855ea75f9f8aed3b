import io
import random

import pandas as pd
import pytest

from kdopt.analysis.tables import Tables
from kdopt.report.format import format_frame
from kdopt.report.sections.best_settings import (
    SETTING_COLUMNS,
    format_best_latex,
    format_best_markdown,
)
from tests.analysis.synthetic import make_campaign, make_rows


@pytest.fixture
def campaign():
    return make_campaign(name="my_toy")


def exports(rows, campaign):
    best = Tables(rows, campaign).best_settings
    return [
        format_frame(best, SETTING_COLUMNS),
        format_best_markdown(best, campaign),
        format_best_latex(best, campaign),
    ]


def test_shuffled_rows_give_the_same_bytes(campaign):
    rows = make_rows(campaign)
    expected = exports(rows, campaign)
    for seed in range(3):
        assert exports(random.Random(seed).sample(rows, len(rows)), campaign) == expected


def test_wall_time_and_device_stay_out_of_the_best_settings(campaign):
    rows = make_rows(campaign)
    before = exports(rows, campaign)
    for row in rows:
        object.__setattr__(row.outcome, "seconds", 99.0)
        object.__setattr__(row.outcome, "device", "cuda")
    assert exports(rows, campaign) == before


def test_writing_what_was_read_gives_the_same_bytes(campaign):
    text = format_frame(Tables(make_rows(campaign), campaign).best_settings, SETTING_COLUMNS)
    assert format_frame(pd.read_csv(io.StringIO(text)), SETTING_COLUMNS) == text


def test_every_text_ends_with_one_newline(campaign):
    for text in exports(make_rows(campaign), campaign):
        assert text.endswith("\n") and not text.endswith("\n\n") and "\r" not in text


def test_latex_is_escaped_and_has_one_line_per_pair(campaign):
    latex = format_best_latex(Tables(make_rows(campaign), campaign).best_settings, campaign)
    assert r"campaign my\_toy, selected on validation" in latex
    assert latex.count(r" \\") == 1 + 1 + 6
    assert [rule for rule in (r"\toprule", r"\midrule", r"\bottomrule") if rule in latex]
    body = latex.split(r"\endfoot")[1]
    assert {line.count("&") for line in body.splitlines() if "&" in line} == {12}


def test_markdown_has_as_many_cells_in_every_line(campaign):
    text = format_best_markdown(Tables(make_rows(campaign), campaign).best_settings, campaign)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6
    assert len({line.count("|") for line in table}) == 1


def test_selection_on_test_is_said_in_every_caption():
    campaign = make_campaign(select_on="test")
    _, markdown, latex = exports(make_rows(campaign), campaign)
    assert "selected on test (optimistic)" in markdown
    assert "selected on test (optimistic)" in latex


def test_tables_of_an_unfinished_campaign_say_so_in_their_caption():
    campaign = make_campaign()
    rows = make_rows(campaign)
    finished = exports(rows, campaign)[1:3]
    unfinished = exports(rows[:-1], campaign)[1:3]
    assert all("incomplete" not in text for text in finished)
    assert all("Not final: 1 of" in text for text in unfinished)
