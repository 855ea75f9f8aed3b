"""Small multiples: many panels of one figure, with axes shared where they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

Share = Literal["rows", "all", "nothing"]


class Axis(NamedTuple):
    """How the axes of a column of panels are named and ticked."""

    x_title: str
    y_title: str
    x: Mapping[str, Any] = {}
    y: Mapping[str, Any] = {}


class Panel(NamedTuple):
    """What one panel shows: its traces, a word in its corner, its own title and y-axis, if any."""

    traces: Sequence[Any]
    note: str = ""
    title: str = ""
    y: Mapping[str, Any] = {}


def wrapped_panels(
    panels: Sequence[Panel], axis: Axis, *, columns: int = 3, row_height: int = 230
) -> dict[str, Any]:
    """A figure of panels in reading order, each under its own title, all with the same axes.

    Args:
        panels: One or more.
        axis: Of all of them.
        columns: Most panels beside each other.
        row_height: Pixels.
    """
    columns = min(columns, len(panels))
    placed = {divmod(place, columns): panel for place, panel in enumerate(panels)}
    rows = [""] * (1 + max(row for row, _ in placed))
    axes = [axis] * columns
    plain = panel_grid(rows, [""] * columns, placed, axes, share="all", row_height=row_height)
    plain["layout"]["legend"]["itemsizing"] = "trace"  # dashes would be as long as the whole key
    return plain


def panel_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[tuple[int, int], Panel],
    axes: Sequence[Axis],
    *,
    share: Share,
    row_height: int = 210,
) -> dict[str, Any]:
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
    places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    titles = [panels[place].title if place in panels else "" for place in places]
    figure = make_subplots(
        rows=len(rows),
        cols=len(columns),
        **({"subplot_titles": titles} if any(titles) else {"column_titles": list(columns)}),
        vertical_spacing=min(gap * 1.6, 1 / max(1, len(rows))),
        horizontal_spacing=0.035 if share != "nothing" else 0.09,
    )
    figure.update_annotations(font_size=13)  # so far all are titles; they must fit on paper
    named: set[str] = set()
    for (row, column), panel in sorted(panels.items()):
        for trace in panel.traces:
            trace.showlegend = trace.showlegend is not False and trace.name not in named
            if trace.showlegend:
                named.add(str(trace.name))
            figure.add_trace(trace, row=row + 1, col=column + 1)
    for number, (row, column) in enumerate(places, start=1):
        if (row, column) not in panels:
            where = {"row": row + 1, "col": column + 1}
            figure.update_xaxes(visible=False, **where)
            figure.update_yaxes(visible=False, **where)
            continue
        last = (row + 1, column) not in panels
        axis = axes[column]._replace(y={**axes[column].y, **panels[row, column].y})
        _dress(figure, (row, column), axis, rows[row], share, last=last)
        if panels[row, column].note:
            suffix = "" if number == 1 else str(number)
            figure.add_annotation(
                text=panels[row, column].note, x=0.02, y=0.98, showarrow=False, align="left",
                font={"size": 11}, xref=f"x{suffix} domain", yref=f"y{suffix} domain",
                xanchor="left", yanchor="top",
            )  # fmt: skip
    figure.update_layout(
        template="none",
        height=row_height * len(rows) + 110,
        margin={"l": 75, "r": 10, "t": 75, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1 + 42 / (row_height * len(rows)),
                "yanchor": "bottom", "itemsizing": "constant"},
        hovermode="closest",
    )  # fmt: skip
    plain: dict[str, Any] = figure.to_plotly_json()
    return plain


def _dress(
    figure: go.Figure, place: tuple[int, int], axis: Axis, title: str, share: Share, *, last: bool
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
