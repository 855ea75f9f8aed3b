"""What sections are made from and of: a campaign's tables in, blocks with tables and figures out.

A section is one function from :class:`ReportData` to :class:`Section`. It says what there is to
see, or what to run to get it. :mod:`kdopt.report.page` lists all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.tables import Tables
from kdopt.campaign.names import StageName
from kdopt.campaign.record import CodeSource, SettingLine
from kdopt.campaign.settings import Campaign
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import Pair, TrialRow
from kdopt.report.columns import COLUMNS, Column, IntervalColumn, describe_intervals, expand_column
from kdopt.report.format import make_sort_key, title_partitions
from kdopt.report.plotting import PlainFigure


class ReportData:
    """All that a report is made from.

    Attributes:
        campaign: What was run.
        rows: Its trials, in any state and order.
        settings: Its resolved settings with the source of each.
        measurements: What was measured of its partitions, by name.
        class_names: Names of its classes, in order; empty where the store does not have them.
        code: Where code is from that is not kdopt's, by what uses it.
        tables: All tables of it, each computed once.
    """

    def __init__(
        self,
        campaign: Campaign,
        rows: Sequence[TrialRow],
        settings: Sequence[SettingLine] = (),
        measurements: Mapping[str, PartitionMeasurements] | None = None,
        class_names: Sequence[str] = (),
        code: Mapping[str, CodeSource] | None = None,
    ) -> None:
        self.class_names = class_names
        self.campaign = campaign
        self.rows = rows
        self.settings = settings
        self.measurements = measurements or {}
        self.code = code or {}
        self.tables = Tables(rows, campaign)

    def shows_stage(self, *stages: StageName) -> bool:
        """Whether the campaign has or will have results of any of the stages."""
        return any(s in self.campaign.stages or s in self.tables.results.by_stage for s in stages)

    @property
    def has_tuning(self) -> bool:
        """Whether temperatures and alphas are tuned."""
        return self.shows_stage("tune")

    @property
    def has_pairs(self) -> bool:
        """Whether any stage distils pairs of teacher and student."""
        return self.shows_stage("tune", "compare")

    @cached_property
    def best_settings(self) -> pd.DataFrame:
        """The best settings of all pairs; empty without tuning."""
        best = self.tables.best_settings
        # Without tuning every pair would be listed as undecided, as if it were still to come.
        return best if self.has_tuning else best.iloc[:0]


def make_pair_key(pair: Pair) -> str:
    """How figures and the page refer to a pair."""
    return f"{pair.partition}/{pair.label}"


SHOWN_PRECISION = 0.0051
"""What two decimals leave out."""


class SortCell(NamedTuple):
    """One cell of a sortable table.

    Attributes:
        text: What people read.
        key: The value it sorts by; empty sorts last.
        pair: ``PARTITION/PAIR`` that a click on it shows; empty for none.
        below: A remark below the text; empty for none.
    """

    text: str
    key: float | str
    pair: str = ""
    below: str = ""

    @property
    def hidden_key(self) -> float | str | None:
        """The key where the text does not sort as it does; ``None`` where it does."""
        if isinstance(self.key, str):
            return None if self.key == self.text else self.key
        try:
            # A reader who filters by a number means the number that is shown.
            return None if abs(float(self.text) - self.key) <= SHOWN_PRECISION else self.key
        except ValueError:
            return self.key


class TableHead(NamedTuple):
    """The head of one column.

    Attributes:
        heading: What people read.
        tip: What the column is; empty for none.
        worded: Whether it holds words rather than numbers.
        linked: Whether its cells lead to pairs.
        name: What files call it; empty for none.
    """

    heading: str
    tip: str
    worded: bool
    linked: bool
    name: str


class Table(NamedTuple):
    """A sortable table under a heading that opens it.

    Attributes:
        title: That heading.
        headings: Of its columns.
        lines: Its cells.
        tips: What each column is; empty where nothing is known of any.
        names: What files call each column; empty where nothing is known of any.
        note: How its cells are to be read, shown above it; empty for none.
    """

    title: str
    headings: list[str]
    lines: list[list[SortCell]]
    tips: Sequence[str] = ()
    names: Sequence[str] = ()
    note: str = ""

    @property
    def columns(self) -> list[TableHead]:
        """The head of each column."""
        # A table without lines has columns too: of words, as far as one can tell.
        cells = list(zip(*self.lines, strict=True)) or [()] * len(self.headings)
        unknown = [""] * len(self.headings)
        return [
            TableHead(
                heading,
                tip,
                not column or any(isinstance(c.key, str) and c.key for c in column),
                any(c.pair for c in column),
                name,
            )
            for heading, tip, name, column in zip(
                self.headings, self.tips or unknown, self.names or unknown, cells, strict=True
            )
        ]


class PageFigure(NamedTuple):
    """A figure and the numbers it shows.

    Attributes:
        id: Its element id.
        name: Of its files, without ending; see :func:`kdopt.report.format.make_slug`.
        figure: What is drawn.
        data: One line per thing drawn.
        short: Columns of ``data`` that :func:`kdopt.shown.format_setting` writes.
        caption: Shown above it, where figures stand beside each other.
    """

    id: str
    name: str
    figure: PlainFigure
    data: pd.DataFrame
    short: tuple[str, ...] = ()
    caption: str = ""


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
        figure: Shown across the page.
        parts: Names of parts of the figure, of which a reader can choose one; each trace says as
            its ``meta`` which part it belongs to.
        tables: The numbers, sortable.
        missing: What is not there and what to run for it; empty when nothing is missing.
        grids: Tables laid out as in the paper, shown above the figure.
        small: Figures shown beside each other.
        template: For a block like no other: the template that shows it instead.
        values: What that template reads as ``values``.
        folded: Whether a reader opens it first.
    """

    title: str = ""
    note: str = ""
    figure: PageFigure | None = None
    tables: Sequence[Table] = ()
    missing: str = ""
    grids: Sequence[Grid] = ()
    small: Sequence[PageFigure] = ()
    parts: Sequence[str] = ()
    template: str = ""
    values: Mapping[str, object] = {}
    folded: bool = False


