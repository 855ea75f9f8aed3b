"""Methods compared: gains by transfer set and method (paper, Fig. 2, 3 and 6), and their noise."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import ALL_METHODS, BAND_PP, list_partitions
from kdopt.analysis.stats import compute_box, compute_ecdf
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    Column,
    PageFigure,
    Section,
    Table,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.format import TRANSFER_SET_TITLES, escape_title, format_title, format_transfer_set
from kdopt.report.plotting import (
    GAIN_AXIS,
    GAIN_TITLE,
    GAP_AXIS,
    INK,
    Axis,
    Panel,
    arrange_panels,
    format_method,
    get_method_style,
    list_methods,
    make_error_bars,
    make_markers,
    round_values,
    split_by_method,
)
from kdopt.report.sections.teachers import (
    draw_best_teachers,
    draw_learning,
    make_learning_tables,
    make_teacher_tables,
)

POINT_COLUMNS = [
    "partition",
    "transfer_set",
    "method",
    "teacher",
    "student",
    "accuracy_gap",
    "test_gain",
]


BOX_TABLE = [
    Column("partition", "Partition", format_title),
    Column("method", "Method", lambda method: get_method_style(str(method)).label),
    Column("n", "Pairs", str),
    Column("p05", "5th percentile (pp)"),
    Column("q1", "Quartile (pp)"),
    Column("median", "Median (pp)"),
    Column("q3", "Quartile (pp)"),
    Column("p95", "95th percentile (pp)"),
    Column("mean_gain", "Mean (pp)"),
    Column("low", "95 % from"),
    Column("high", "to"),
]


def make_methods_section(evidence: Tables, *, paired: bool) -> Section:
    """The section on methods; where there are no pairs, what it would take to have some."""
    title = "Methods compared"
    if not paired:
        note = 'No pairs of teacher and student: neither "tune" nor "compare" is among the stages.'
        return Section("methods", title, note, [])
    blocks, drawn = make_method_blocks(evidence)
    note = (
        "Vanilla, DML and DP-KD have fixed settings. Tuned is each pair's cell "
        f"{describe_selection(evidence.campaign)}, on the student's own data."
    )
    return Section("methods", title, note, blocks, drawn)


def make_method_blocks(evidence: Tables) -> tuple[list[Block], dict[str, PageFigure]]:
    """The sections in the order of the paper's figures, and their figures by element id."""
    campaign, gains = evidence.campaign, evidence.method_gains
    own = gains[gains["transfer_set"] == "student"]
    transfer, dynamics = evidence.transfers, evidence.learning
    counts, correlations = evidence.teacher_counts, evidence.teacher_correlations
    compared = (gains["source"] == "compare").any()
    drawn: dict[str, PageFigure] = {}
    if compared:
        drawn["methods-transfer"] = PageFigure(
            "fig2-transfer-sets",
            draw_transfers(gains),
            gains.loc[gains["method"] != "tuned", POINT_COLUMNS],
        )
    if len(own):
        boxes = tabulate_boxes(own, transfer)
        drawn["methods-cumulative"] = PageFigure(
            "fig3-cumulative-gain", draw_cumulative_gains(gains), own[POINT_COLUMNS]
        )
        drawn["methods-teachers"] = PageFigure(
            "fig5-best-teachers",
            draw_best_teachers(counts, correlations),
            counts.merge(correlations[["partition", "method", "correlation"]], how="left"),
        )
        drawn["methods-partitions"] = PageFigure("fig6-methods", draw_methods(boxes), boxes)
    if len(dynamics):
        drawn["methods-dynamics"] = PageFigure(
            "fig7-learning-forgetting", draw_learning(dynamics), dynamics
        )

    def figure(name: str) -> str:
        return name if name in drawn else ""

    untuned = "" if compared else explain_missing_stage(campaign, "compare")
    both = _explain_missing_methods(own, campaign)
    blocks = [
        Block(
            "Transfer sets: gain against accuracy gap",
            "Fig. 2 of the paper: every point is a teacher-student pair under one method with "
            "fixed settings. Panels of a row share their axes. DML needs labels: on the unlabeled "
            "sets only its mutual terms are left, and it is not expected to work there.",
            figure("methods-transfer"),
            _make_transfer_tables(transfer),
            untuned,
        ),
        Block(
            "Cumulative gain of the methods",
            "Fig. 3, columns 3 and 4, on the student's own data. The paper does not say whether "
            "its cumulative gain is a sum or a distribution: both are drawn. The table gives the "
            "gain of tuning over the best untuned method as a ratio, as the second version of the "
            "paper does, with pp beside it: where the denominator is near 0, the ratio means "
            "nothing.",
            figure("methods-cumulative"),
            _make_ratio_tables(evidence.tuning_ratios),
            both,
        ),
        Block(
            "Best teachers and accuracy",
            "Fig. 5: how often a participant is the teacher that gives a student its greatest "
            "test gain, against its own accuracy. Ties are split, so counts sum to the number of "
            "students.",
            figure("methods-teachers"),
            make_teacher_tables(counts),
            both,
        ),
        Block(
            "Methods across partitions",
            "Fig. 6, on the student's own data. Boxes: quartiles, whiskers at the 5th and 95th "
            "percentile of pairs. Markers: mean with its 95 % bootstrap interval over pairs.",
            figure("methods-partitions"),
            make_tables("Spread and mean of every method", BOX_TABLE, boxes) if len(own) else [],
            both,
        ),
        Block(
            "Learning and forgetting",
            "Fig. 7: means over pairs with 95 % bootstrap intervals, on the student's own data. "
            f"Teachers within {BAND_PP:g} pp of the student's accuracy are neither weak nor "
            "strong. Above the dotted line a method gains.",
            figure("methods-dynamics"),
            make_learning_tables(dynamics),
            both
            if len(dynamics) or not len(own)
            else "Accuracies before distillation are missing.",
        ),
        _make_protocol_block(evidence.protocols, campaign),
        make_noise_block(evidence),
    ]
    return blocks, drawn


