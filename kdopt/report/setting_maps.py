"""Maps of best settings (paper, Fig. 3): alpha, temperature and gain against the accuracy gap."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.method_gains import list_partitions, select_own
from kdopt.analysis.results import Line
from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign
from kdopt.report.format import escape_partitions, format_points
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
    PlainFigure,
    arrange_panels,
    make_single_figure,
    round_values,
)
from kdopt.report.scales import (
    MARKER_SHARE,
    clip_far_points,
    make_colour_axis,
    spread_gains,
    spread_points,
)
from kdopt.report.sections.methods import draw_sums, make_distributions, sum_gains, widen_range
from kdopt.report.verdict_text import describe_advice, is_cell, read_advice
from kdopt.shown import format_setting

GROUPS = (
    ("cell", "Verdict: distil at this cell", "circle"),
    ("other", "Verdict: distil, other method or images", "diamond"),
    ("not", "Verdict: not to distil", "x"),
)
CELL_GAIN_TITLE = "Test gain of the best cell (pp)"
"""What the colour of every point is, whatever the verdict on its pair."""

STEPS = {"alpha": 0.02, "temperature": 0.035}
"""How far apart points are moved: alpha, and decades of T."""


def draw_alpha_map(best: pd.DataFrame, campaign: Campaign) -> PlainFigure:
    """Best alpha of each pair against its accuracy gap, coloured by test gain."""
    return _draw_setting_map(best, "alpha", "Best alpha (weight of the teacher)", campaign)


def draw_temperature_map(best: pd.DataFrame, campaign: Campaign) -> PlainFigure:
    """Best temperature (logarithmic axis) of each pair against its gap, coloured by test gain."""
    return _draw_setting_map(best, "temperature", "Best temperature T (log scale)", campaign)


def draw_gain_map(best: pd.DataFrame, campaign: Campaign) -> PlainFigure:
    """Test gain against accuracy gap: vanilla, tuned and its net gain over the control.

    The control and the oracle are off until asked for.
    """
    tuned = f"Tuned, {describe_selection(campaign)}"
    traces = [
        _scatter_gains(
            best, "vanilla_gain", f"Vanilla ({describe_vanilla(campaign)})", ORANGE, "circle", 9
        ),
        _scatter_gains(best, "test_gain", tuned, BLUE, "diamond", 7),
        _scatter_gains(best, "net_gain", "Tuned, net of the control", GREEN, "diamond-open", 11),
        _scatter_gains(best, "control_gain", "Control: no teacher", GREY, "square-open", 10),
        _scatter_gains(
            best, "oracle_gain", "Oracle (selected on test)", LIGHT_GREY, "circle-open", 12
        ),
    ]
    for trace in traces[-2:]:
        trace.visible = "legendonly"
    if best["control_gain"].isna().all():
        del traces[2:4]
    title = f"{GAIN_TITLE}{clip_far_points(traces)}"
    return _make_figure(traces, {"title": {"text": title}, "zeroline": True})


MAPS = {
    "alpha": ("Best alpha against the accuracy gap", draw_alpha_map),
    "temperature": ("Best temperature against the accuracy gap", draw_temperature_map),
    "gain": ("Gain against the accuracy gap", draw_gain_map),
}


def _make_setting_axis(
    key: str, best: pd.DataFrame, campaigns: Sequence[Campaign], nearest: float = 0.04
) -> dict[str, Any]:
    """The axis of a best setting, with the values of the grid as ticks.

    Args:
        key: ``alpha`` or ``temperature``.
        best: The best settings shown.
        campaigns: Those with the grids.
        nearest: How near two numbers may stand, as a share of the axis; others have a line only.
    """
    if key == "alpha":
        ticks = sorted({alpha for campaign in campaigns for alpha in campaign.tune.alphas})
        more: dict[str, Any] = {"range": [-0.08, 1.08]}
    else:
        ticks = sorted({t for campaign in campaigns for t in campaign.tune.temperatures})
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
    groups = pd.Series(_find_groups(best), index=best.index, dtype=object)
    for group, name, symbol in GROUPS:
        chosen = best[groups == group]
        if chosen.empty:
            continue
        marker = {
            "symbol": symbol,
            "size": size,
            "color": round_values(chosen["test_gain"]),
            "coloraxis": "coloraxis",
            "line": {"width": 1, "color": "#555555"},
        }
        trace = _scatter_pairs(chosen, "shown", name, marker, hover)
        traces.append(trace.update(legendgroup=name, showlegend=False))
    return traces


def _find_groups(best: pd.DataFrame) -> list[str]:
    """Whether the verdict on each pair is its best cell, another way to distil, or neither."""
    return [
        "not" if line["advice"] != "distil" else "cell" if is_cell(read_advice(line)) else "other"
        for line in best.to_dict("records")
    ]


def _make_legend(best: pd.DataFrame) -> list[go.Scatter]:
    groups = _find_groups(best)
    # Of their own: a key takes the colour of its first point, which may be as pale as the page.
    return [
        go.Scatter(
            mode="markers", name=name, legendgroup=name, x=[None], y=[None], hoverinfo="skip",
            marker={"symbol": symbol, "size": 10, "color": GREY},
        )
        for group, name, symbol in GROUPS
        if group in groups
    ]  # fmt: skip


def _draw_setting_map(best: pd.DataFrame, key: str, title: str, campaign: Campaign) -> PlainFigure:
    axis = {"title": {"text": title}, **_make_setting_axis(key, best, [campaign])}
    legend = _make_legend(_select_known(best, key))
    figure = _make_figure([*_scatter_settings(best, key, 10, hover=True), *legend], axis)
    figure["layout"]["coloraxis"] = make_colour_axis(
        _select_known(best, key)["test_gain"], CELL_GAIN_TITLE
    )
    return figure


class SheetRow(NamedTuple):
    """A partition of a campaign on a sheet.

    Attributes:
        title: Shown beside it; it may have tags, so names in it are escaped.
        best: The best settings of its pairs that have any.
        own: What every method gains on the student's own data.
    """

    title: str
    best: pd.DataFrame
    own: pd.DataFrame


def list_sheet_rows(best: pd.DataFrame, gains: pd.DataFrame, label: str = "") -> list[SheetRow]:
    """The partitions of a campaign.

    Args:
        best: The best settings of all pairs.
        gains: What every method gains on any transfer set.
        label: Of the campaign, where several are on the sheet.
    """
    known = best[best["temperature"].notna() & best["accuracy_gap"].notna()]
    titles = escape_partitions(best["partition"])
    own = select_own(gains)
    below = f"<br>{html.escape(label, quote=False)}" if label else ""
    return [
        SheetRow(
            f"{titles[name]}{below}",
            known[known["partition"] == name],
            own[own["partition"] == name],
        )
        for name in list_partitions(known)
    ]


def draw_sheet(sheet: Sequence[SheetRow], campaigns: Sequence[Campaign]) -> PlainFigure:
    """Fig. 3 on one sheet: partitions x best alpha, best temperature, sum and distribution.

    Args:
        sheet: The rows, in order; one or more.
        campaigns: Those that they are of.
    """
    known = pd.concat([row.best for row in sheet])
    panels = {}
    for number, row in enumerate(sheet):
        legend = _make_legend(known) if not number else []
        panels[number, 0] = Panel([*_scatter_settings(row.best, "alpha", 7, hover=False), *legend])
        panels[number, 1] = Panel(_scatter_settings(row.best, "temperature", 7, hover=False))
        if len(row.own):
            sums = {"range": widen_range(sum_gains(row.own))}
            panels[number, 2] = Panel([draw_sums(row.own)], y=sums)
            panels[number, 3] = make_distributions(row.own)
    settings = [
        {**_make_setting_axis(k, known, campaigns, nearest=0.08), "zeroline": False}
        for k in ("alpha", "temperature")
    ]
    axes = [
        Axis(GAP_AXIS, "Best alpha", {"zeroline": True}, settings[0]),
        Axis(GAP_AXIS, "Best T (log scale)", {"zeroline": True}, settings[1]),
        Axis("Method", "Sum of gains (pp)", {"type": "category"}, {"zeroline": True}),
        Axis(GAIN_AXIS, "Share of pairs", {"zeroline": True}, {"range": [0, 1.03]}),
    ]
    titles = ["Best alpha", "Best temperature", "Cumulative gain", "Distribution of gains"]
    rows = [row.title for row in sheet]
    figure = arrange_panels(rows, titles, panels, axes, share="nothing", row_height=230)
    figure["layout"]["coloraxis"] = make_colour_axis(known["test_gain"], CELL_GAIN_TITLE)
    return figure


def _scatter_gains(
    best: pd.DataFrame, key: str, name: str, colour: str, symbol: str, size: int
) -> go.Scatter:
    # Of different sizes, so that a point shows around another one at its place.
    marker = {"symbol": symbol, "size": size, "color": colour, "opacity": 0.85}
    known = _select_known(best, key)
    trace = _scatter_pairs(known, key, name, marker)
    return trace.update(x=round_values(spread_gains(trace.x, trace.y)))


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
        x=round_values(pairs["accuracy_gap"]),
        y=round_values(pairs[key]),
        marker=marker,
        customdata=[f"{partition}/{pair}" for partition, pair in labels],
        hovertext=_list_hover_texts(pairs) if hover else None,
        hoverinfo="text" if hover else "skip",
    )


def _list_hover_texts(pairs: pd.DataFrame) -> list[str]:
    return [
        f"{line['pair']}{_name_pair(line)}: gap {format_points(line['accuracy_gap'])} pp<br>"
        f"verdict: {describe_advice(line)}<br>"
        "best cell (the colour), on the student's own data: "
        f"T={format_setting(line['temperature'])}, alpha={format_setting(line['alpha'])}<br>"
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


def _name_pair(line: Line) -> str:
    named = "teacher_name" in line
    return f" ({line['teacher_name']} teaches {line['student_name']})" if named else ""


def _make_figure(traces: Sequence[go.Scatter], y_axis: dict[str, Any]) -> PlainFigure:
    x_axis = {"title": {"text": GAP_TITLE}, "zeroline": True, "automargin": True}
    return make_single_figure(traces, x_axis, {"zeroline": False} | y_axis, 460)


def add_labels(best: pd.DataFrame) -> pd.DataFrame:
    """The best-settings frame with the columns ``pair`` and ``cells`` that people read."""
    pairs = zip(best["teacher"], best["student"], strict=True)
    counts = zip(best["cells_done"], best["cells_failed"], best["cells_planned"], strict=True)
    cells = [f"{d}/{p}" + (f", {f} failed" if f else "") for d, f, p in counts]
    return best.assign(pair=[pair_label(int(t), int(s)) for t, s in pairs], cells=cells)
