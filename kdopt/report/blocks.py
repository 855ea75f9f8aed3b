"""The pieces that sections are made of: a note, a figure, tables, or what to run to get them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.report.format import format_points, make_sort_key


class Column(NamedTuple):
    """One column of a table for people: its heading and the text of a cell.

    Attributes:
        key: Column of the frame, whose values the page sorts by.
        heading: What people read above it, with the unit.
        show: From a cell's value to its text; unknown numbers become an empty text.
    """

    key: str
    heading: str
    show: Callable[[Any], str] = format_points


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


class PageFigure(NamedTuple):
    """A figure and the numbers it shows.

    Attributes:
        name: How its files are called, without ending; see :func:`make_slug`.
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


class Section(NamedTuple):
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
    drawn: Mapping[str, PageFigure] = {}


def make_tables(title: str, headings: Sequence[Column], frame: pd.DataFrame) -> list[Table]:
    """One table with one line per line of the frame; none of an empty frame."""
    if frame.empty:
        return []
    lines = [[_make_cell(h, line) for h in headings] for line in frame.to_dict("records")]
    return [Table(title, [h.heading for h in headings], lines)]


def _make_cell(heading: Column, line: Mapping[Any, Any]) -> SortCell:
    value = line[heading.key]
    return SortCell(heading.show(value), make_sort_key(value))


def explain_missing_stage(campaign: Campaign, stage: StageName) -> str:
    """What to run where a stage has no result."""
    if stage not in campaign.stages:
        return f'No data: add "{stage}" to stages and run again.'
    return f'No data yet: no trial of stage "{stage}" is complete.'