def _explain_missing_methods(own: pd.DataFrame, campaign: Campaign) -> str:
    """Which of the four methods have no pair on the student's data, and what to run for them."""
    absent = [m for m in ALL_METHODS if not (own["method"] == m).any()]
    if not absent:
        return ""
    names = ", ".join(get_method_style(m).label for m in absent)
    stages = dict.fromkeys("tune" if m == "tuned" else "compare" for m in absent)
    missing = [s for s in stages if s not in campaign.stages]
    if missing:
        added = " and ".join(f'"{s}"' for s in missing)
        return f"No data for {names}: add {added} to stages and run again."
    return f"No data for {names}: not in compare.methods, not in the student's set, or not run yet."


def make_noise_block(evidence: Tables) -> Block:
    """How much results vary between replicates of the same cell, in pp."""
    headings = [
        Column("stage", "Stage", str),
        Column("partition", "Partition", format_title),
        Column("sd", "Standard deviation (pp)"),
        Column("cells", "Cells", str),
        Column("trials", "Trials", str),
    ]
    missing = ""
    if evidence.noise.empty:
        missing = (
            "Unknown: every cell ran once. Set replicates = 3 and run again."
            if evidence.campaign.replicates == 1
            else "No data: no cell has two complete replicates. (Federated runs are not counted: "
            "their replicates differ in their initial models.)"
        )
    return Block(
        "Noise floor",
        "Standard deviation of the test gain over replicates of the same cell, pooled over cells: "
        "the noise of training alone. Differences of single pairs below it mean nothing.",
        tables=make_tables("Noise floor", headings, evidence.noise),
        missing=missing,
    )


def _make_transfer_tables(summary: pd.DataFrame) -> list[Table]:
    headings = [
        Column("partition", "Partition", format_title),
        Column("transfer_set", "Transfer set", format_transfer_set),
        Column("method", "Method", format_method),
        Column("n", "Pairs", str),
        Column("positive_rate", "Positive transfers (%)"),
        Column("rate_low", "95 % from"),
        Column("rate_high", "to"),
        Column("mean_positive", "Their mean gain (pp)"),
        Column("positive_low", "95 % from"),
        Column("positive_high", "to"),
        Column("mean_negative", "Mean of the negative ones (pp)"),
        Column("negative_low", "95 % from"),
        Column("negative_high", "to"),
        Column("mean_gain", "Mean gain (pp)"),
        Column("low", "95 % from"),
        Column("high", "to"),
        Column("cumulative_gain", "Sum of gains (pp)"),
    ]
    return make_tables("Positive transfers and mean gains", headings, summary)


