"""Verdicts: what to do with the student of every pair, and why."""

from __future__ import annotations

import pandas as pd

from kdopt.analysis.verdicts import ERROR_RATE, VERDICTS
from kdopt.campaign.names import pair_label
from kdopt.report.blocks import (
    Block,
    Column,
    Columns,
    Grid,
    GridCell,
    ReportData,
    Section,
    make_tables,
)
from kdopt.report.format import format_frame, format_signed, format_title
from kdopt.report.verdict_text import describe_verdict

NOTE = (
    "The simplest that nothing less simple beats measurably on validation: leave the student as it "
    "is, train it on without a teacher, or distil. Models are compared image by image, and the "
    "chances count how many were tried: of a pair in which nothing helps, another verdict than "
    f"to leave it comes out in {100 * ERROR_RATE:g} % of cases. Gains are those on test, which had "
    "no part in the verdict; the net gain is what is left beyond training on without a teacher."
)


def make_verdicts_section(data: ReportData) -> Section | None:
    """The section; none for a campaign that distils no pairs."""
    if not data.has_pairs:
        return None
    table = data.tables.verdicts
    shown = table.assign(
        pair=[
            pair_label(int(t), int(s))
            for t, s in zip(table["teacher"], table["student"], strict=True)
        ],
        verdict=[describe_verdict(line) for line in table.to_dict("records")],
    )
    columns: Columns = [
        *("partition", "pair"),
        Column("verdict", "Verdict", str),
        *("validation_gain", "test_gain", "control_gain", "net_gain", "tried"),
        *("chance_over_leaving", "chance_over_training"),
    ]
    decided = table[table["action"] != "undecided"]
    block = Block(
        grids=[make_counts_grid(decided)] if len(decided) else [],
        tables=make_tables(f"Verdicts on {len(table)} pairs", columns, shown),
        missing="" if len(decided) else "No data yet: no pair has a verdict.",
    )
    files = {"verdicts.csv": format_frame(table, ("temperature", "alpha"))} if len(decided) else {}
    return Section("verdicts", "Verdicts", NOTE, [block], files=files)


def make_counts_grid(table: pd.DataFrame) -> Grid:
    """Pairs by partition and verdict, with the mean test gain and net gain of each group."""
    actions = [action for action in VERDICTS if action != "undecided"]
    lines = []
    for partition, pairs in table.groupby("partition", sort=False):
        cells = []
        for action in actions:
            here = pairs[pairs["action"] == action]
            gain, net = (here[key].mean() for key in ("test_gain", "net_gain"))
            below = f"{format_signed(gain)} pp" if len(here) else ""
            if action == "distil" and len(here) and not pd.isna(net):
                below += f", net {format_signed(net)}"
            cells.append(GridCell(str(len(here)), below))
        lines.append((format_title(partition), cells))
    headings = [[(action.capitalize(), 1) for action in actions]]
    return Grid(
        "Partition", headings, lines, "Pairs; below, their mean gain on test by the verdict."
    )
