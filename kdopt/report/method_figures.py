"""Figures of the method comparison (paper, Fig. 2, 3, 5, 6 and 7), each from a small table.

Every method has one colour (Okabe and Ito's) and one marker in all figures.
"""

from __future__ import annotations

import html
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import ALL_METHODS, list_partitions
from kdopt.analysis.stats import compute_box, compute_ecdf
from kdopt.campaign.names import pair_label
from kdopt.report.blocks import SETS, title_of
from kdopt.report.figures import BLUE, GAIN_TITLE, INK, ORANGE
from kdopt.report.panels import Axis, Panel, panel_grid
from kdopt.report.tables import points

GREEN, PURPLE, GREY = "#009E73", "#CC79A7", "#777777"
GAP, GAIN = "Accuracy gap (pp)", "Test gain (pp)"
BOX_COLUMNS = (
    "partition",
    "method",
    "n",
    "p05",
    "q1",
    "median",
    "q3",
    "p95",
    "mean_gain",
    "low",
    "high",
)


class Style(NamedTuple):
    """How a method is named and drawn."""

    label: str
    colour: str
    symbol: str


STYLES = {
    "vanilla": Style("Vanilla", ORANGE, "circle"),
    "dml": Style("DML", GREEN, "square"),
    "dp_kd": Style("DP-KD", PURPLE, "triangle-up"),
    "tuned": Style("Tuned", BLUE, "diamond"),
}


def style_of(method: str) -> Style:
    """The style of a method; names of other versions are shown as they are."""
    return STYLES.get(method, Style(method, GREY, "cross"))


def short_title(name: str) -> str:
    """A partition beside a row of panels or under a box.

    Figures read some tags, and names in a spec are not ours to trust, so ``<`` is escaped.
    """
    return html.escape(title_of(name), quote=False)


def transfer_figure(gains: pd.DataFrame) -> dict[str, Any]:
    """Fig. 2: gain against gap, partitions x transfer sets, methods with fixed settings."""
    partitions = list_partitions(gains)
    used = [name for name in SETS if (gains["transfer_set"] == name).any()]
    panels = {}
    for row, partition in enumerate(partitions):
        for column, name in enumerate(used):
            here = gains[(gains["partition"] == partition) & (gains["transfer_set"] == name)]
            panels[row, column] = Panel(_scatters(here[here["method"] != "tuned"]))
    titles = [short_title(name) for name in partitions]
    axis = Axis(GAP, GAIN, {"zeroline": True}, {"zeroline": True})
    return panel_grid(
        titles, [SETS[name] for name in used], panels, [axis] * len(used), share="rows"
    )


def cumulative_figure(gains: pd.DataFrame) -> dict[str, Any]:
    """Fig. 3, columns 3 and 4, on the student's data: sum, distribution, gain against gap."""
    known = gains[gains["transfer_set"] == "student"]
    partitions = list_partitions(known)
    panels = {}
    for row, partition in enumerate(partitions):
        here = known[known["partition"] == partition]
        panels[row, 0] = Panel([_bars(here)], y={"range": _room(_totals(here))})
        panels[row, 1] = Panel([_steps(table, m) for m, table in _by_method(here)])
        panels[row, 2] = Panel(_scatters(here))
    axes = [
        Axis("Method", "Sum of gains (pp)", {"type": "category"}, {"zeroline": True}),
        Axis(GAIN, "Share of pairs", {"zeroline": True}, {"range": [0, 1.03]}),
        Axis(GAP, GAIN, {"zeroline": True}, {"zeroline": True}),
    ]
    columns = ["Cumulative gain", "Distribution of gains", "Gain against gap"]
    titles = [short_title(name) for name in partitions]
    return panel_grid(titles, columns, panels, axes, share="nothing", row_height=230)


