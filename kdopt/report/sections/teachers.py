"""Which teachers help: the best teachers (paper, Fig. 5), learning and forgetting (Fig. 7)."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import list_partitions
from kdopt.report.blocks import Column, Table, make_tables
from kdopt.report.format import escape_title, format_points, format_title
from kdopt.report.plotting import (
    GREY,
    Axis,
    Panel,
    arrange_panels,
    format_method,
    get_method_style,
    list_methods,
    make_error_bars,
    make_markers,
    split_by_method,
)


def make_teacher_tables(counts: pd.DataFrame) -> list[Table]:
    """How often each participant is the best teacher of a student."""
    headings = [
        Column("partition", "Partition", format_title),
        Column("method", "Method", format_method),
        Column("participant", "Participant", str),
        Column("accuracy", "Accuracy (%)"),
        Column("times_best", "Times best teacher"),
        Column("students", "Students", str),
    ]
    return make_tables("How often each participant is the best teacher", headings, counts)


def make_learning_tables(dynamics: pd.DataFrame) -> list[Table]:
    """Learning and forgetting by method and kind of teacher."""
    measures = [
        Column(f"{key}{end}", text)
        for key in ("learning", "forgetting")
        for end, text in (("", f"{key.capitalize()} (pp)"), ("_low", "95 % from"), ("_high", "to"))
    ]
    headings = [
        Column("partition", "Partition", format_title),
        Column("teacher_kind", "Teachers", str),
        Column("method", "Method", format_method),
        Column("n", "Pairs", str),
        *measures,
    ]
    return make_tables("Learning and forgetting", headings, dynamics)


def draw_best_teachers(counts: pd.DataFrame, correlations: pd.DataFrame) -> dict[str, Any]:
    """Fig. 5: times best teacher against accuracy, partitions x methods."""
    partitions = list_partitions(counts)
    methods = list_methods(counts)
    found = correlations.set_index(["partition", "method"])["correlation"].to_dict()
    panels = {}
    for row, partition in enumerate(partitions):
        for column, method in enumerate(methods):
            here = counts[(counts["partition"] == partition) & (counts["method"] == method)]
            here = here.dropna(subset=["accuracy"])
            value = found.get((partition, method), math.nan)
            note = (
                f"rank corr. {format_points(value)}" if not math.isnan(value) else "rank corr. n/a"
            )
            trace = make_markers(method, here["accuracy"], here["times_best"], 9)
            trace.text = [f"participant {p}" for p in here["participant"]]
            trace.hovertemplate = "%{text}: accuracy %{x} %, best for %{y} students<extra></extra>"
            panels[row, column] = Panel([trace], note if len(here) else "")
    axis = Axis("Accuracy (%)", "Times best", {}, {"rangemode": "tozero"})
    titles = [escape_title(name) for name in partitions]
    labels = [get_method_style(m).label for m in methods]
    return arrange_panels(
        titles, labels, panels, [axis] * len(methods), share="rows", row_height=170
    )


def draw_learning(dynamics: pd.DataFrame) -> dict[str, Any]:
    """Fig. 7: mean learning against mean forgetting, kinds of teachers x partitions."""
    partitions = list_partitions(dynamics)
    kinds = [k for k in ("weak", "similar", "strong") if (dynamics["teacher_kind"] == k).any()]
    # The line of gain 0 must not widen the axes beyond the data.
    ends = dynamics[["learning_high", "forgetting_high", "learning", "forgetting"]].max().min()
    panels = {}
    for row, kind in enumerate(kinds):
        for column, partition in enumerate(partitions):
            here = dynamics[
                (dynamics["partition"] == partition) & (dynamics["teacher_kind"] == kind)
            ]
            zero = go.Scatter(
                x=[0, float(ends)], y=[0, float(ends)], mode="lines", name="gain 0",
                line={"color": GREY, "dash": "dot", "width": 1}, hoverinfo="skip",
            )  # fmt: skip
            traces = [_scatter_learning(m, t) for m, t in split_by_method(here)]
            panels[row, column] = Panel([zero, *traces], "" if traces else "no such pairs")
    axis = Axis(
        "Forgetting (pp)", "Learning (pp)", {"rangemode": "tozero"}, {"rangemode": "tozero"}
    )
    return arrange_panels(
        [f"{kind.capitalize()} teachers" for kind in kinds],
        [escape_title(name) for name in partitions],
        panels,
        [axis] * len(partitions),
        share="all",
        row_height=240,
    )


def _scatter_learning(method: str, table: pd.DataFrame) -> go.Scatter:
    trace = make_markers(method, table["forgetting"], table["learning"], 9)
    for key, measure in (("error_x", "forgetting"), ("error_y", "learning")):
        low, high = table[f"{measure}_low"], table[f"{measure}_high"]
        trace[key] = make_error_bars(table[measure], low, high)
    trace.customdata = [int(n) for n in table["n"]]
    trace.hovertemplate = (
        "forgetting %{x} pp, learning %{y} pp<br>%{customdata} pairs<extra>%{fullData.name}</extra>"
    )
    return trace
