"""What sections are made from and of: a campaign's tables in, blocks with tables and figures out.

A section is one function from :class:`ReportData` to :class:`Section`. It says what there is to
see, or what to run to get it. :mod:`kdopt.report.page` lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.tables import compute_tables
from kdopt.campaign.names import StageName
from kdopt.campaign.record import SettingLine
from kdopt.campaign.settings import Campaign
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.format import (
    format_chance,
    format_points,
    format_ratio,
    format_setting,
    format_title,
    format_transfer_set,
    make_sort_key,
)
from kdopt.report.plotting import format_method


class ReportData:
    """All that a report is made from.

    Attributes:
        campaign: What was run.
        rows: Its trials, in any state and order.
        settings: Its resolved settings with the source of each.
        measurements: What was measured of its partitions, by name.
        tables: All tables of it, each computed once.
    """

    def __init__(
        self,
        campaign: Campaign,
        rows: Sequence[TrialRow],
        settings: Sequence[SettingLine] = (),
        measurements: Mapping[str, PartitionMeasurements] | None = None,
    ) -> None:
        self.campaign = campaign
        self.rows = rows
        self.settings = settings
        self.measurements = measurements or {}
        self.tables = compute_tables(rows, campaign)

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


class IntervalColumn(NamedTuple):
    """A value and its 95 % interval, shown in three columns.

    Attributes:
        column: The value; a key stands for its column in :data:`COLUMNS`.
        prefix: Of the frame's columns ``low`` and ``high``, such as ``regret_``.
    """

    column: Column | str
    prefix: str = ""


Columns = list[Column | IntervalColumn | str]
"""Of a table, in order; a key stands for its column in :data:`COLUMNS`."""

COLUMNS = {
    column.key: column
    for column in (
        Column("accuracy", "Accuracy (%)"),
        Column("action", "Verdict", str),
        Column("accuracy_gap", "Accuracy gap (pp)"),
        Column("accuracy_after", "Accuracy after (%)"),
        Column("accuracy_before", "Accuracy before (%)"),
        Column("accuracy_sd", "Its sd over replicates (pp)"),
        Column("advice", "Verdict", str),
        Column("against", "Not to distil", str),
        Column("against_share", "Share (%)"),
        Column("alpha", "alpha", format_setting),
        Column("as_good", "as good", str),
        Column("at_least", "At least", str),
        Column("at_most", "At most", str),
        Column("beats_vanilla", "Tuning gains more", str),
        Column("behind_lead", "Behind the leading rule (pp)"),
        Column("best_epoch", "Best epoch", str),
        Column("best_gain", "Its gain (pp)"),
        Column("best_method", "Best untuned", format_method),
        Column("best_participant", "Best participant alone (%)"),
        Column("cases", "Cases", str),
        Column("cells", "Cells", str),
        Column("chance_over_leaving", "By chance, over leaving it", format_chance),
        Column("chance_over_training", "By chance, over training on", format_chance),
        Column("classes", "Classes among them", str),
        Column("compared", "Pairs with vanilla", str),
        Column("consolidated_final", "KD, then FedAvg, last round (%)"),
        Column("constant", "One sign everywhere would have", str),
        Column("correlation", "Rank correlation with the paper's effects"),
        Column("cumulative_gain", "Sum of gains (pp)"),
        Column("difference", "Difference (pp)"),
        Column("effect", "Weighted minus unweighted (pp)"),
        Column("effective_kd_weight", "KD weight over label weight", format_ratio),
        Column("epochs", "Epochs", str),
        Column("exact", "Exact", str),
        Column("forgetting", "Forgetting (pp)"),
        Column("gain", "Test gain (pp)"),
        Column("guarded_gain", "Guarded test gain (pp)"),
        Column("control_gain", "Control (pp)"),
        Column("net_gain", "Net gain (pp)"),
        Column("advised_gain", "Gain by the verdict (pp)"),
        Column("guarded_regret", "Regret with guard (pp)"),
        Column("hours", "Training time (h)", lambda hours: f"{hours:.3f}"),
        Column("images", "Training images", str),
        Column("kd_alone", "KD alone (%)"),
        Column("label", "What is done", str),
        Column("learning", "Learning (pp)"),
        Column("mean_effect", "Mean effect (pp)"),
        Column("mean_gain", "Mean gain (pp)"),
        Column("mean_negative", "Mean of the negative ones (pp)"),
        Column("mean_positive", "Their mean gain (pp)"),
        Column("median", "Median (pp)"),
        Column("median_seconds", "Median of a trial (s)"),
        Column("megabytes_reduction", "Mean reduction of MB (%)"),
        Column("method", "Method", format_method),
        Column("n", "Pairs", str),
        Column("oracle_alpha", "Oracle alpha", format_setting),
        Column("oracle_gain", "Oracle test gain (pp)"),
        Column("oracle_temperature", "Oracle T", format_setting),
        Column("p05", "5th percentile (pp)"),
        Column("p95", "95th percentile (pp)"),
        Column("p95_seconds", "95th percentile (s)"),
        Column("pair", "Pair", str),
        Column("paper_accuracy", "The paper's accuracy (%)"),
        Column("paper_effect", "The paper's (pp)"),
        Column("participant", "Participant", str),
        Column("partition", "Partition", format_title),
        Column("partitions", "Partitions", str),
        Column("partitions_same_sign", "Partitions with the paper's sign", str),
        Column("positive_rate", "Positive transfers (%)"),
        Column("protocol", "Search", str),
        Column("q1", "Quartile (pp)"),
        Column("q3", "Quartile (pp)"),
        Column("random_final", "FedAvg from random weights, last round (%)"),
        Column("ratio", "Ratio (%)"),
        Column("net_ratio", "Net ratio (%)"),
        Column("reduction", "Mean reduction of rounds (%)"),
        Column("regret", "Regret (pp)"),
        Column("replicates", "Replicates", str),
        Column("round_megabytes", "Traffic per round (MB)"),
        Column("rule", "If", str),
        Column("same_cell", "Same cell (%)"),
        Column("same_sign", "Cells with the paper's sign", str),
        Column("sd", "Standard deviation (pp)"),
        Column("searched_gain", "everything tried"),
        Column("seconds", "Training time (s)"),
        Column("stage", "Stage", str),
        Column("start", "Start", format_title),
        Column("start_megabytes", "Traffic of KD (MB)"),
        Column("students", "Students", str),
        Column("teacher_kind", "Teachers", str),
        Column("temperature", "T", format_setting),
        Column("test_accuracy", "Test accuracy (%)"),
        Column("test_gain", "Test gain (pp)"),
        Column("test_gain_sd", "Its sd over replicates (pp)"),
        Column("times_best", "Times best teacher"),
        Column("total", "Of so many", str),
        Column("transfer_set", "Transfer set", format_transfer_set),
        Column("trials", "Trials", str),
        Column("tried", "Tried", str),
        Column("tuned_gain", "Tuned (pp)"),
        Column("tuning_effect", "Mean tuned minus vanilla (pp)"),
        Column("unknown", "Unknown", str),
        Column("validation_accuracy", "Validation accuracy (%)"),
        Column("validation_gain", "Validation gain (pp)"),
        Column("vanilla_gain", "Vanilla test gain (pp)"),
        Column("weighting", "Weighting", format_title),
    )
}
"""Every column of the page's tables, by key. A table with another heading brings its own."""


