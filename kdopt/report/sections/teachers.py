"""Which teachers help: the best teachers (paper, Fig. 5), learning and forgetting (Fig. 7)."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import TEACHER_GROUPS, list_partitions, select_own
from kdopt.analysis.stats import TIE_DECIMALS
from kdopt.analysis.tables import Tables
from kdopt.report.blocks import Block, PageFigure, make_tables
from kdopt.report.columns import Columns, IntervalColumn
from kdopt.report.format import escape_partitions, format_points
from kdopt.report.plotting import (
    GREY,
    Axis,
    Panel,
    PlainFigure,
    arrange_panels,
    get_method_style,
    list_methods,
    make_error_bars,
    make_markers,
    split_by_method,
)


def make_teachers_block(tables: Tables, missing: str) -> Block:
    """Fig. 5: how often each participant is the best teacher of a student.

    Args:
        tables: Of the campaign.
        missing: Which methods are not there, and what to run for them.
    """
    counts, correlations, figure = tables.teacher_counts, tables.teacher_correlations, None
    if len(select_own(tables.method_gains)):
        drawn = draw_best_teachers(counts, correlations)
        shown = counts.merge(correlations[["partition", "method", "correlation"]], how="left")
        figure = PageFigure("methods-teachers", "fig5-best-teachers", drawn, shown)
    columns: Columns = ["partition", "method", "participant", "accuracy", "times_best", "students"]
    return Block(
        "Best teachers and accuracy",
        "Fig. 5: how often a participant is the teacher that gives a student its greatest "
        "test gain, against its own accuracy. Ties are split, so counts sum to the number of "
        "students. In its corner each panel has the rank correlation of the two, or says why there "
        "is none.",
        figure,
        make_tables("How often each participant is the best teacher", columns, counts),
        missing,
    )


def make_learning_block(tables: Tables, missing: str) -> Block:
    """Fig. 7: learning and forgetting by method and kind of teacher; arguments as above."""
    learning, figure = tables.learning, None
    if len(learning):
        drawn = draw_learning(learning)
        figure = PageFigure("methods-dynamics", "fig7-learning-forgetting", drawn, learning)
    elif len(select_own(tables.method_gains)):
        missing = "Accuracies before distillation are missing."
    columns: Columns = [
        *("partition", "teacher_kind", "method", "n"),
        IntervalColumn("learning", "learning_"),
        IntervalColumn("forgetting", "forgetting_"),
    ]
    return Block(
        "Learning and forgetting",
        "Fig. 7: means over pairs with 95 % intervals over participants, on the student's own "
        "data. Weak teachers are all those below their student in accuracy on validation, strong "
        "ones more than "
        f"{tables.campaign.compare.strong_margin:g} pp above; stronger, much weaker and similar "
        "ones stand beside them. Above the dotted line a method gains.",
        figure,
        make_tables("Learning and forgetting", columns, learning),
        missing,
    )


def draw_best_teachers(counts: pd.DataFrame, correlations: pd.DataFrame) -> PlainFigure:
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
                explain_no_correlation(here)
                if math.isnan(value)
                else (f"rank corr. {format_points(value)}")
            )
            trace = make_markers(method, here["accuracy"], here["times_best"], 9)
            named = "participant_name" in here.columns
            who = here["participant_name" if named else "participant"]
            trace.text = [f"participant {p}" for p in who]
            trace.hovertemplate = "%{text}: accuracy %{x} %, best for %{y} students<extra></extra>"
            panels[row, column] = Panel([trace], note)
    axis = Axis("Accuracy (%)", "Times best", {}, {"rangemode": "tozero"})
    titles = list(escape_partitions(partitions).values())
    labels = [get_method_style(m).label for m in methods]
    return arrange_panels(
        titles, labels, panels, [axis] * len(methods), share="rows", row_height=170
    )


def explain_no_correlation(counts: pd.DataFrame) -> str:
    """Why the accuracy of teachers and how often they are best have no rank correlation.

    Args:
        counts: One line per participant with a known accuracy.
    """
    if len(counts) < 2:
        return "no two teachers" if len(counts) else ""
    alike = counts["accuracy"].round(TIE_DECIMALS).nunique() == 1
    return "equal accuracies" if alike else "equal counts"


def draw_learning(dynamics: pd.DataFrame) -> PlainFigure:
    """Fig. 7: mean learning against mean forgetting, kinds of teachers x partitions."""
    partitions = list_partitions(dynamics)
    kinds = [k for k in TEACHER_GROUPS if (dynamics["teacher_kind"] == k).any()]
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
        list(escape_partitions(partitions).values()),
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
