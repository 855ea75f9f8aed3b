"""Methods compared: gains by transfer set and method (paper, Fig. 2, 3 and 6), and their noise."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import ALL_METHODS, list_partitions, select_own
from kdopt.analysis.method_summaries import compute_box, compute_ecdf
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuned_methods import is_tuned
from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.names import pair_label
from kdopt.report.blocks import (
    Block,
    PageFigure,
    ReportData,
    Section,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.columns import Columns, IntervalColumn
from kdopt.report.format import TRANSFER_SET_TITLES, escape_partitions, format_frame, format_points
from kdopt.report.plotting import (
    GAIN_AXIS,
    GAIN_TITLE,
    GAP_AXIS,
    INK,
    Axis,
    Panel,
    PlainFigure,
    arrange_panels,
    format_method,
    get_method_style,
    list_methods,
    make_error_bars,
    make_markers,
    make_single_figure,
    round_values,
    split_by_method,
)
from kdopt.report.scales import clip_far_points, find_far_ends, spread_gains
from kdopt.report.sections.teachers import make_learning_block, make_teachers_block

MOST_LEVEL_NAMES = 5
"""Partitions whose names fit beside each other."""
POINT_COLUMNS = [
    "partition",
    "transfer_set",
    "method",
    "teacher",
    "student",
    "accuracy_gap",
    "test_gain",
]


def make_methods_section(data: ReportData) -> Section | None:
    """The section on methods; none where they are not compared."""
    if not data.shows_stage("compare"):
        return None
    tables = data.tables
    missing = _explain_missing_methods(tables)
    gains = tables.method_gains
    return Section(
        "methods",
        "Methods compared",
        "Vanilla, DML and DP-KD have fixed settings. Tuned is KD at each pair's "
        f"best temperature and alpha, {describe_selection(data.campaign)}, on the student's own "
        "data.",
        [
            make_transfer_block(tables),
            make_cumulative_block(tables, missing),
            make_teachers_block(tables, missing),
            make_spread_block(tables, missing),
            make_learning_block(tables, missing),
        ],
        files={"method_gains.csv": format_frame(gains)} if is_compared(gains) else {},
    )


def is_compared(gains: pd.DataFrame) -> bool:
    """Whether any trial of the comparison is complete."""
    return bool((gains["source"] == "compare").any())


def _explain_missing_methods(tables: Tables) -> str:
    """Which of the four methods have no pair on the student's data, and what to run for them."""
    own = select_own(tables.method_gains)
    absent = [m for m in ALL_METHODS if not (own["method"] == m).any()]
    if not absent:
        return ""
    names = ", ".join(map(format_method, absent))
    stages = dict.fromkeys("tune" if m == "tuned" else "compare" for m in absent)
    missing = [s for s in stages if s not in tables.campaign.stages]
    if missing:
        added = " and ".join(f'"{s}"' for s in missing)
        return f"No data for {names}: add {added} to stages and run again."
    return f"No data for {names}: not in compare.methods, not in the student's set, or not run yet."


def make_transfer_block(tables: Tables) -> Block:
    """Fig. 2: gain against accuracy gap by transfer set, and how often transfer is positive."""
    gains, figure = tables.method_gains, None
    if is_compared(gains):
        points = gains.loc[~gains["method"].map(is_tuned).astype(bool), POINT_COLUMNS]
        figure = PageFigure("methods-transfer", "fig2-transfer-sets", draw_transfers(gains), points)
    columns: Columns = [
        *("partition", "transfer_set", "method", "n"),
        IntervalColumn("positive_rate", "rate_"),
        IntervalColumn("mean_positive", "positive_"),
        IntervalColumn("mean_negative", "negative_"),
        IntervalColumn("mean_gain"),
        "cumulative_gain",
    ]
    return Block(
        "Transfer sets: gain against accuracy gap",
        "Fig. 2 of the paper: every point is a teacher-student pair under one method with "
        "fixed settings. Panels of a row share their axes. DML needs labels: on the unlabeled "
        "sets only its mutual terms are left, and it is not expected to work there.",
        figure,
        make_tables("Positive transfers and mean gains", columns, tables.transfers),
        "" if figure else explain_missing_stage(tables.campaign, "compare"),
    )


def make_cumulative_block(tables: Tables, missing: str) -> Block:
    """Fig. 3, columns 3 and 4: sums and distributions of gains; tuning against the best method."""
    own, figure = select_own(tables.method_gains), None
    if len(own):
        drawn = draw_cumulative_gains(tables.method_gains)
        figure = PageFigure("methods-cumulative", "fig3-cumulative-gain", drawn, own[POINT_COLUMNS])
    columns: Columns = [
        *("partition", "tuned_gain", "best_method", "best_gain"),
        IntervalColumn("difference"),
        IntervalColumn("ratio", "ratio_"),
        "control_gain",
        IntervalColumn("net_ratio", "net_ratio_"),
        "n",
    ]
    return Block(
        "Cumulative gain of the methods",
        "Fig. 3, columns 3 and 4, on the student's own data. The paper does not say whether "
        "its cumulative gain is a sum or a distribution: both are drawn. The table sets tuned KD "
        "beside the best untuned method: the difference of their gains in pp and, as in the "
        "second version of the paper, in percent of the latter's gain, which means nothing where "
        "that gain is near 0. For the net ratio the control's gain is taken off both first.",
        figure,
        make_tables("Tuned against the best untuned method", columns, tables.tuning_ratios),
        missing,
    )