def _make_ratio_tables(ratios: pd.DataFrame) -> list[Table]:
    headings = [
        Column("partition", "Partition", format_title),
        Column("tuned_gain", "Tuned (pp)"),
        Column("best_method", "Best untuned", format_method),
        Column("best_gain", "Its gain (pp)"),
        Column("difference", "Difference (pp)"),
        Column("low", "95 % from"),
        Column("high", "to"),
        Column("ratio", "Ratio (%)"),
        Column("ratio_low", "95 % from"),
        Column("ratio_high", "to"),
        Column("n", "Pairs", str),
    ]
    return make_tables("Tuned against the best untuned method", headings, ratios)


def _make_protocol_block(table: pd.DataFrame, campaign: Campaign) -> Block:
    sampler = campaign.tune.sampler
    notes = {
        "grid": "What the sequential search (every alpha at T = 1, then every T at the best alpha) "
        "would have chosen is read from the complete grids, so it cost nothing to try.",
        "sequential": "The search was sequential, so only what it used is known; the grid was not "
        "run.",
    }
    note = notes.get(sampler, f"The sampler was {sampler}: only what it used is known.")
    headings = [
        Column("partition", "Partition", format_title),
        Column("protocol", "Search", str),
        Column("trials", "Trials per pair", _format_count),
        Column("test_gain", "Mean test gain (pp)"),
        Column("low", "95 % from"),
        Column("high", "to"),
        Column("same_cell", "Same cell (%)"),
        Column("n", "Pairs", str),
    ]
    missing = ""
    if table.empty:
        missing = explain_missing_stage(campaign, "tune")
        if "tune" in campaign.stages:
            missing = "No data yet: no pair's search is complete, or the grid has no T = 1."
    return Block(
        "Sequential search or full grid",
        note,
        tables=make_tables("Trials used and gain reached", headings, table),
        missing=missing,
    )


