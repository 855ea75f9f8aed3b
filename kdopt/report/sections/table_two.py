"""Table II of the paper: its layout, as a picture, on the page, in Markdown and in LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.method_gains import list_partitions
from kdopt.analysis.results import Line
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS, WEIGHTINGS
from kdopt.report.blocks import Grid, GridCell
from kdopt.report.format import (
    escape_latex,
    escape_markdown,
    escape_partitions,
    escape_title,
    format_points,
    format_title,
    format_transfer_set,
    format_words,
    join_pipe_table,
    title_partitions,
)
from kdopt.report.plotting import (
    ACCURACY_AXIS,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    Axis,
    Panel,
    PlainFigure,
    Style,
    round_values,
    wrap_panels,
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
        kinds: Groups of columns, in order.
        weightings: Columns of each group: adaptive formulas first, ``equal`` last.
        lines: Per partition its entries, group by group.
    """

    kinds: list[ColumnGroup]
    weightings: list[str]
    lines: dict[str, list[CombinedEntry]]

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
        return "W" if len(set(self.weightings) - {EQUAL}) == 1 else f"W: {format_words(weighting)}"


def make_table_two(combined: pd.DataFrame) -> TableTwo:
    """Lay out :func:`kdopt.analysis.combining.tabulate_combined`."""
    kinds = list_groups(combined)
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
            for kind in kinds
            for entry in _make_entries([found.get((partition, *kind, w), {}) for w in weightings])
        ]
    return TableTwo(kinds, weightings, lines)


def make_combined_grids(combined: pd.DataFrame) -> list[Grid]:
    """The table as the page shows it, the paper's numbers below ours.

    With so many weightings that no paper is wide enough, one table per transfer set.
    """
    table = make_table_two(combined)
    if len(table.kinds) * len(table.weightings) <= MOST_COLUMNS:
        parts = [table]
    else:
        parts = [make_table_two(combined[combined["transfer_set"] == name]) for name in table.sets]
    found = [_make_grid(part) for part in parts]
    return [*found[:-1], found[-1]._replace(caption=_describe_grid(table))]


def list_groups(combined: pd.DataFrame) -> list[ColumnGroup]:
    """All groups with a result, ordered as in the paper."""
    present = combined[["transfer_set", "start"]].drop_duplicates()
    sets = order_names(present["transfer_set"], SET_ORDER)
    starts = order_names(present["start"], STARTS)
    pairs = set(present.itertuples(index=False, name=None))
    return [ColumnGroup(name, start) for name in sets for start in starts if (name, start) in pairs]


def list_weightings(combined: pd.DataFrame) -> list[str]:
    """All weightings with a result, ``equal`` first."""
    return order_names(combined["weighting"], WEIGHTINGS)


def order_names(present: pd.Series[str], known: tuple[str, ...]) -> list[str]:
    """Names in the order of ``known``, then those of other versions."""
    names = {str(name) for name in present}
    return [name for name in known if name in names] + sorted(names - set(known))


def format_start(start: str) -> str:
    """How a starting point is headed, such as ``Worst student``."""
    return format_title(start) + (" model" if start == "untrained" else " student")


def format_entry(entry: CombinedEntry, sign: str) -> str:
    """The accuracy and, where there is one, its spread after ``sign``."""
    spread = "" if math.isnan(entry.sd) else f" {sign} {format_points(entry.sd)}"
    return format_points(entry.accuracy) + spread


def _make_grid(table: TableTwo) -> Grid:
    n = len(table.weightings)
    headings = [
        [(format_transfer_set(name), n * count) for name, count in table.sets.items()],
        [(format_start(kind.start), n) for kind in table.kinds],
        [(table.weighting_title(w), 1) for _ in table.kinds for w in table.weightings],
    ]
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


SHORT_SETS = {
    "student": "Student data",
    "public_unlabeled_small": "Public, small",
    "public_unlabeled_large": "Public, large",
    "public_labeled": "Public, labeled",
}

WEIGHTING_STYLES = {
    "equal": Style("Equal", GREY, "circle"),
    "better_share": Style("Better share", BLUE, "diamond"),
    "excess_share": Style("Excess share", ORANGE, "square"),
    "student_share": Style("Student share", GREEN, "triangle-up"),
    "share": Style("Share", PURPLE, "cross"),
}


