"""Maps of best settings (paper, Fig. 3): alpha, temperature and gain against the accuracy gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import list_partitions
from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign
from kdopt.report.format import escape_title, format_points
from kdopt.report.plotting import (
    BLUE,
    GAIN_AXIS,
    GAIN_TITLE,
    GAP_AXIS,
    GAP_TITLE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    Axis,
    Panel,
    arrange_panels,
    make_single_figure,
    split_by_method,
)
from kdopt.report.scales import make_colour_axis, spread_points
from kdopt.report.sections.methods import draw_distribution, draw_sums, sum_gains, widen_range
from kdopt.shown import format_setting

GROUPS = (("distil", "Distil", "circle"), ("other", "Not to distil", "x"))
MARKER_SHARE = 0.028
"""Width of a marker as a share of the range of gaps."""
STEPS = {"alpha": 0.02, "temperature": 0.035}
"""How far apart points are moved: alpha, and decades of T."""


def draw_alpha_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best alpha of each pair against its accuracy gap, coloured by test gain."""
    return _draw_setting_map(best, "alpha", "Best alpha (weight of the teacher)", campaign)


def draw_temperature_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best temperature (logarithmic axis) of each pair against its gap, coloured by test gain."""
    return _draw_setting_map(best, "temperature", "Best temperature T (log scale)", campaign)


def draw_gain_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Test gain against accuracy gap: vanilla, tuned and its net gain over the control.

    The control and the oracle are off until asked for.
    """
    tuned = f"Tuned, {describe_selection(campaign)}"
    traces = [
        _scatter_gains(
            best, "vanilla_gain", f"Vanilla ({describe_vanilla(campaign)})", ORANGE, "circle"
        ),
        _scatter_gains(best, "test_gain", tuned, BLUE, "diamond"),
        _scatter_gains(best, "net_gain", "Tuned, net of the control", GREEN, "diamond-open"),
        _scatter_gains(best, "control_gain", "Control: no teacher", GREY, "square-open"),
        _scatter_gains(best, "oracle_gain", "Oracle (selected on test)", LIGHT_GREY, "circle-open"),
    ]
    for trace in traces[-2:]:
        trace.visible = "legendonly"
    if best["control_gain"].isna().all():
        del traces[2:4]
    return _make_figure(traces, {"title": {"text": GAIN_TITLE}, "zeroline": True})


MAPS = {
    "alpha": ("Best alpha against the accuracy gap", draw_alpha_map),
    "temperature": ("Best temperature against the accuracy gap", draw_temperature_map),
    "gain": ("Gain against the accuracy gap", draw_gain_map),
}


def _make_setting_axis(
    key: str, best: pd.DataFrame, campaign: Campaign, nearest: float = 0.04
) -> dict[str, Any]:
    """The axis of a best setting, with the values of the grid as ticks.

    Args:
        key: ``alpha`` or ``temperature``.
        best: The best settings shown.
        campaign: Its grid.
        nearest: How near two numbers may stand, as a share of the axis; others have a line only.
    """
    if key == "alpha":
        ticks = campaign.tune.alphas
        more: dict[str, Any] = {"range": [-0.08, 1.08]}
    else:
        ticks = campaign.tune.temperatures
        shown = [*ticks, *best["temperature"].dropna()]
        ends = [math.log10(min(shown)) - 0.12, math.log10(max(shown)) + 0.12]
        more = {"type": "log", "range": ends}
    return {
        **more,
        "tickfont": {"size": 10},
        "tickvals": list(ticks),
        "ticktext": _thin_ticks(list(ticks), nearest * (more["range"][1] - more["range"][0]), key),
    }


def _thin_ticks(ticks: Sequence[float], nearest: float, key: str) -> list[str]:
    texts, last = [], -math.inf
    for tick in ticks:
        place = tick if key == "alpha" else math.log10(tick)
        texts.append(format_setting(tick) if place - last >= nearest else "")
        last = place if texts[-1] else last
    return texts


def _scatter_settings(best: pd.DataFrame, key: str, size: int, hover: bool) -> list[go.Scatter]:
    """The pairs by advice, moved apart where they would hide each other; and their legend."""
    best = _select_known(best, key)
    gaps = best["accuracy_gap"].tolist()
    width = MARKER_SHARE * (max(gaps, default=0.0) - min(gaps, default=0.0))
    levels = best[key] if key == "alpha" else np.log10(best[key].astype(float))
    moved = np.array(spread_points(gaps, levels.tolist(), width, STEPS[key]))
    best = best.assign(shown=moved if key == "alpha" else 10**moved)
    traces = []
    for advice, name, symbol in GROUPS:
        chosen = best[(best["advice"] == "distil") == (advice == "distil")]
        marker = {
            "symbol": symbol,
            "size": size,
            "color": _round_column(chosen["test_gain"]),
            "coloraxis": "coloraxis",
            "line": {"width": 1, "color": "#555555"},
        }
        trace = _scatter_pairs(chosen, "shown", name, marker, hover)
        traces.append(trace.update(legendgroup=name, showlegend=False))
    return traces


def _make_legend() -> list[go.Scatter]:
    # Of their own: a key takes the colour of its first point, which may be as pale as the page.
    return [
        go.Scatter(
            mode="markers", name=name, legendgroup=name, x=[None], y=[None], hoverinfo="skip",
            marker={"symbol": symbol, "size": 10, "color": GREY},
        )
        for _, name, symbol in GROUPS
    ]  # fmt: skip


