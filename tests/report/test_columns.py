"""Every interval of the page says what it is over: in its heading's tip, and above its table."""

from __future__ import annotations

import pandas as pd

from kdopt.report.blocks import ReportData, make_tables
from kdopt.report.columns import IntervalColumn
from kdopt.report.export_columns import EXPORT_COLUMNS
from kdopt.report.page import make_sections
from kdopt.report.sections.pairs import make_verdict_tables
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows
from tests.report.many_synthetic import many_campaign, many_rows

UNITS = ("over participants", "over partitions", "over other test images")


def list_tables():
    tuned = compare_campaign(participants=6)
    many = many_campaign()
    for data in (
        ReportData(tuned, make_rows(tuned) + compare_rows(tuned)),
        ReportData(many, many_rows(many)),
    ):
        yield from make_verdict_tables(data) if data.has_pairs else ()
        for section in make_sections(data):
            for block in section.blocks:
                yield from block.tables


def test_a_table_with_an_interval_says_over_what_it_is_in_its_note_and_in_the_headings_tip():
    found = dict.fromkeys(UNITS, 0)
    for table in list_tables():
        tips = [head.tip for head in table.columns if head.heading == "95 %"]
        assert bool(tips) == ("95 %" in table.note), table.title
        for tip in tips:
            (unit,) = (unit for unit in UNITS if unit in tip)
            assert unit in table.note, (table.title, table.note)
            found[unit] += 1
    assert all(found.values()), found


def test_a_table_with_intervals_over_different_things_says_it_of_each():
    columns = [IntervalColumn("gain"), IntervalColumn("net_gain", "net_", over="partitions")]
    ends = {"low": [0.0], "high": [1.0], "net_low": [0.0], "net_high": [1.0]}
    (table,) = make_tables(
        "Gains", columns, pd.DataFrame({"gain": [0.5], "net_gain": [0.4]} | ends)
    )
    gain, net = table.headings[0], table.headings[2]
    assert f"{gain}: over participants" in table.note
    assert f"{net}: over partitions" in table.note


def test_every_end_of_an_interval_in_files_says_what_it_is_over():
    for name, column in EXPORT_COLUMNS.items():
        if "95 %" in column.meaning or name.endswith(("_low", "_high")):
            assert any(f"over {unit}" in column.meaning for unit in ("participants", "other test"))
