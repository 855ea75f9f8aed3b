from __future__ import annotations

import csv
import io

from kdopt.analysis.tables import compute_tables
from kdopt.report.blocks import ReportData
from kdopt.report.page import make_sections, render_page
from kdopt.report.sections.best_settings import format_best_csv, format_best_markdown
from tests.analysis.synthetic import make_campaign, make_rows, outcome, tune_row


def test_tables_show_the_spread_where_cells_were_repeated():
    campaign = make_campaign(replicates=2)
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(1.0, gain),
        )
        for i, gain in enumerate([1.0, 2.0])
    ]
    data = ReportData(campaign, rows)
    best = data.tables.best_settings
    line = next(csv.DictReader(io.StringIO(format_best_csv(best))))
    assert line["replicates"] == "2"
    assert float(line["test_gain"]) == 1.5
    assert float(line["test_gain_sd"]) == 0.71
    assert "sd over replicates" in format_best_markdown(best, campaign)
    assert "sd over replicates" in render_page(data, make_sections(data))


def test_without_replicates_there_is_no_column_for_their_spread():
    campaign = make_campaign()
    rows = make_rows(campaign)
    assert "sd over replicates" not in format_best_markdown(
        compute_tables(rows, campaign).best_settings, campaign
    )
