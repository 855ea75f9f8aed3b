import csv
import io
import json
from dataclasses import replace

import pytest

from kdopt.campaign.settings import PartitionSettings
from kdopt.report.blocks import ReportData
from kdopt.report.page import SECTIONS, list_figures, make_payload, make_sections
from kdopt.report.sections.run import FAILURES_SHOWN, make_run_section
from tests.analysis.synthetic import compare_campaign, make_campaign, make_rows


def test_at_most_fifty_failures_are_listed_and_the_rest_counted():
    campaign = make_campaign(participants=5)
    failed = [
        replace(row, state="FAIL", outcome=None, error="NaN loss") if row.stage == "tune" else row
        for row in make_rows(campaign)
    ]
    values = make_run_section(ReportData(campaign, failed)).blocks[0].values
    assert len(values["failures"]) == FAILURES_SHOWN == 50
    assert values["failures_left_out"] == 20 * 9 - 50


def test_every_figure_has_its_numbers_and_figures_of_one_table_share_them():
    partitions = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
    campaign = make_campaign(partitions=partitions)
    data = ReportData(campaign, make_rows(campaign))
    sections = make_sections(data)
    payload = make_payload(data, sections)
    figures = [figure.id for figure in list_figures(sections)]
    assert list(payload["files"]) == list(payload["figures"]) == figures
    names = [name for name, _ in payload["files"].values()]
    assert len(names) == len(set(names))
    maps = {payload["files"][f"map-1-{key}"][1] for key in ("alpha", "temperature", "gain")}
    assert len(maps) == 1
    lines = list(csv.DictReader(io.StringIO(payload["sheets"][maps.pop()])))
    best = data.best_settings[data.best_settings["partition"] == "label_dirichlet"]
    assert [float(line["alpha"]) for line in lines] == best["alpha"].tolist()
    assert [float(line["test_gain"]) for line in lines] == pytest.approx(
        best["test_gain"].tolist(), abs=0.0051
    )
    json.dumps(payload, allow_nan=False)


def test_sections_stand_in_one_order_and_bring_their_files():
    campaign = compare_campaign(participants=3)
    sections = make_sections(ReportData(campaign, make_rows(campaign)))
    order = ["short", "run", "maps", "methods", "many", "advice", "claims", "pairs"]
    assert [section.id for section in sections] == order
    assert len(SECTIONS) == len(order)
    files = [name for section in sections for name in section.files]
    assert files == [
        *("best_settings.csv", "best_settings.md", "best_settings.tex"),
        *("advice.txt", "claims.csv", "claims.md"),
    ]