def make_spread_block(tables: Tables, missing: str) -> Block:
    """Fig. 6: how the gains of each method spread over pairs."""
    boxes = tabulate_boxes(select_own(tables.method_gains), tables.transfers)
    figure = None
    if len(boxes):
        figure = PageFigure("methods-partitions", "fig6-methods", draw_methods(boxes), boxes)
    columns: Columns = [
        *("partition", "method", "n", "p05", "q1", "median", "q3", "p95"),
        IntervalColumn("mean_gain"),
    ]
    return Block(
        "Methods across partitions",
        "Fig. 6, on the student's own data. Boxes: quartiles, whiskers at the 5th and 95th "
        "percentile of pairs. Markers: mean with its 95 % interval over participants.",
        figure,
        make_tables("Spread and mean of every method", columns, boxes),
        missing,
    )


BOX_COLUMNS = (
    "partition", "method", "n", "p05", "q1", "median", "q3", "p95", "mean_gain", "low", "high",
)  # fmt: skip


def draw_transfers(gains: pd.DataFrame) -> PlainFigure:
    """Fig. 2: gain against gap, partitions x transfer sets, methods with fixed settings."""
    partitions = list_partitions(gains)
    used = [name for name in TRANSFER_SET_TITLES if (gains["transfer_set"] == name).any()]
    panels: dict[tuple[int, int], Panel] = {}
    for row, partition in enumerate(partitions):
        fixed = gains[
            (gains["partition"] == partition) & ~gains["method"].map(is_tuned).astype(bool)
        ]
        drawn = [_scatter_gains_of_methods(fixed[fixed["transfer_set"] == name]) for name in used]
        note = clip_far_points([trace for traces in drawn for trace in traces])
        panels |= {(row, column): Panel(t, y_note=note) for column, t in enumerate(drawn)}
    titles = list(escape_partitions(partitions).values())
    axis = Axis(GAP_AXIS, GAIN_AXIS, {"zeroline": True}, {"zeroline": True})
    return arrange_panels(
        titles,
        [TRANSFER_SET_TITLES[name] for name in used],
        panels,
        [axis] * len(used),
        share="rows",
    )


def draw_cumulative_gains(gains: pd.DataFrame) -> PlainFigure:
    """Fig. 3, columns 3 and 4, on the student's data: sum, distribution, gain against gap."""
    known = select_own(gains)
    partitions = list_partitions(known)
    panels = {}
    for row, partition in enumerate(partitions):
        here = known[known["partition"] == partition]
        panels[row, 0] = Panel([draw_sums(here)], y={"range": widen_range(sum_gains(here))})
        panels[row, 1] = make_distributions(here)
        points = _scatter_gains_of_methods(here)
        panels[row, 2] = Panel(points, y_note=clip_far_points(points))
    axes = [
        Axis("Method", "Sum of gains (pp)", {"type": "category"}, {"zeroline": True}),
        Axis(GAIN_AXIS, "Share of pairs", {"zeroline": True}, {"range": [0, 1.03]}),
        Axis(GAP_AXIS, GAIN_AXIS, {"zeroline": True}, {"zeroline": True}),
    ]
    columns = ["Cumulative gain", "Distribution of gains", "Gain against gap"]
    titles = list(escape_partitions(partitions).values())
    return arrange_panels(titles, columns, panels, axes, share="nothing", row_height=230)


