"""Figures of many teachers (paper, section V): Table II as a picture, and Fig. 9.

Every weighting has one colour (Okabe and Ito's) and one marker; curves and levels of federated
averaging also differ in dash and width.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import list_partitions
from kdopt.report.figures import BLUE, ORANGE, VERMILLION
from kdopt.report.method_figures import GREEN, GREY, PURPLE, Style, rounded, short_title
from kdopt.report.panels import Axis, Panel, wrapped_panels
from kdopt.report.table_two import Kind, kinds_of, weightings_of
from kdopt.report.tables import points

ACCURACY = "Test accuracy (%)"
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


class Line(NamedTuple):
    """How a curve or a level is named and drawn."""

    label: str
    colour: str
    dash: str
    width: float


CURVES = {
    "random": Line("FedAvg from random weights", ORANGE, "dash", 2),
    "consolidated": Line("KD, then FedAvg", BLUE, "solid", 2.5),
}
LEVELS = {
    "kd_alone": Line("KD alone", GREEN, "dot", 2),
    "best_participant": Line("Best participant alone", VERMILLION, "dashdot", 1.5),
}


def combined_figure(combined: pd.DataFrame) -> dict[str, Any]:
    """Table II as a picture: test accuracy (%) of each weighting, by transfer set and start.

    A panel per partition; a thin line joins the weightings of one start.
    """
    weightings, kinds = weightings_of(combined), kinds_of(combined)
    place = {kind: number for number, kind in enumerate(kinds)}
    panels = []
    for partition in list_partitions(combined):
        here = combined[combined["partition"] == partition]
        traces = [_joined(here, place)]
        for number, weighting in enumerate(weightings):
            table = here[here["weighting"] == weighting]
            # Two markers lie well on one line; more would cover each other.
            shift = 0.13 * (number - (len(weightings) - 1) / 2) if len(weightings) > 2 else 0.0
            traces.append(_dots(weighting, table, place, shift))
        panels.append(Panel(traces, title=short_title(partition)))
    y = {
        "tickvals": list(range(len(kinds))),
        "ticktext": [_kind_title(kind) for kind in kinds],
        "range": [len(kinds) - 0.5, -0.5],
        "automargin": True,
        "zeroline": False,
    }
    axis = Axis(ACCURACY, "", {"zeroline": False}, y)
    return wrapped_panels(
        panels, axis, row_height=60 + len(kinds) * (26 if len(weightings) < 3 else 44)
    )


def federated_figure(curves: pd.DataFrame, levels: pd.DataFrame) -> dict[str, Any]:
    """Fig. 9: test accuracy (%) by communication round, and what needs no round as levels.

    A panel per partition. Curves are means over replicates, bands reach from the least to the
    greatest of them.
    """
    known = levels.set_index("partition")
    panels = []
    for partition in list_partitions(levels):
        here = curves[curves["partition"] == partition]
        traces = []
        for initial, style in CURVES.items():
            runs = here[here["initial_model"] == initial]
            if len(runs):
                traces += _curve(runs, style)
        for key, style in LEVELS.items():
            level = float(known[key].get(partition, math.nan))
            if not math.isnan(level):
                traces.append(_level(level, int(here["round"].max()), style))
        panels.append(Panel(traces, title=short_title(partition)))
    axis = Axis("Communication round", ACCURACY, {"zeroline": False}, {"zeroline": False})
    return wrapped_panels(panels, axis)


def _dots(weighting: str, table: pd.DataFrame, place: dict[Kind, int], shift: float) -> go.Scatter:
    style = WEIGHTING_STYLES.get(weighting, Style(short_title(weighting), GREY, "star"))
    kinds = list(map(Kind, table["transfer_set"], table["start"]))
    return go.Scatter(
        mode="markers", name=style.label, legendgroup=style.label,
        x=rounded(table["accuracy"]), y=rounded(place[kind] + shift for kind in kinds),
        marker={"symbol": style.symbol, "color": style.colour, "size": 8}, cliponaxis=False,
        text=[
            f"{_kind_title(kind)}: {points(accuracy)} %"
            for kind, accuracy in zip(kinds, table["accuracy"], strict=True)
        ],
        hovertemplate="%{text}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _kind_title(kind: Kind) -> str:
    name = SHORT_SETS.get(kind.transfer_set, short_title(kind.transfer_set))
    return f"{name}: {short_title(kind.start).lower()}"


def _joined(table: pd.DataFrame, place: dict[Kind, int]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for kind, height in place.items():
        same = (table["transfer_set"] == kind.transfer_set) & (table["start"] == kind.start)
        known = table.loc[same, "accuracy"]
        if len(known):
            x += [*rounded([known.min(), known.max()]), None]
            y += [float(height), float(height), None]
    line = {"color": GREY, "width": 1}
    return go.Scatter(
        mode="lines", name="range", x=x, y=y, line=line, showlegend=False, hoverinfo="skip"
    )


def _curve(runs: pd.DataFrame, style: Line) -> list[go.Scatter]:
    by_round = runs.groupby("round", sort=True)["test_accuracy"]
    table = by_round.agg(["mean", "min", "max"])
    rounds = [int(number) for number in table.index]
    band = []
    if runs["replicate"].nunique() > 1:
        # There and back again: one closed shape per curve.
        red, green, blue = (int(style.colour[i : i + 2], 16) for i in (1, 3, 5))
        band.append(
            go.Scatter(
                mode="lines", name=f"{style.label} (least to greatest)", showlegend=False,
                legendgroup=style.label, x=rounds + rounds[::-1],
                y=rounded([*table["max"], *table["min"][::-1]]), fill="toself",
                fillcolor=f"rgba({red},{green},{blue},0.2)", line={"width": 0}, hoverinfo="skip",
            )
        )  # fmt: skip
    curve = go.Scatter(
        mode="lines", name=style.label, legendgroup=style.label, x=rounds,
        y=rounded(table["mean"]), line=_line(style),
        hovertemplate="round %{x}: %{y} %<extra>%{fullData.name}</extra>",
    )  # fmt: skip
    return [*band, curve]


def _level(level: float, last_round: int, style: Line) -> go.Scatter:
    return go.Scatter(
        mode="lines", name=style.label, legendgroup=style.label, x=[0, last_round],
        y=rounded([level, level]), line=_line(style),
        hovertemplate="%{y} %<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _line(style: Line) -> dict[str, Any]:
    return {"color": style.colour, "dash": style.dash, "width": style.width}
