"""The pieces that the page's sections are made of: a note, a figure, tables, or what to run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.report.tables import points

SETS = {
    "student": "Student data",
    "public_unlabeled_small": "Public unlabeled (small)",
    "public_unlabeled_large": "Public unlabeled (large)",
    "public_labeled": "Public labeled",
}


class SortCell(NamedTuple):
    """One cell of a sortable table.

    Attributes:
        text: What people read.
        key: The value it sorts by; empty sorts last.
        pair: ``PARTITION/PAIR`` that a click on it shows; empty for none.
    """

    text: str
    key: float | str
    pair: str = ""


class Table(NamedTuple):
    """A sortable table under a heading that opens it."""

    title: str
    headings: list[str]
    lines: list[list[SortCell]]

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Each heading, and whether its column holds words rather than numbers."""
        worded = [
            any(isinstance(cell.key, str) and cell.key for cell in column)
            for column in zip(*self.lines, strict=True)
        ]
        return list(zip(self.headings, worded or [True] * len(self.headings), strict=True))


class Drawn(NamedTuple):
    """A figure and the numbers it shows.

    Attributes:
        name: How its files are called, without ending; see :func:`slug`.
        figure: Plotly's, as plain JSON values.
        data: One line per thing drawn.
        short: Columns of ``data`` written as :func:`kdopt.report.tables.setting` writes.
    """

    name: str
    figure: dict[str, Any]
    data: pd.DataFrame
    short: tuple[str, ...] = ()


class GridCell(NamedTuple):
    """One cell of a grid: its text, a smaller word below it, and whether it is marked."""

    text: str
    below: str = ""
    marked: bool = False


class Grid(NamedTuple):
    """A table with headings over groups of columns, in a fixed order.

    Attributes:
        corner: Heading of the column of row titles.
        headings: Rows of (text, columns it spans), the widest groups first.
        lines: Row title and cells.
        caption: How the cells are to be read; empty for none.
    """

    corner: str
    headings: list[list[tuple[str, int]]]
    lines: list[tuple[str, list[GridCell]]]
    caption: str = ""


class Block(NamedTuple):
    """One part of a section.

    Attributes:
        title: Its heading.
        note: What is shown, and how to read it.
        figure: Element id, empty for none.
        tables: The numbers, sortable.
        missing: What is not there and what to run for it; empty when nothing is missing.
        grids: Tables laid out as in the paper, shown above the figure.
        small: Figures shown beside each other: element id to caption.
    """

    title: str
    note: str
    figure: str = ""
    tables: Sequence[Table] = ()
    missing: str = ""
    grids: Sequence[Grid] = ()
    small: Mapping[str, str] = {}


class Part(NamedTuple):
    """A section of the page.

    Attributes:
        id: Its element id, a plain word.
        title: Its heading, which the page's contents list too.
        note: What it is about.
        blocks: Its parts.
        drawn: Their figures by element id.
    """

    id: str
    title: str
    note: str
    blocks: Sequence[Block]
    drawn: Mapping[str, Drawn] = {}


class Heading(NamedTuple):
    """A column of a table: key in the frame, heading, and the text of a value."""

    key: str
    text: str
    show: Callable[[Any], str] = points


def table_of(title: str, headings: Sequence[Heading], frame: pd.DataFrame) -> list[Table]:
    """One table with one line per line of the frame; none of an empty frame."""
    if frame.empty:
        return []
    lines = [[_cell(h, line) for h in headings] for line in frame.to_dict("records")]
    return [Table(title, [h.text for h in headings], lines)]


def sort_key(value: Any) -> float | str:
    """What a cell sorts by. An empty key sorts last, whichever way the column is sorted."""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 9)
    return value if isinstance(value, int) else str(value)


def title_of(name: object) -> str:
    """How a partition is headed, such as ``Label dirichlet``."""
    return str(name).replace("_", " ").capitalize()


def slug(text: object) -> str:
    """Text as part of an element id or of a file's name: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")


def set_title(name: object) -> str:
    """How a transfer set is headed; names of other versions are shown as they are."""
    return SETS.get(str(name), str(name))


def missing_stage(campaign: Campaign, stage: StageName) -> str:
    """What to run where a stage has no result."""
    if stage not in campaign.stages:
        return f'No data: add "{stage}" to stages and run again.'
    return f'No data yet: no trial of stage "{stage}" is complete.'


def _cell(heading: Heading, line: Mapping[Any, Any]) -> SortCell:
    value = line[heading.key]
    return SortCell(heading.show(value), sort_key(value))