SHOWN_PRECISION = 0.0051
"""What two decimals leave out."""


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
        id: Its element id.
        name: Of its files, without ending; see :func:`kdopt.report.format.make_slug`.
        figure: Plotly's, as plain JSON values.
        data: One line per thing drawn.
        short: Columns of ``data`` that :func:`kdopt.report.format.format_setting` writes.
        caption: Shown above it, where figures stand beside each other.
    """

    id: str
    name: str
    figure: dict[str, Any]
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
    values: Mapping[str, Any] = {}


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
    data: Mapping[str, Any] = {}
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
    shown = [one for column in columns for one in _expand_column(column)]
    lines = [
        [SortCell(c.show(line[c.key]), make_sort_key(line[c.key])) for c in shown]
        for line in frame.to_dict("records")
    ]
    return [Table(title, [c.heading for c in shown], lines)]


def _expand_column(column: Column | IntervalColumn | str) -> list[Column]:
    if isinstance(column, str):
        return [COLUMNS[column]]
    if isinstance(column, Column):
        return [column]
    ends = Column(f"{column.prefix}low", "95 % from"), Column(f"{column.prefix}high", "to")
    return [*_expand_column(column.column), *ends]


def explain_missing_stage(campaign: Campaign, stage: StageName) -> str:
    """What to run where a stage has no result."""
    if stage not in campaign.stages:
        return f'No data: add "{stage}" to stages and run again.'
    return f'No data yet: no trial of stage "{stage}" is complete.'
