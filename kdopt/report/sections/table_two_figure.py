"""Table II of the paper as a picture."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import list_partitions
from kdopt.report.format import escape_partitions, escape_title, format_points
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
from kdopt.report.sections.table_two import ColumnGroup, list_groups, list_weightings

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
    """Test accuracy (%) of each weighting, by transfer set and start.

    A panel per partition; a thin line joins the weightings of one start.
    """
    weightings, groups = list_weightings(combined), list_groups(combined)
    heights = {group: number for number, group in enumerate(groups)}
    panels = []
    for partition, title in escape_partitions(list_partitions(combined)).items():
        here = combined[combined["partition"] == partition]
        traces = [_join_weightings(here, heights)]
        for number, weighting in enumerate(weightings):
            of_it = here[here["weighting"] == weighting]
            # Two markers lie well on one line; more would cover each other.
            shift = 0.13 * (number - (len(weightings) - 1) / 2) if len(weightings) > 2 else 0.0
            traces.append(_scatter_weighting(weighting, of_it, heights, shift))
        panels.append(Panel(traces, title=title))
    y = {
        "tickvals": list(range(len(groups))),
        "ticktext": [_title_group(group) for group in groups],
        "range": [len(groups) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }
    axis = Axis(ACCURACY_AXIS, "", {"zeroline": False}, y)
    group_height = 26 if len(weightings) < 3 else 44
    return wrap_panels(panels, axis, row_height=60 + len(groups) * group_height)


def _scatter_weighting(
    weighting: str, combined: pd.DataFrame, heights: dict[ColumnGroup, int], shift: float
) -> go.Scatter:
    style = WEIGHTING_STYLES.get(weighting, Style(escape_title(weighting), GREY, "star"))
    groups = list(map(ColumnGroup, combined["transfer_set"], combined["start"]))
    return go.Scatter(
        mode="markers", name=style.label, legendgroup=style.label,
        x=round_values(combined["accuracy"]),
        y=round_values(heights[group] + shift for group in groups),
        marker={"symbol": style.symbol, "color": style.colour, "size": 8}, cliponaxis=False,
        text=[
            f"{_title_group(group)}: {format_points(accuracy)} %"
            for group, accuracy in zip(groups, combined["accuracy"], strict=True)
        ],
        hovertemplate="%{text}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _title_group(group: ColumnGroup) -> str:
    name = SHORT_SETS.get(group.transfer_set, escape_title(group.transfer_set))
    return f"{name}: {escape_title(group.start).lower()}"


def _join_weightings(combined: pd.DataFrame, heights: dict[ColumnGroup, int]) -> go.Scatter:
    """Thin lines from the least to the greatest accuracy of each group."""
    x: list[float | None] = []
    y: list[float | None] = []
    for group, height in heights.items():
        same_set = combined["transfer_set"] == group.transfer_set
        known = combined.loc[same_set & (combined["start"] == group.start), "accuracy"]
        if len(known):
            x += [*round_values([known.min(), known.max()]), None]
            y += [float(height), float(height), None]
    line = {"color": GREY, "width": 1}
    return go.Scatter(
        mode="lines", name="range", x=x, y=y, line=line, showlegend=False, hoverinfo="skip"
    )