def draw_combined(combined: pd.DataFrame) -> PlainFigure:
    """Table II as a picture: test accuracy (%) of each weighting, by transfer set and start.

    A panel per partition; a thin line joins the weightings of one start.
    """
    weightings, kinds = list_weightings(combined), list_groups(combined)
    place = {kind: number for number, kind in enumerate(kinds)}
    panels = []
    for partition, title in escape_partitions(list_partitions(combined)).items():
        here = combined[combined["partition"] == partition]
        traces = [_join_weightings(here, place)]
        for number, weighting in enumerate(weightings):
            table = here[here["weighting"] == weighting]
            # Two markers lie well on one line; more would cover each other.
            shift = 0.13 * (number - (len(weightings) - 1) / 2) if len(weightings) > 2 else 0.0
            traces.append(_scatter_weighting(weighting, table, place, shift))
        panels.append(Panel(traces, title=title))
    y = {
        "tickvals": list(range(len(kinds))),
        "ticktext": [_title_group(kind) for kind in kinds],
        "range": [len(kinds) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }
    axis = Axis(ACCURACY_AXIS, "", {"zeroline": False}, y)
    return wrap_panels(
        panels, axis, row_height=60 + len(kinds) * (26 if len(weightings) < 3 else 44)
    )


def _scatter_weighting(
    weighting: str, table: pd.DataFrame, place: dict[ColumnGroup, int], shift: float
) -> go.Scatter:
    style = WEIGHTING_STYLES.get(weighting, Style(escape_title(weighting), GREY, "star"))
    kinds = list(map(ColumnGroup, table["transfer_set"], table["start"]))
    return go.Scatter(
        mode="markers", name=style.label, legendgroup=style.label,
        x=round_values(table["accuracy"]), y=round_values(place[kind] + shift for kind in kinds),
        marker={"symbol": style.symbol, "color": style.colour, "size": 8}, cliponaxis=False,
        text=[
            f"{_title_group(kind)}: {format_points(accuracy)} %"
            for kind, accuracy in zip(kinds, table["accuracy"], strict=True)
        ],
        hovertemplate="%{text}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _title_group(kind: ColumnGroup) -> str:
    name = SHORT_SETS.get(kind.transfer_set, escape_title(kind.transfer_set))
    return f"{name}: {escape_title(kind.start).lower()}"


def _join_weightings(table: pd.DataFrame, place: dict[ColumnGroup, int]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for kind, height in place.items():
        same = (table["transfer_set"] == kind.transfer_set) & (table["start"] == kind.start)
        known = table.loc[same, "accuracy"]
        if len(known):
            x += [*round_values([known.min(), known.max()]), None]
            y += [float(height), float(height), None]
    line = {"color": GREY, "width": 1}
    return go.Scatter(
        mode="lines", name="range", x=x, y=y, line=line, showlegend=False, hoverinfo="skip"
    )


def format_combined_markdown(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a Markdown pipe table under a sentence; the paper's numbers below ours."""
    table = make_table_two(combined)
    headings = [
        escape_markdown(
            f"{format_transfer_set(k.transfer_set)}, {format_words(k.start)}, "
            f"{table.weighting_title(w)}"
        )
        for k in table.kinds
        for w in table.weightings
    ]
    lines = [
        [escape_markdown(title), *cells]
        for title, cells in _format_lines(table, lambda text: f"**{text}**", "\N{PLUS-MINUS SIGN}")
    ]
    rules = ["---", *["---:"] * len(headings)]
    shown = join_pipe_table(["Partition", *headings], lines, rules)
    return f"{escape_markdown(describe_combined(table, campaign))}\n\n{shown}\n"


def format_combined_latex(combined: pd.DataFrame, campaign: Campaign) -> str:
    """Table II as a LaTeX table with booktabs rules, ready to paste."""
    table = make_table_two(combined)
    n = len(table.weightings)
    sets = [(format_transfer_set(name), n * count) for name, count in table.sets.items()]
    starts = [(format_start(kind.start), n) for kind in table.kinds]
    weightings = [
        escape_latex(table.weighting_title(w)) for _ in table.kinds for w in table.weightings
    ]
    return "\n".join(
        [
            r"% needs \usepackage{adjustbox,booktabs}",
            r"\begin{table*}",
            rf"\caption{{{escape_latex(describe_combined(table, campaign))}}}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            r"\begin{adjustbox}{max width=\textwidth}",
            rf"\begin{{tabular}}{{l{'r' * len(weightings)}}}",
            r"\toprule",
            *_format_latex_groups(sets),
            *_format_latex_groups(starts),
            " & ".join(["Partition", *weightings]) + r" \\",
            r"\midrule",
            *(
                " & ".join([escape_latex(title), *cells]) + r" \\"
                for title, cells in _format_lines(
                    table, lambda text: rf"\textbf{{{text}}}", r"$\pm$"
                )
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            r"\end{table*}",
            "",
        ]
    )


def describe_combined(table: TableTwo, campaign: Campaign) -> str:
    """What the table holds."""
    return (
        f"All participants of campaign {campaign.name} distilled into one model "
        "(paper, Table II): test accuracy in percent"
        + (", with the standard deviation over replicates" if table.with_spread else "")
        + "; W: weighted teachers, U: all alike."
        + (" Bold: the best weighting of a group." if len(table.weightings) > 1 else "")
        + (" Lines of the paper: its numbers, for CIFAR-10." if table.with_paper else "")
    )


def _format_latex_groups(titles: list[tuple[str, int]]) -> list[str]:
    """A line of headings over several columns each, and the rules below them."""
    rules, column = [], 2
    for _, span in titles:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    cells = [rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(text)}}}" for text, span in titles]
    return [" & ".join(["", *cells]) + r" \\", "".join(rules)]


def _format_lines(
    table: TableTwo, mark: Callable[[str], str], sign: str
) -> list[tuple[str, list[str]]]:
    """Row titles and cells: of each partition our numbers, then the paper's where it has any."""

    def format_own(entry: CombinedEntry) -> str:
        text = format_entry(entry, sign)
        return mark(text) if entry.best else text

    lines = []
    titles = title_partitions(table.lines)
    for partition, entries in table.lines.items():
        title = titles[partition]
        lines.append((title, [format_own(entry) for entry in entries]))
        if any(not math.isnan(entry.paper) for entry in entries):
            lines.append((f"{title} (paper)", [format_points(entry.paper) for entry in entries]))
    return lines
