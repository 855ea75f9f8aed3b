"""Table II of the paper as a layout: which number stands where, before it is HTML or text."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.method_gains import list_partitions
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS, WEIGHTINGS
from kdopt.report.blocks import Grid, GridCell, set_title, title_of
from kdopt.report.tables import points

SET_ORDER = (*TRANSFER_SETS[1:], "student")
"""Transfer sets as in the paper: public ones first."""
MOST_COLUMNS = 15
"""Of a table on paper."""


class Kind(NamedTuple):
    """A group of columns: what is combined with different weightings."""

    transfer_set: str
    start: str


class Entry(NamedTuple):
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
        kinds: Groups of columns, in order.
        weightings: Columns of each group: adaptive formulas first, ``equal`` last.
        lines: Per partition its entries, group by group.
    """

    kinds: list[Kind]
    weightings: list[str]
    lines: dict[str, list[Entry]]

    @property
    def sets(self) -> dict[str, int]:
        """Transfer sets in order, and the groups of each."""
        names = [kind.transfer_set for kind in self.kinds]
        return {name: names.count(name) for name in names}

    @property
    def with_paper(self) -> bool:
        """Whether the paper has any of the numbers."""
        return any(not math.isnan(e.paper) for line in self.lines.values() for e in line)

    @property
    def with_spread(self) -> bool:
        """Whether any cell was repeated."""
        return any(not math.isnan(e.sd) for line in self.lines.values() for e in line)

    def weighting_title(self, weighting: str) -> str:
        """``W`` and ``U`` (weighted, unweighted) as in the paper; with the formula if several."""
        if weighting == EQUAL:
            return "U"
        return "W" if len(set(self.weightings) - {EQUAL}) == 1 else f"W: {plain(weighting)}"


def table_two(combined: pd.DataFrame) -> TableTwo:
    """Lay out :func:`kdopt.analysis.combining.tabulate_combined`."""
    kinds = kinds_of(combined)
    present = weightings_of(combined)
    weightings = [w for w in present if w != EQUAL] + [w for w in present if w == EQUAL]
    found = {
        (r["partition"], r["transfer_set"], r["start"], r["weighting"]): r
        for r in combined.to_dict("records")
    }
    lines = {}
    for partition in list_partitions(combined):
        lines[partition] = [
            entry
            for kind in kinds
            for entry in _entries([found.get((partition, *kind, w), {}) for w in weightings])
        ]
    return TableTwo(kinds, weightings, lines)


def grids(combined: pd.DataFrame) -> list[Grid]:
    """The table as the page shows it, the paper's numbers below ours.

    With so many weightings that no paper is wide enough, one table per transfer set.
    """
    table = table_two(combined)
    if len(table.kinds) * len(table.weightings) <= MOST_COLUMNS:
        parts = [table]
    else:
        parts = [table_two(combined[combined["transfer_set"] == name]) for name in table.sets]
    found = [_grid(part) for part in parts]
    return [*found[:-1], found[-1]._replace(caption=_caption(table))]


def kinds_of(combined: pd.DataFrame) -> list[Kind]:
    """All groups with a result, ordered as in the paper."""
    present = combined[["transfer_set", "start"]].drop_duplicates()
    sets = ordered(present["transfer_set"], SET_ORDER)
    starts = ordered(present["start"], STARTS)
    pairs = set(present.itertuples(index=False, name=None))
    return [Kind(name, start) for name in sets for start in starts if (name, start) in pairs]


def weightings_of(combined: pd.DataFrame) -> list[str]:
    """All weightings with a result, ``equal`` first."""
    return ordered(combined["weighting"], WEIGHTINGS)


def ordered(present: pd.Series[str], known: tuple[str, ...]) -> list[str]:
    """Names in the order of ``known``, then those of other versions."""
    names = {str(name) for name in present}
    return [name for name in known if name in names] + sorted(names - set(known))


def plain(name: str) -> str:
    """A formula's name as words."""
    return name.replace("_", " ")


def start_title(start: str) -> str:
    """How a starting point is headed, such as ``Worst student``."""
    return title_of(start) + (" model" if start == "untrained" else " student")


def entry_text(entry: Entry, sign: str) -> str:
    """The accuracy and, where there is one, its spread after ``sign``."""
    spread = "" if math.isnan(entry.sd) else f" {sign} {points(entry.sd)}"
    return points(entry.accuracy) + spread


def _grid(table: TableTwo) -> Grid:
    n = len(table.weightings)
    headings = [
        [(set_title(name), n * count) for name, count in table.sets.items()],
        [(start_title(kind.start), n) for kind in table.kinds],
        [(table.weighting_title(w), 1) for _ in table.kinds for w in table.weightings],
    ]
    lines = [
        (title_of(partition), [_cell(entry) for entry in line])
        for partition, line in table.lines.items()
    ]
    return Grid("Partition", headings, lines)


def _caption(table: TableTwo) -> str:
    caption = "Test accuracy in %; W: weighted teachers, U: all alike."
    if table.with_spread:
        caption += " After \N{PLUS-MINUS SIGN}: standard deviation over replicates."
    if len(table.weightings) > 1:
        caption += " Bold: the best weighting of a group."
    if table.with_paper:
        caption += " Below: the paper's number, for CIFAR-10 and its own sizes."
    return caption


def _entries(records: list[dict[Any, Any]]) -> list[Entry]:
    values = [float(record.get("accuracy", math.nan)) for record in records]
    known = [round(value, 9) for value in values if not math.isnan(value)]
    differ = len(set(known)) > 1
    return [
        Entry(
            value,
            float(record.get("accuracy_sd", math.nan)),
            float(record.get("paper_accuracy", math.nan)),
            differ and round(value, 9) == max(known),
        )
        for value, record in zip(values, records, strict=True)
    ]


def _cell(entry: Entry) -> GridCell:
    below = "" if math.isnan(entry.paper) else f"paper {points(entry.paper)}"
    return GridCell(entry_text(entry, "\N{PLUS-MINUS SIGN}") or "-", below, entry.best)
