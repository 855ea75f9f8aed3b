"""Verdicts: what to do with the student of every pair, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from kdopt.analysis.results import list_pairs
from kdopt.analysis.tables import list_name_columns
from kdopt.analysis.verdicts import ERROR_RATE, VERDICTS, PairVerdict
from kdopt.outcome import Pair
from kdopt.report.blocks import Grid, GridCell, ReportData, Table, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import format_points, format_signed, includes_zero, title_partitions
from kdopt.report.verdict_text import Line, describe_verdict

ACTION_ORDER: Sequence[PairVerdict] = ("distil", "train on", "leave as it is", "undecided")

VERDICT_NOTE = (
    "The simplest option, unless a more complex one is measurably better on validation: leave the "
    "student as it is, train it on without a teacher, or distil. Test images have no part in it: "
    "accuracies and gains on test only report. A verdict that names no images is on the student's "
    "own data. t02-s00 is teacher 2 with student 0; click a pair, here or in a figure, to see "
    "all about it below."
)

METHOD_NOTE = (
    "Models are compared image by image, and the chances count how many were tried: of a pair in "
    "which nothing helps, another verdict than to leave it comes out in "
    f"{100 * ERROR_RATE:g} % of cases. The net gain is what "
    "is left of a gain beyond training on without a teacher; its 95 % interval is over other test "
    "images."
)


def make_verdict_tables(data: ReportData) -> list[Table]:
    """What to do with every pair, what it brings, and how sure that is; a link in each line.

    Pairs to distil stand first, those that gain most by their teacher before the others.
    """
    table, results = data.tables.verdicts, data.tables.results
    taught = table["action"] == "distil"
    # Of a student that no teacher trains a net gain of 0 would look measured.
    table = table.assign(net_gain=table["net_gain"].where(taught))
    order = sorted(table.to_dict("records"), key=_rank_line)
    table = pd.DataFrame(order, columns=table.columns)
    pairs = list_pairs(table)
    shown = table.assign(
        pair=[pair.label for pair in pairs],
        action=[describe_verdict(line) for line in order],
        accuracy_gap=[results.describe_gap(pair)["accuracy_gap"] for pair in pairs],
    )
    net = Column("net_gain", "Net gain of the verdict (pp)", lambda x: format_points(x) or "\u2013")
    columns: Columns = [
        *("partition", "pair", *list_name_columns(table)),
        *("action", "accuracy_before", "accuracy_after"),
        IntervalColumn(net, "net_", "not recorded"),
        *("chance_over_leaving", "chance_over_training"),
        Column("test_gain", "Gain of the verdict (pp)"),
        # Not "Control" alone: that of best settings is on the student's own data.
        Column("control_gain", "Control on the same images (pp)"),
        *("validation_gain", "temperature", "alpha", "accuracy_gap"),
    ]
    tables = make_tables(f"Verdicts on {len(table)} pairs", columns, shown)
    for made in tables:
        ends = zip(shown["net_low"], shown["net_high"], strict=True)
        place = made.headings.index(net.heading) + 1
        for pair, (low, high), line in zip(pairs, ends, made.lines, strict=True):
            line[1] = line[1]._replace(pair=make_pair_key(pair))
            if includes_zero(low, high):
                line[place] = line[place]._replace(below="includes 0 on test")
    return tables


def _rank_line(line: Line) -> tuple[int, float]:
    gain = line["test_gain"] if math.isnan(line["net_gain"]) else line["net_gain"]
    return ACTION_ORDER.index(line["action"]), math.inf if math.isnan(gain) else -gain


def make_pair_key(pair: Pair) -> str:
    """How figures and the page refer to a pair."""
    return f"{pair.partition}/{pair.label}"


def make_counts_grid(table: pd.DataFrame) -> Grid:
    """Pairs by partition and verdict, with the mean test gain and net gain of each group."""
    actions = [action for action in VERDICTS if action != "undecided"]
    lines = []
    titles = title_partitions(table["partition"])
    for partition, pairs in table.groupby("partition", sort=False):
        cells = []
        for action in actions:
            here = pairs[pairs["action"] == action]
            gain, net = (here[key].mean() for key in ("test_gain", "net_gain"))
            below = f"{format_signed(gain)} pp" if len(here) else ""
            if action == "distil" and len(here) and not pd.isna(net):
                below += f", net {format_signed(net)}"
            cells.append(GridCell(str(len(here)), below))
        lines.append((titles[str(partition)], cells))
    headings = [[(action.capitalize(), 1) for action in actions]]
    return Grid(
        "Partition", headings, lines, "Pairs; below, their mean gain on test by the verdict."
    )
