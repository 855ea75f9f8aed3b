"""The section on tuned methods, of the campaign that tests their tables."""

from __future__ import annotations

import json
import re

from kdopt.report.blocks import ReportData
from kdopt.report.page import make_sections, render_page
from kdopt.report.sections.tuned_methods import make_tuned_section
from tests.analysis.synthetic import make_campaign, make_rows
from tests.analysis.test_tuned_methods import CAMPAIGN, dkd, standardised


def data_of(*rows, campaign=CAMPAIGN):
    return ReportData(campaign, [*make_rows(campaign), *rows], [])


def test_tuned_is_shown_beside_tuned_with_settings_and_a_file():
    section = make_tuned_section(data_of(dkd(8.0, 20.0, 5.0), standardised(0.9, 4.0)))
    (figure,) = section.list_figures()
    names = {trace["name"] for trace in figure.figure["data"]}
    assert {"Tuned", "Tuned DKD", "Tuned KD of standardised logits"} <= names
    json.dumps(figure.figure, allow_nan=False)
    by_partition, by_pair = (block.tables[0] for block in section.blocks)
    assert [line[1].text for line in by_partition.lines] == [
        "Tuned", "Tuned DKD", "Tuned KD of standardised logits",
    ]  # fmt: skip
    settings = [cell.text for line in by_pair.lines for cell in line]
    assert "alpha=1, beta=8, label_weight=1, temperature=4" in settings and "selected" in settings
    assert "alpha=1, beta=8, label_weight=1, temperature=4" in section.files["tuned_methods.csv"]


def test_the_page_shows_it_only_where_methods_are_tuned():
    data = data_of(dkd(8.0, 20.0, 5.0))
    page = render_page(data, make_sections(data))
    assert "Tuned against tuned" in page and "Tuned DKD" in page
    # A figure is drawn into the element of its id, which no section may have.
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    plain = data_of(campaign=make_campaign())
    assert make_tuned_section(plain) is None


def test_before_any_trial_of_a_method_the_section_says_what_is_missing():
    section = make_tuned_section(ReportData(CAMPAIGN, [], []))
    assert all("No data yet" in block.missing for block in section.blocks)
    assert section.files == {}