def teachers_figure(counts: pd.DataFrame, correlations: pd.DataFrame) -> dict[str, Any]:
    """Fig. 5: times best teacher against accuracy, partitions x methods."""
    partitions = list_partitions(counts)
    methods = _methods(counts)
    found = correlations.set_index(["partition", "method"])["correlation"].to_dict()
    panels = {}
    for row, partition in enumerate(partitions):
        for column, method in enumerate(methods):
            here = counts[(counts["partition"] == partition) & (counts["method"] == method)]
            here = here.dropna(subset=["accuracy"])
            value = found.get((partition, method), math.nan)
            note = f"rank corr. {points(value)}" if not math.isnan(value) else "rank corr. n/a"
            trace = _markers(method, here["accuracy"], here["times_best"], 9)
            trace.text = [f"participant {p}" for p in here["participant"]]
            trace.hovertemplate = "%{text}: accuracy %{x} %, best for %{y} students<extra></extra>"
            panels[row, column] = Panel([trace], note if len(here) else "")
    axis = Axis("Accuracy (%)", "Times best", {}, {"rangemode": "tozero"})
    titles = [short_title(name) for name in partitions]
    labels = [style_of(m).label for m in methods]
    return panel_grid(titles, labels, panels, [axis] * len(methods), share="rows", row_height=170)


