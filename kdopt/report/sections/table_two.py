"""Table II of the paper: what stands where, and its grid on the page.

``table_two_figure`` draws it, ``table_two_files`` writes it for papers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.method_gains import list_partitions
from kdopt.analysis.results import Line
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS, WEIGHTINGS
from kdopt.report.blocks import Grid, GridCell
from kdopt.report.format import (
    format_points,
    format_title,
    format_transfer_set,
    format_words,
    title_partitions,
)

SET_ORDER = (*TRANSFER_SETS[1:], "student")
"""Transfer sets as in the paper: public ones first."""

MOST_COLUMNS = 15
"""Of a table on paper."""


class ColumnGroup(NamedTuple):
    """A group of columns: what is combined with different weightings."""

    transfer_set: str
    start: str


class CombinedEntry(NamedTuple):
    """One number of the table.

    Attributes:
        accuracy: Test accuracy, mean over replicates, %; NaN for unknown.
        sd: Its standard deviation over replicates, pp; NaN for fewer than two.
        paper: What the paper has there, %; NaN for nothing.
        best: Whether no other weighting of the same group does better, and some does worse.
    """

    accuracy: float
    sd: float
    paper: float
    best: bool


class TableTwo(NamedTuple):
    """The whole table.

    Attributes:
        groups: Groups of columns, in order.
        weightings: Columns of each group: adaptive formulas first, ``equal`` last.
        lines: Per partition its entries, group by group.
    """

    groups: list[ColumnGroup]
    weightings: list[str]
    lines: dict[str, list[CombinedEntry]]

    @property
    def sets(self) -> list[str]:
        """Transfer sets in order."""
        return list(dict.fromkeys(group.transfer_set for group in self.groups))

    @property
    def set_headings(self) -> list[tuple[str, int]]:
        """The first line of headings: each transfer set, and over how many columns it stands."""
        names = [group.transfer_set for group in self.groups]
        n = len(self.weightings)
        return [(format_transfer_set(name), n * names.count(name)) for name in self.sets]

    @property
    def start_headings(self) -> list[tuple[str, int]]:
        """The second line: the start of each group, and over how many columns it stands."""
        return [(_format_start(group.start), len(self.weightings)) for group in self.groups]

    @property
    def columns(self) -> list[tuple[ColumnGroup, str]]:
        """Each column's group, and the heading of its weighting: the third line."""
        titles = [self._title_weighting(weighting) for weighting in self.weightings]
        return [(group, title) for group in self.groups for title in titles]

    @property
    def with_paper(self) -> bool:
        """Whether the paper has any of the numbers."""
        return any(not math.isnan(e.paper) for line in self.lines.values() for e in line)

    @property
    def with_spread(self) -> bool:
        """Whether any cell was repeated."""
        return any(not math.isnan(e.sd) for line in self.lines.values() for e in line)

    def _title_weighting(self, weighting: str) -> str:
        """``W`` and ``U`` (weighted, unweighted) as in the paper; with the formula if several."""
        if weighting == EQUAL:
            return "U"
        return "W" if len(set(self.weightings) - {EQUAL}) == 1 else f"W: {format_words(weighting)}"


def make_table_two(combined: pd.DataFrame) -> TableTwo:
    """Lay out :func:`kdopt.analysis.combining.tabulate_combined`."""
    groups = list_groups(combined)
    present = list_weightings(combined)
    weightings = [w for w in present if w != EQUAL] + [w for w in present if w == EQUAL]
    found = {
        (r["partition"], r["transfer_set"], r["start"], r["weighting"]): r
        for r in combined.to_dict("records")
    }
    lines = {}
    for partition in list_partitions(combined):
        lines[partition] = [
            entry
            for group in groups
            for entry in _make_entries([found.get((partition, *group, w), {}) for w in weightings])
        ]
    return TableTwo(groups, weightings, lines)


def make_combined_grids(combined: pd.DataFrame) -> list[Grid]:
    """The table as the page shows it, the paper's numbers below ours.

    With so many weightings that no paper is wide enough, one table per transfer set.
    """
    table = make_table_two(combined)
    if len(table.columns) <= MOST_COLUMNS:
        parts = [table]
    else:
        parts = [make_table_two(combined[combined["transfer_set"] == name]) for name in table.sets]
    found = [_make_grid(part) for part in parts]
    return [*found[:-1], found[-1]._replace(caption=_describe_grid(table))]


def list_groups(combined: pd.DataFrame) -> list[ColumnGroup]:
    """All groups with a result, ordered as in the paper."""
    present = combined[["transfer_set", "start"]].drop_duplicates()
    sets = _order_names(present["transfer_set"], SET_ORDER)
    starts = _order_names(present["start"], STARTS)
    pairs = set(present.itertuples(index=False, name=None))
    return [ColumnGroup(name, start) for name in sets for start in starts if (name, start) in pairs]


def list_weightings(combined: pd.DataFrame) -> list[str]:
    """All weightings with a result, ``equal`` first."""
    return _order_names(combined["weighting"], WEIGHTINGS)


def _order_names(present: pd.Series[str], known: tuple[str, ...]) -> list[str]:
    """Names in the order of ``known``, then those of other versions."""
    names = {str(name) for name in present}
    return [name for name in known if name in names] + sorted(names - set(known))


def _format_start(start: str) -> str:
    """How a starting point is headed, such as ``Worst student``."""
    return format_title(start) + (" model" if start == "untrained" else " student")


def format_entry(entry: CombinedEntry, sign: str) -> str:
    """The accuracy and, where there is one, its spread after ``sign``."""
    spread = "" if math.isnan(entry.sd) else f" {sign} {format_points(entry.sd)}"
    return format_points(entry.accuracy) + spread


def _make_grid(table: TableTwo) -> Grid:
    weightings = [(title, 1) for _, title in table.columns]
    headings = [table.set_headings, table.start_headings, weightings]
    titles = title_partitions(table.lines)
    lines = [
        (titles[partition], [_make_grid_cell(entry) for entry in line])
        for partition, line in table.lines.items()
    ]
    return Grid("Partition", headings, lines)


def _describe_grid(table: TableTwo) -> str:
    caption = "Test accuracy in %; W: weighted teachers, U: all alike."
    if table.with_spread:
        caption += " After \N{PLUS-MINUS SIGN}: standard deviation over replicates."
    if len(table.weightings) > 1:
        caption += " Bold: the best weighting of a group."
    if table.with_paper:
        caption += " Below: the paper's number, for CIFAR-10 and its own sizes."
    return caption


def _make_entries(records: Sequence[Line]) -> list[CombinedEntry]:
    values = [float(record.get("accuracy", math.nan)) for record in records]
    known = [round(value, 9) for value in values if not math.isnan(value)]
    differ = len(set(known)) > 1
    return [
        CombinedEntry(
            value,
            float(record.get("accuracy_sd", math.nan)),
            float(record.get("paper_accuracy", math.nan)),
            differ and round(value, 9) == max(known),
        )
        for value, record in zip(values, records, strict=True)
    ]


def _make_grid_cell(entry: CombinedEntry) -> GridCell:
    below = "" if math.isnan(entry.paper) else f"paper {format_points(entry.paper)}"
    return GridCell(format_entry(entry, "\N{PLUS-MINUS SIGN}") or "-", below, entry.best)
