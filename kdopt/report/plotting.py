"""Styles, colours and panels that all figures share.

Colours are Okabe and Ito's, which colour-blind readers tell apart. The page sets the colour of axes
and text, as only the page knows whether it is shown light, dark or on paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdopt.analysis.method_gains import ALL_METHODS
from kdopt.analysis.tuned_methods import is_tuned, name_tuned
from kdopt.campaign.method_spaces import SPACES

BLUE, ORANGE, VERMILLION = "#0072B2", "#E69F00", "#D55E00"
GREEN, PURPLE, SKY = "#009E73", "#CC79A7", "#56B4E9"
GREY, LIGHT_GREY = "#777777", "#999999"
GAP_AXIS, GAIN_AXIS, ACCURACY_AXIS = "Accuracy gap (pp)", "Test gain (pp)", "Test accuracy (%)"

INK = "#1b1b1b"
"""Marks in the colour of text; the page puts its own ink there when it is shown dark."""


# Losses vermillion, gains blue, nothing in between pale: the sign reads without the number.
DIVERGING = [[0.0, VERMILLION], [0.5, "#F2F2F2"], [1.0, BLUE]]

# Black numbers can be read on all of it: plotly's own choice of grey or white cannot on the middle.
UNDER_NUMBERS = "#1A86C7"
NUMBER_INK = "#111111"

MOST_WRAPPED_COLUMNS = 3
MOST_WIDE_COLUMNS = 8
"""Columns of panels whose titles are narrower than the panels."""
GAP_TITLE = "Accuracy gap: teacher - student (pp)"

GAIN_TITLE = "Accuracy gain on test (pp)"


PlainFigure = dict[str, Any]
"""A figure of plotly as plain JSON values."""


class Style(NamedTuple):
    """How a method is named and drawn."""

    label: str
    colour: str
    symbol: str
    dash: str = "solid"


METHOD_STYLES = {
    "vanilla": Style("Vanilla", ORANGE, "circle", "dash"),
    "dml": Style("DML", GREEN, "square", "dot"),
    "dp_kd": Style("DP-KD", PURPLE, "triangle-up", "dashdot"),
    "tuned": Style("Tuned", BLUE, "diamond"),
    **{
        name_tuned(method): Style(f"Tuned {label}", colour, symbol)
        for (method, label), (symbol, colour) in zip(
            {"kd": "KD", **{name: space.label for name, space in SPACES.items()}}.items(),
            # Round and round: a tenth method looks like the first, and its name tells it apart.
            itertools.cycle(itertools.product(("cross", "x", "star"), (SKY, VERMILLION, INK))),
            strict=False,
        )
    },
}


def get_method_style(method: str) -> Style:
    """The style of a method; names of plugins and of other versions are shown as they are."""
    label = method.replace("tuned_", "Tuned ", 1) if is_tuned(method) else method
    return METHOD_STYLES.get(method, Style(label, GREY, "cross"))


def format_method(name: object) -> str:
    """How people call a method."""
    return get_method_style(str(name)).label


SharedAxes = Literal["rows", "all", "nothing"]


class Axis(NamedTuple):
    """How the axes of a column of panels are named and ticked."""

    x_title: str
    y_title: str
    x: Mapping[str, Any] = {}
    y: Mapping[str, Any] = {}


class Panel(NamedTuple):
    """What one panel shows: its traces, a word in its corner, its own title and axes, if any.

    ``y_note`` follows the name of the y-axis.
    """

    traces: Sequence[Any]
    note: str = ""
    title: str = ""
    y: Mapping[str, Any] = {}
    x: Mapping[str, Any] = {}
    y_note: str = ""


def wrap_panels(panels: Sequence[Panel], axis: Axis, *, row_height: int = 230) -> PlainFigure:
    """A figure of panels in reading order, each under its own title, all with the same axes.

    Args:
        panels: One or more.
        axis: Of all of them.
        row_height: Pixels.
    """
    columns = min(MOST_WRAPPED_COLUMNS, len(panels))
    placed = {divmod(place, columns): panel for place, panel in enumerate(panels)}
    rows = [""] * (1 + max(row for row, _ in placed))
    axes = [axis] * columns
    plain = arrange_panels(rows, [""] * columns, placed, axes, share="all", row_height=row_height)
    plain["layout"]["legend"]["itemsizing"] = "trace"  # dashes would be as long as the whole key
    return plain


def arrange_panels(
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[tuple[int, int], Panel],
    axes: Sequence[Axis],
    *,
    share: SharedAxes,
    row_height: int = 210,
) -> PlainFigure:
    """A figure of rows x columns panels as plain JSON values.

    Args:
        rows: Row titles, shown beside the first column.
        columns: Column titles, shown above the first row, unless the panels have their own.
        panels: By (row, column), counted from 0; a missing panel has no axes.
        axes: Per column.
        share: Which panels have the same ranges. Sharing within rows lets transfer sets be
            compared without squeezing the partitions that differ little.
        row_height: Pixels.
    """
    gap = 26 / max(1, row_height * len(rows))
    spacing = 0.035 if share != "nothing" else 0.09
    if many := len(columns) > MOST_WIDE_COLUMNS:
        spacing = 0.25 / len(columns)  # the panels keep three quarters of the width
    places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    titles = [panels[place].title if place in panels else "" for place in places]
    figure = make_subplots(
        rows=len(rows),
        cols=len(columns),
        **({"subplot_titles": titles} if any(titles) else {"column_titles": list(columns)}),
        vertical_spacing=min(gap * 1.6, 1 / max(1, len(rows))),
        horizontal_spacing=spacing,
    )
    figure.update_annotations(font_size=13)  # so far all are titles; they must fit on paper
    _add_traces(figure, panels)
    for number, (row, column) in enumerate(places, start=1):
        if (row, column) not in panels:
            where = {"row": row + 1, "col": column + 1}
            figure.update_xaxes(visible=False, **where)
            figure.update_yaxes(visible=False, **where)
            continue
        last = (row + 1, column) not in panels
        panel, axis = panels[row, column], axes[column]
        axis = Axis(
            axis.x_title, axis.y_title + panel.y_note, {**axis.x, **panel.x}, {**axis.y, **panel.y}
        )
        _style_axes(figure, (row, column), axis, rows[row], share, last=last)
        if panel.note:
            _add_corner_note(figure, panel.note, number)
    figure.update_layout(
        template="none",
        height=row_height * len(rows) + 110,
        # A title is wider than its panel where columns are many.
        margin={"l": 75, "r": 30 if many else 10, "t": 75, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1 + 42 / (row_height * len(rows)),
                "yanchor": "bottom", "itemsizing": "constant"},
        hovermode="closest",
    )  # fmt: skip
    plain: PlainFigure = figure.to_plotly_json()
    return plain


def _add_traces(figure: go.Figure, panels: Mapping[tuple[int, int], Panel]) -> None:
    """Add all traces; each name stands in the legend once, whatever panels it is in."""
    named: set[str] = set()
    for (row, column), panel in sorted(panels.items()):
        for trace in panel.traces:
            trace.showlegend = trace.showlegend is not False and trace.name not in named
            if trace.showlegend:
                named.add(str(trace.name))
            figure.add_trace(trace, row=row + 1, col=column + 1)


def _add_corner_note(figure: go.Figure, text: str, number: int) -> None:
    suffix = "" if number == 1 else str(number)
    figure.add_annotation(
        text=text, x=0.02, y=0.98, showarrow=False, align="left", font={"size": 11},
        xref=f"x{suffix} domain", yref=f"y{suffix} domain", xanchor="left", yanchor="top",
    )  # fmt: skip


def _style_axes(
    figure: go.Figure,
    place: tuple[int, int],
    axis: Axis,
    title: str,
    share: SharedAxes,
    *,
    last: bool,
) -> None:
    row, column = place
    where = {"row": row + 1, "col": column + 1}
    shared = share != "nothing"
    x: dict[str, Any] = {"automargin": True, "tickfont": {"size": 10}, **axis.x}
    y: dict[str, Any] = {"automargin": not shared, "tickfont": {"size": 10}, **axis.y}
    if last:
        x["title"] = {"text": axis.x_title, "font": {"size": 11}}
    name = f"<b>{title}</b><br>" if column == 0 and title else ""
    if column == 0 or not shared:
        y["title"] = {"text": f"{name}{axis.y_title}", "font": {"size": 11}, "standoff": 4}
    if shared:
        first = next(iter(figure.select_xaxes(row=1 if share == "all" else row + 1, col=1)))
        # plotly_name is xaxis3; the axes' ids, which `matches` wants, are x3 and y3.
        number = first.plotly_name.removeprefix("xaxis")
        if column or (share == "all" and row):  # an axis must not match itself
            x["matches"], y["matches"] = f"x{number}", f"y{number}"
        y["showticklabels"] = column == 0
        if share == "all":
            x["showticklabels"] = last
    figure.update_xaxes(**x, **where)
    figure.update_yaxes(**y, **where)


def make_single_figure(
    traces: Sequence[Any], x: dict[str, Any], y: dict[str, Any], height: int
) -> PlainFigure:
    """A figure of one panel as plain JSON values.

    Args:
        traces: What it shows.
        x: Its x-axis.
        y: Its y-axis.
        height: Pixels.
    """
    layout = go.Layout(
        template="none",
        xaxis={"automargin": True, **x},
        yaxis={"automargin": True, **y},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 10, "t": 50, "b": 50},
        height=height,
        hovermode="closest",
    )
    plain: PlainFigure = go.Figure(list(traces), layout).to_plotly_json()
    return plain


def make_markers(method: str, x: pd.Series[float], y: pd.Series[float], size: int) -> go.Scatter:
    """Points of one method, in its colour and with its marker."""
    style = get_method_style(method)
    return go.Scatter(
        mode="markers",
        name=style.label,
        legendgroup=method,
        x=round_values(x),
        y=round_values(y),
        marker={"symbol": style.symbol, "color": style.colour, "size": size},
        cliponaxis=False,  # points on an axis are shown whole
    )


def make_error_bars(
    mean: pd.Series[float], low: pd.Series[float], high: pd.Series[float]
) -> dict[str, Any]:
    """Error bars of plotly from the ends of intervals."""
    # Without an interval (one pair) there is no bar; JSON has no NaN.
    above, below = (high - mean).fillna(0.0), (mean - low).fillna(0.0)
    return {
        "type": "data",
        "symmetric": False,
        "array": round_values(above.clip(lower=0)),
        "arrayminus": round_values(below.clip(lower=0)),
        "thickness": 1.5,
        "width": 4,
    }


def list_methods(table: pd.DataFrame) -> list[str]:
    """The methods of a table in fixed order, then those of other versions."""
    present = {str(method) for method in table["method"]}
    order = dict.fromkeys([*ALL_METHODS, *METHOD_STYLES])
    return [m for m in order if m in present] + sorted(present - set(order))


def split_by_method(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each method of a table with its lines."""
    return [(method, table[table["method"] == method]) for method in list_methods(table)]


def round_values(values: Any) -> list[float]:
    """Plain numbers for a figure; below a hundredth of a pp neither plot nor test set resolves."""
    return [round(float(v), 3) for v in np.array(list(values), dtype=float)]