class Section(NamedTuple):
    """A section of the page and what it adds to the report.

    Attributes:
        id: Its element id, a plain word.
        title: Its heading.
        note: What it is about.
        blocks: Its parts.
        short_title: In the page's contents, where it is not ``title``.
        files: Texts that the report has as files, by name.
        data: What the page's scripts read of it.
        folded: Whether a reader opens it first.
    """

    id: str
    title: str
    note: str
    blocks: Sequence[Block]
    short_title: str = ""
    files: Mapping[str, str] = {}
    data: Mapping[str, object] = {}
    folded: bool = False

    def list_figures(self) -> list[PageFigure]:
        """All figures of its blocks, in order."""
        return [
            figure
            for block in self.blocks
            for figure in ([block.figure] if block.figure else []) + list(block.small)
        ]


def make_tables(
    title: str, columns: Sequence[Column | IntervalColumn | str], frame: pd.DataFrame
) -> list[Table]:
    """One table with one line per line of the frame; none of an empty frame.

    Args:
        title: Of the table.
        columns: In order; a key stands for its column in :data:`COLUMNS`.
        frame: Has at least these columns.
    """
    if frame.empty:
        return []
    if "partition" in frame.columns:
        titles = title_partitions(frame["partition"])
        columns = [_title_by(titles) if column == "partition" else column for column in columns]
    note = describe_intervals(columns)
    shown = [one for column in columns for one in expand_column(column)]
    lines = [
        [SortCell(text, make_sort_key(value)) for text, value in (c.read(line) for c in shown)]
        for line in frame.to_dict("records")
    ]
    headings, tips, names = (
        [*part] for part in zip(*((c.heading, c.tip, c.name) for c in shown), strict=True)
    )
    return [Table(title, headings, lines, tips, names, note)]


def _title_by(titles: Mapping[str, str]) -> Column:
    return COLUMNS["partition"]._replace(show=lambda name: titles[str(name)])


def explain_missing_stage(campaign: Campaign, stage: StageName) -> str:
    """What to run where a stage has no result."""
    if stage not in campaign.stages:
        return f'No data: add "{stage}" to stages and run again.'
    return f'No data yet: no trial of stage "{stage}" is complete.'