def _draw_setting_map(
    best: pd.DataFrame, key: str, title: str, campaign: Campaign
) -> dict[str, Any]:
    axis = {"title": {"text": title}, **_make_setting_axis(key, best, campaign)}
    figure = _make_figure([*_scatter_settings(best, key, 10, hover=True), *_make_legend()], axis)
    figure["layout"]["coloraxis"] = make_colour_axis(_select_known(best, key)["test_gain"])
    return figure


def draw_sheet(best: pd.DataFrame, gains: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Fig. 3 on one sheet: partitions x best alpha, best temperature, sum and distribution.

    Args:
        best: The best settings of all pairs.
        gains: What every method gains; the last two columns are about the student's own data.
        campaign: What was planned.
    """
    known = best[best["temperature"].notna() & best["accuracy_gap"].notna()]
    own = gains[gains["transfer_set"] == "student"]
    partitions = list_partitions(known)
    panels = {}
    for row, partition in enumerate(partitions):
        pairs, methods = (table[table["partition"] == partition] for table in (known, own))
        legend = _make_legend() if not row else []
        panels[row, 0] = Panel([*_scatter_settings(pairs, "alpha", 7, hover=False), *legend])
        panels[row, 1] = Panel(_scatter_settings(pairs, "temperature", 7, hover=False))
        if len(methods):
            sums = {"range": widen_range(sum_gains(methods))}
            panels[row, 2] = Panel([draw_sums(methods)], y=sums)
            curves = [draw_distribution(table, name) for name, table in split_by_method(methods)]
            panels[row, 3] = Panel(curves)
    settings = [
        {**_make_setting_axis(k, known, campaign, nearest=0.08), "zeroline": False}
        for k in ("alpha", "temperature")
    ]
    axes = [
        Axis(GAP_AXIS, "Best alpha", {"zeroline": True}, settings[0]),
        Axis(GAP_AXIS, "Best T (log scale)", {"zeroline": True}, settings[1]),
        Axis("Method", "Sum of gains (pp)", {"type": "category"}, {"zeroline": True}),
        Axis(GAIN_AXIS, "Share of pairs", {"zeroline": True}, {"range": [0, 1.03]}),
    ]
    titles = ["Best alpha", "Best temperature", "Cumulative gain", "Distribution of gains"]
    rows = [escape_title(name) for name in partitions]
    figure = arrange_panels(rows, titles, panels, axes, share="nothing", row_height=230)
    figure["layout"]["coloraxis"] = make_colour_axis(known["test_gain"])
    return figure


def _scatter_gains(best: pd.DataFrame, key: str, name: str, colour: str, symbol: str) -> go.Scatter:
    marker = {"symbol": symbol, "size": 8, "color": colour, "opacity": 0.85}
    return _scatter_pairs(_select_known(best, key), key, name, marker)


def _select_known(best: pd.DataFrame, key: str) -> pd.DataFrame:
    """The pairs that have a place in the figure: both participants and the cell are measured."""
    return best[best["accuracy_gap"].notna() & best[key].notna()]


def _scatter_pairs(
    pairs: pd.DataFrame, key: str, name: str, marker: dict[str, Any], hover: bool = True
) -> go.Scatter:
    labels = zip(pairs["partition"], add_labels(pairs)["pair"], strict=True)
    return go.Scatter(
        mode="markers",
        name=name,
        x=_round_column(pairs["accuracy_gap"]),
        y=_round_column(pairs[key]),
        marker=marker,
        customdata=[f"{partition}/{pair}" for partition, pair in labels],
        hovertext=_list_hover_texts(pairs) if hover else None,
        hoverinfo="text" if hover else "skip",
    )


def _list_hover_texts(pairs: pd.DataFrame) -> list[str]:
    return [
        f"{line['pair']}{_name_pair(line)}: gap {format_points(line['accuracy_gap'])} pp<br>"
        f"T={format_setting(line['temperature'])}, alpha={format_setting(line['alpha'])}: "
        f"{line['advice']}<br>"
        f"test gain {format_points(line['test_gain'])} pp "
        f"(validation {format_points(line['validation_gain'])} pp)<br>"
        f"control {format_points(line['control_gain']) or 'not run'}, "
        f"vanilla {format_points(line['vanilla_gain']) or 'not run'}, "
        f"oracle {format_points(line['oracle_gain'])} pp "
        f"at T={format_setting(line['oracle_temperature'])}, "
        f"alpha={format_setting(line['oracle_alpha'])}"
        + ("" if line["complete"] else "<br>incomplete: " + line["cells"] + " cells")
        for line in add_labels(pairs).to_dict("records")
    ]


def _name_pair(line: Mapping[Any, Any]) -> str:
    named = "teacher_name" in line
    return f" ({line['teacher_name']} teaches {line['student_name']})" if named else ""


def _make_figure(traces: Sequence[go.Scatter], y_axis: dict[str, Any]) -> dict[str, Any]:
    x_axis = {"title": {"text": GAP_TITLE}, "zeroline": True, "automargin": True}
    return make_single_figure(traces, x_axis, {"zeroline": False} | y_axis, 460)


def _round_column(column: pd.Series[float]) -> list[float]:
    # Rounded: a hundredth of a pp is far below what a plot or a test set can resolve.
    return [round(float(value), 3) for value in column]


def add_labels(best: pd.DataFrame) -> pd.DataFrame:
    """The best-settings frame with the columns ``pair`` and ``cells`` that people read."""
    pairs = zip(best["teacher"], best["student"], strict=True)
    counts = zip(best["cells_done"], best["cells_failed"], best["cells_planned"], strict=True)
    cells = [f"{d}/{p}" + (f", {f} failed" if f else "") for d, f, p in counts]
    return best.assign(pair=[pair_label(int(t), int(s)) for t, s in pairs], cells=cells)
