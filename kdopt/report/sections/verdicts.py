"""Verdicts: what to do with the student of every pair, and why."""

from __future__ import annotations

import pandas as pd

from kdopt.analysis.names import list_name_columns
from kdopt.analysis.results import list_pairs
from kdopt.analysis.verdicts import ERROR_RATE, VERDICTS
from kdopt.outcome import Pair
from kdopt.report.blocks import Grid, GridCell, ReportData, Table, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import format_signed, format_title
from kdopt.report.verdict_text import describe_verdict

VERDICT_NOTE = (
    "The simplest that nothing less simple beats measurably on validation: leave the student as it "
    "is, train it on without a teacher, or distil. Accuracies and gains are those on test. t02-s00 "
    "is teacher 2 with student 0; click a pair, here or in a figure, to see all about it below."
)

METHOD_NOTE = (
    "Models are compared image by image, and the chances count how many were tried: of a pair in "
    "which nothing helps, another verdict than to leave it comes out in "
    f"{100 * ERROR_RATE:g} % of cases. The test set has no part in a verdict. The net gain is what "
    "is left of a gain beyond training on without a teacher; its 95 % interval is over other test "
    "images."
)


def make_verdict_tables(data: ReportData) -> list[Table]:
    """What to do with every pair, what it brings, and how sure that is; a link in each line."""
    table, results = data.tables.verdicts, data.tables.results
    pairs = list_pairs(table)
    shown = table.assign(
        pair=[pair.label for pair in pairs],
        verdict=[describe_verdict(line) for line in table.to_dict("records")],
        accuracy_gap=[results.describe_gap(pair)["accuracy_gap"] for pair in pairs],
    )
    columns: Columns = [
        *("partition", "pair", *list_name_columns(table)),
        Column("verdict", "Verdict", str),
        *("accuracy_before", "accuracy_after"),
        IntervalColumn("net_gain", "net_"),
        *("test_gain", "control_gain", "validation_gain"),
        *("temperature", "alpha", "accuracy_gap", "tried"),
        *("chance_over_leaving", "chance_over_training"),
    ]
    tables = make_tables(f"Verdicts on {len(table)} pairs", columns, shown)
    for made in tables:
        for pair, line in zip(pairs, made.lines, strict=True):
            line[1] = line[1]._replace(pair=make_pair_key(pair))
    return tables


def make_pair_key(pair: Pair) -> str:
    """How figures and the page refer to a pair."""
    return f"{pair.partition}/{pair.label}"


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