def _format_count(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


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


def draw_transfers(gains: pd.DataFrame) -> dict[str, Any]:
    """Fig. 2: gain against gap, partitions x transfer sets, methods with fixed settings."""
    partitions = list_partitions(gains)
    used = [name for name in TRANSFER_SET_TITLES if (gains["transfer_set"] == name).any()]
    panels = {}
    for row, partition in enumerate(partitions):
        for column, name in enumerate(used):
            here = gains[(gains["partition"] == partition) & (gains["transfer_set"] == name)]
            panels[row, column] = Panel(_scatter_gains_of_methods(here[here["method"] != "tuned"]))
    titles = [escape_title(name) for name in partitions]
    axis = Axis(GAP_AXIS, GAIN_AXIS, {"zeroline": True}, {"zeroline": True})
    return arrange_panels(
        titles,
        [TRANSFER_SET_TITLES[name] for name in used],
        panels,
        [axis] * len(used),
        share="rows",
    )


def draw_cumulative_gains(gains: pd.DataFrame) -> dict[str, Any]:
    """Fig. 3, columns 3 and 4, on the student's data: sum, distribution, gain against gap."""
    known = gains[gains["transfer_set"] == "student"]
    partitions = list_partitions(known)
    panels = {}
    for row, partition in enumerate(partitions):
        here = known[known["partition"] == partition]
        panels[row, 0] = Panel([_draw_sums(here)], y={"range": _widen_range(_sum_gains(here))})
        panels[row, 1] = Panel([_draw_distribution(table, m) for m, table in split_by_method(here)])
        panels[row, 2] = Panel(_scatter_gains_of_methods(here))
    axes = [
        Axis("Method", "Sum of gains (pp)", {"type": "category"}, {"zeroline": True}),
        Axis(GAIN_AXIS, "Share of pairs", {"zeroline": True}, {"range": [0, 1.03]}),
        Axis(GAP_AXIS, GAIN_AXIS, {"zeroline": True}, {"zeroline": True}),
    ]
    columns = ["Cumulative gain", "Distribution of gains", "Gain against gap"]
    titles = [escape_title(name) for name in partitions]
    return arrange_panels(titles, columns, panels, axes, share="nothing", row_height=230)


def tabulate_boxes(own: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What Fig. 6 shows, one line per partition and method, pp.

    Args:
        own: Gains on the student's own data.
        summary: From :func:`kdopt.analysis.method_summaries.summarise_transfers`.
    """
    on_own = summary[summary["transfer_set"] == "student"]
    means = {(x["partition"], x["method"]): x for x in on_own.to_dict("records")}
    lines: list[tuple[Any, ...]] = []
    for partition in list_partitions(own):
        for method, here in split_by_method(own[own["partition"] == partition]):
            ends = (means[partition, method][key] for key in ("mean_gain", "low", "high"))
            lines.append((partition, method, len(here), *compute_box(here["test_gain"]), *ends))
    return pd.DataFrame(lines, columns=list(BOX_COLUMNS))


def draw_methods(boxes: pd.DataFrame) -> dict[str, Any]:
    """Fig. 6: a box per partition and method with the mean and its 95 % interval beside it."""
    partitions, methods = list_partitions(boxes), list_methods(boxes)
    width = 0.8 / max(1, len(methods))
    traces: list[Any] = []
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
        mean.text = [escape_title(name) for name in here["partition"]]
        mean.hovertemplate = f"{style.label}, %{{text}}: mean %{{y}} pp<extra></extra>"
        traces.append(mean)
    ticks = {"tickvals": list(range(len(partitions))), "zeroline": False, "showgrid": False}
    layout = go.Layout(
        template="none",
        xaxis={**ticks, "ticktext": [escape_title(name) for name in partitions]},
        yaxis={"title": {"text": GAIN_TITLE}, "zeroline": True, "automargin": True},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 10, "t": 50, "b": 50},
        height=440,
        hovermode="closest",
    )
    plain: dict[str, Any] = go.Figure(traces, layout).to_plotly_json()
    return plain


def _scatter_gains_of_methods(table: pd.DataFrame) -> list[Any]:
    table = table[table["accuracy_gap"].notna()]
    traces = []
    for method, here in split_by_method(table):
        trace = make_markers(method, here["accuracy_gap"], here["test_gain"], 5)
        trace.marker.opacity = 0.8
        pairs = zip(here["partition"], here["teacher"], here["student"], strict=True)
        trace.customdata = [f"{p}/{pair_label(int(t), int(s))}" for p, t, s in pairs]
        trace.text = [name.rpartition("/")[2] for name in trace.customdata]
        trace.hovertemplate = "%{text}<br>gap %{x} pp, gain %{y} pp<extra>%{fullData.name}</extra>"
        traces.append(trace)
    return traces


def _draw_distribution(table: pd.DataFrame, method: str) -> go.Scatter:
    style, data = get_method_style(method), compute_ecdf(table["test_gain"])
    return go.Scatter(
        mode="lines", name=style.label, legendgroup=method, showlegend=False,
        x=round_values(data.values), y=round_values(data.shares),
        line={"color": style.colour, "shape": "hv", "width": 2},
        hovertemplate="%{y:.0%} of pairs gain at most %{x} pp<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _sum_gains(table: pd.DataFrame) -> list[float]:
    return [math.fsum(here["test_gain"]) for _, here in split_by_method(table)]


def _draw_sums(table: pd.DataFrame) -> go.Bar:
    groups, totals = split_by_method(table), _sum_gains(table)
    return go.Bar(
        x=[get_method_style(m).label for m, _ in groups], y=round_values(totals), name="sum",
        marker={"color": [get_method_style(m).colour for m, _ in groups]}, showlegend=False,
        text=[f"{round(t) + 0:d}" for t in totals], textposition="outside", textangle=0,
        textfont={"size": 11}, cliponaxis=False,
        customdata=[len(here) for _, here in groups],
        hovertemplate="%{x}: %{y} pp over %{customdata} pairs<extra></extra>",
    )  # fmt: skip


def _widen_range(totals: list[float]) -> list[float]:
    """A range around bars that leaves room for the numbers at their ends."""
    low, high = min(0.0, *totals), max(0.0, *totals)
    pad = 0.16 * ((high - low) or 1.0)
    return round_values([low - pad * (low < 0), high + pad * (high > 0)])