def tabulate_boxes(own: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What Fig. 6 shows, one line per partition and method, pp.

    Args:
        own: Gains on the student's own data.
        summary: From :func:`kdopt.analysis.method_summaries.summarise_transfers`.
    """
    on_own = select_own(summary).to_dict("records")
    means = {(x["partition"], x["method"]): x for x in on_own}
    lines: list[tuple[object, ...]] = []
    for partition in list_partitions(own):
        for method, here in split_by_method(own[own["partition"] == partition]):
            ends = (means[partition, method][key] for key in ("mean_gain", "low", "high"))
            lines.append((partition, method, len(here), *compute_box(here["test_gain"]), *ends))
    return pd.DataFrame(lines, columns=list(BOX_COLUMNS))


def draw_methods(boxes: pd.DataFrame) -> PlainFigure:
    """Fig. 6: a box per partition and method with the mean and its 95 % interval beside it."""
    partitions, methods = list_partitions(boxes), list_methods(boxes)
    titles = escape_partitions(partitions)
    width = 0.8 / max(1, len(methods))
    traces: list[object] = []
    for number, method in enumerate(methods):
        here = boxes[boxes["method"] == method]
        shift = width * (number - (len(methods) - 1) / 2)
        at = pd.Series([partitions.index(name) + shift for name in here["partition"]])
        style = get_method_style(method)
        traces.append(
            go.Box(
                x=round_values(at), lowerfence=round_values(here["p05"]),
                q1=round_values(here["q1"]),
                median=round_values(here["median"]), q3=round_values(here["q3"]),
                upperfence=round_values(here["p95"]), width=0.9 * width, name=style.label,
                legendgroup=method, line={"width": 1.5}, marker={"color": style.colour},
                hoverinfo="skip",
            )
        )  # fmt: skip
        mean = make_markers(method, at, here["mean_gain"], 8)
        mean.marker.line = {"width": 1.5, "color": INK}
        mean.error_y = make_error_bars(here["mean_gain"], here["low"], here["high"])
        mean.error_y.color = INK
        mean.showlegend = False
        mean.text = [titles[name] for name in here["partition"]]
        mean.hovertemplate = f"{style.label}, %{{text}}: mean %{{y}} pp<extra></extra>"
        traces.append(mean)
    ticks = {"tickvals": list(range(len(partitions))), "zeroline": False, "showgrid": False}
    x: dict[str, Any] = {**ticks, "ticktext": list(titles.values())}
    if len(partitions) > MOST_LEVEL_NAMES:  # plotly slants names to the right and hides the last
        x["tickangle"] = -30
    return make_single_figure(traces, x, {"title": {"text": GAIN_TITLE}, "zeroline": True}, 440)


def _scatter_gains_of_methods(table: pd.DataFrame) -> list[go.Scatter]:
    table = table[table["accuracy_gap"].notna()]
    gaps = spread_gains(table["accuracy_gap"].tolist(), table["test_gain"].tolist())
    table = table.assign(shown_gap=gaps)
    traces = []
    for method, here in split_by_method(table):
        trace = make_markers(method, here["shown_gap"], here["test_gain"], 5)
        trace.marker.opacity = 0.8
        pairs = zip(here["partition"], here["teacher"], here["student"], strict=True)
        trace.customdata = [f"{p}/{pair_label(int(t), int(s))}" for p, t, s in pairs]
        labels = (name.rpartition("/")[2] for name in trace.customdata)
        gaps_of_pairs = map(format_points, here["accuracy_gap"])
        trace.text = [
            f"{label}: gap {gap} pp" for label, gap in zip(labels, gaps_of_pairs, strict=True)
        ]
        trace.hovertemplate = "%{text}<br>gain %{y} pp<extra>%{fullData.name}</extra>"
        traces.append(trace)
    return traces


def make_distributions(own: pd.DataFrame) -> Panel:
    """A curve per method: the share of pairs that gain at most so much.

    The axis ends where a few gains far outside would flatten the rest: the curves begin above 0 or
    end below 1 there.
    """
    curves = [_draw_distribution(table, method) for method, table in split_by_method(own)]
    gains = own["test_gain"].dropna()
    low, high = find_far_ends(gains)
    whole = [float(gains.min()), float(gains.max())]
    ends = [max(low, whole[0]), min(high, whole[1])]
    return Panel(curves, x={"range": round_values(ends)} if ends != whole else {})


def _draw_distribution(table: pd.DataFrame, method: str) -> go.Scatter:
    """The share of pairs that gain at most so much, by one method."""
    style, data = get_method_style(method), compute_ecdf(table["test_gain"])
    return go.Scatter(
        mode="lines", name=style.label, legendgroup=method, showlegend=False,
        x=round_values(data.values), y=round_values(data.shares),
        line={"color": style.colour, "shape": "hv", "width": 2, "dash": style.dash},
        hovertemplate="%{y:.0%} of pairs gain at most %{x} pp<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def sum_gains(table: pd.DataFrame) -> list[float]:
    """The sum of the gains of each method, pp."""
    return [math.fsum(here["test_gain"]) for _, here in split_by_method(table)]


def draw_sums(table: pd.DataFrame) -> go.Bar:
    """A bar per method with the sum of its gains, pp."""
    groups, totals = split_by_method(table), sum_gains(table)
    return go.Bar(
        x=[get_method_style(m).label for m, _ in groups], y=round_values(totals), name="sum",
        marker={"color": [get_method_style(m).colour for m, _ in groups]}, showlegend=False,
        text=[_format_sum(total) for total in totals], textposition="outside", textangle=0,
        textfont={"size": 11}, cliponaxis=False,
        customdata=[len(here) for _, here in groups],
        hovertemplate="%{x}: %{y} pp over %{customdata} pairs<extra></extra>",
    )  # fmt: skip


def _format_sum(total: float) -> str:
    return f"{total:.0f}" if abs(total) >= 100 else f"{round(total, 2) + 0.0:.3g}"


def widen_range(totals: list[float]) -> list[float]:
    """A range around bars that leaves room for the numbers at their ends."""
    low, high = min(0.0, *totals), max(0.0, *totals)
    pad = 0.16 * ((high - low) or 1.0)
    return round_values([low - pad * (low < 0), high + pad * (high > 0)])