def box_table(own: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What Fig. 6 shows, one line per partition and method, pp.

    Args:
        own: Gains on the student's own data.
        summary: From :func:`kdopt.analysis.method_summaries.summarise_transfers`.
    """
    on_own = summary[summary["transfer_set"] == "student"]
    means = {(x["partition"], x["method"]): x for x in on_own.to_dict("records")}
    lines: list[tuple[Any, ...]] = []
    for partition in list_partitions(own):
        for method, here in _by_method(own[own["partition"] == partition]):
            ends = (means[partition, method][key] for key in ("mean_gain", "low", "high"))
            lines.append((partition, method, len(here), *compute_box(here["test_gain"]), *ends))
    return pd.DataFrame(lines, columns=list(BOX_COLUMNS))


def methods_figure(boxes: pd.DataFrame) -> dict[str, Any]:
    """Fig. 6: a box per partition and method with the mean and its 95 % interval beside it."""
    partitions, methods = list_partitions(boxes), _methods(boxes)
    width = 0.8 / max(1, len(methods))
    traces: list[Any] = []
    for number, method in enumerate(methods):
        here = boxes[boxes["method"] == method]
        shift = width * (number - (len(methods) - 1) / 2)
        at = pd.Series([partitions.index(name) + shift for name in here["partition"]])
        style = style_of(method)
        traces.append(
            go.Box(
                x=rounded(at), lowerfence=rounded(here["p05"]), q1=rounded(here["q1"]),
                median=rounded(here["median"]), q3=rounded(here["q3"]),
                upperfence=rounded(here["p95"]), width=0.9 * width, name=style.label,
                legendgroup=method, line={"width": 1.5}, marker={"color": style.colour},
                hoverinfo="skip",
            )
        )  # fmt: skip
        mean = _markers(method, at, here["mean_gain"], 8)
        mean.marker.line = {"width": 1.5, "color": INK}
        mean.error_y = _error(here["mean_gain"], here["low"], here["high"])
        mean.error_y.color = INK
        mean.showlegend = False
        mean.text = [short_title(name) for name in here["partition"]]
        mean.hovertemplate = f"{style.label}, %{{text}}: mean %{{y}} pp<extra></extra>"
        traces.append(mean)
    ticks = {"tickvals": list(range(len(partitions))), "zeroline": False, "showgrid": False}
    layout = go.Layout(
        template="none",
        xaxis={**ticks, "ticktext": [short_title(name) for name in partitions]},
        yaxis={"title": {"text": GAIN_TITLE}, "zeroline": True, "automargin": True},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 10, "t": 50, "b": 50},
        height=440,
        hovermode="closest",
    )
    plain: dict[str, Any] = go.Figure(traces, layout).to_plotly_json()
    return plain


def dynamics_figure(dynamics: pd.DataFrame) -> dict[str, Any]:
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
            traces = [_dynamics(m, t) for m, t in _by_method(here)]
            panels[row, column] = Panel([zero, *traces], "" if traces else "no such pairs")
    axis = Axis(
        "Forgetting (pp)", "Learning (pp)", {"rangemode": "tozero"}, {"rangemode": "tozero"}
    )
    return panel_grid(
        [f"{kind.capitalize()} teachers" for kind in kinds],
        [short_title(name) for name in partitions],
        panels,
        [axis] * len(partitions),
        share="all",
        row_height=240,
    )


def _scatters(table: pd.DataFrame) -> list[Any]:
    table = table[table["accuracy_gap"].notna()]
    traces = []
    for method, here in _by_method(table):
        trace = _markers(method, here["accuracy_gap"], here["test_gain"], 5)
        trace.marker.opacity = 0.8
        pairs = zip(here["partition"], here["teacher"], here["student"], strict=True)
        trace.customdata = [f"{p}/{pair_label(int(t), int(s))}" for p, t, s in pairs]
        trace.text = [name.rpartition("/")[2] for name in trace.customdata]
        trace.hovertemplate = "%{text}<br>gap %{x} pp, gain %{y} pp<extra>%{fullData.name}</extra>"
        traces.append(trace)
    return traces


def _markers(method: str, x: pd.Series[float], y: pd.Series[float], size: int) -> go.Scatter:
    style = style_of(method)
    return go.Scatter(
        mode="markers",
        name=style.label,
        legendgroup=method,
        x=rounded(x),
        y=rounded(y),
        marker={"symbol": style.symbol, "color": style.colour, "size": size},
        cliponaxis=False,  # points on an axis are shown whole
    )


def _steps(table: pd.DataFrame, method: str) -> go.Scatter:
    style, data = style_of(method), compute_ecdf(table["test_gain"])
    return go.Scatter(
        mode="lines", name=style.label, legendgroup=method, showlegend=False,
        x=rounded(data.values), y=rounded(data.shares),
        line={"color": style.colour, "shape": "hv", "width": 2},
        hovertemplate="%{y:.0%} of pairs gain at most %{x} pp<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _totals(table: pd.DataFrame) -> list[float]:
    return [math.fsum(here["test_gain"]) for _, here in _by_method(table)]


def _bars(table: pd.DataFrame) -> go.Bar:
    groups, totals = _by_method(table), _totals(table)
    return go.Bar(
        x=[style_of(m).label for m, _ in groups], y=rounded(totals), name="sum",
        marker={"color": [style_of(m).colour for m, _ in groups]}, showlegend=False,
        text=[f"{round(t) + 0:d}" for t in totals], textposition="outside", textangle=0,
        textfont={"size": 11}, cliponaxis=False,
        customdata=[len(here) for _, here in groups],
        hovertemplate="%{x}: %{y} pp over %{customdata} pairs<extra></extra>",
    )  # fmt: skip


def _room(totals: list[float]) -> list[float]:
    """A range around bars that leaves room for the numbers at their ends."""
    low, high = min(0.0, *totals), max(0.0, *totals)
    pad = 0.16 * ((high - low) or 1.0)
    return rounded([low - pad * (low < 0), high + pad * (high > 0)])


def _dynamics(method: str, table: pd.DataFrame) -> go.Scatter:
    trace = _markers(method, table["forgetting"], table["learning"], 9)
    for key, measure in (("error_x", "forgetting"), ("error_y", "learning")):
        low, high = table[f"{measure}_low"], table[f"{measure}_high"]
        trace[key] = _error(table[measure], low, high)
    trace.customdata = [int(n) for n in table["n"]]
    trace.hovertemplate = (
        "forgetting %{x} pp, learning %{y} pp<br>%{customdata} pairs<extra>%{fullData.name}</extra>"
    )
    return trace


def _error(mean: pd.Series[float], low: pd.Series[float], high: pd.Series[float]) -> dict[str, Any]:
    # Without an interval (one pair) there is no bar; JSON has no NaN.
    above, below = (high - mean).fillna(0.0), (mean - low).fillna(0.0)
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(above.clip(lower=0)),
        "arrayminus": rounded(below.clip(lower=0)),
        "thickness": 1.5,
        "width": 4,
    }


def _by_method(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(method, table[table["method"] == method]) for method in _methods(table)]


def _methods(table: pd.DataFrame) -> list[str]:
    present = {str(method) for method in table["method"]}
    return [m for m in ALL_METHODS if m in present] + sorted(present - set(ALL_METHODS))


def rounded(values: Any) -> list[float]:
    """Plain numbers for a figure; below a hundredth of a pp neither plot nor test set resolves."""
    return [round(float(v), 3) for v in np.array(list(values), dtype=float)]
