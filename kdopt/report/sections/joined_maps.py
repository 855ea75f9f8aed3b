"""Best settings of campaigns side by side: their maps in one figure, and all on one sheet."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.agreement import ComparedCampaign, ComparisonTables
from kdopt.report.blocks import Block, PageFigure, Section, make_tables
from kdopt.report.columns import Column, Columns
from kdopt.report.format import format_frame, format_points, format_ratio
from kdopt.report.plotting import (
    BLUE,
    GAIN_TITLE,
    GAP_TITLE,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILLION,
    Axis,
    Panel,
    PlainFigure,
    arrange_panels,
)
from kdopt.report.scales import clip_far_points
from kdopt.report.sections.best_settings import SETTING_COLUMNS
from kdopt.report.setting_maps import add_labels, draw_sheet, list_sheet_rows
from kdopt.shown import format_count, format_setting

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
JOINED_MAPS = {
    "alpha": "Best alpha (weight of the teacher)",
    "temperature": "Best temperature T",
    "effective_kd_weight": "KD weight over label weight",
    "test_gain": GAIN_TITLE,
}
LOGARITHMIC = ("temperature", "effective_kd_weight")


def make_joined_maps_section(tables: ComparisonTables) -> Section:
    """The optimal-setting maps of all campaigns in one figure."""
    best = tables.best_settings
    known = best[best["accuracy_gap"].notna() & best["temperature"].notna()]
    text = format_frame(best, SETTING_COLUMNS)
    note = (
        "Fig. 3 of the paper for all campaigns at once: every point is a teacher-student pair at "
        "its best setting. Click a name below a heading to hide its campaign."
    )
    if known.empty:
        block = Block(missing="No data yet: no pair has a best setting.")
    else:
        partitions = list(dict.fromkeys(map(str, known["partition"])))
        columns: Columns = [
            Column("campaign", "Campaign", str),
            *("partition", "pair", "accuracy_gap", "temperature", "alpha", "effective_kd_weight"),
            *("test_gain", "control_gain", "net_gain", "advice"),
        ]
        block = Block(
            note="Without T squared in the loss the same T and alpha weigh the teacher otherwise: "
            "compare the KD weight, which is alpha * T^2 / (1 - alpha) with T squared and "
            "alpha / (1 - alpha) without.",
            figure=PageFigure(
                "joined-maps",
                "joined-maps",
                draw_joined_maps(known, tables.campaigns),
                known,
                SETTING_COLUMNS,
            ),
            parts=partitions if len(partitions) > 1 else (),
            tables=make_tables(
                f"Best settings of {format_count(len(known), 'pair')}", columns, add_labels(known)
            ),
        )
    blocks = [block, *make_common_sheet_blocks(tables)]
    return Section("maps", "Best settings", note, blocks, files={"best_settings.csv": text})


def make_common_sheet_blocks(tables: ComparisonTables) -> list[Block]:
    """Fig. 3 of every campaign on one sheet, if there is any; Fig. 4 is CINIC-10's."""
    sheet = [
        (row.best["partition"].iloc[0], row)
        for c in tables.campaigns
        for row in list_sheet_rows(c.tables.measured_settings, c.tables.method_gains, c.label)
    ]
    if not sheet:
        return []
    # A partition's campaigns stand below each other.
    order = list(dict.fromkeys(partition for partition, _ in sheet))
    rows = [row for _, row in sorted(sheet, key=lambda one: order.index(one[0]))]
    drawn = draw_sheet(rows, [c.tables.campaign for c in tables.campaigns])
    data = tables.best_settings
    figure = PageFigure("maps-sheet", "fig3-fig4", drawn, data, SETTING_COLUMNS)
    note = (
        "Fig. 3 and Fig. 4 of the paper on one sheet: best alpha and best temperature of every "
        "pair, and the sums and distributions of gains by method on the student's own data."
    )
    return [Block("All campaigns on one sheet", note, figure, folded=True)]


def draw_joined_maps(known: pd.DataFrame, campaigns: Sequence[ComparedCampaign]) -> PlainFigure:
    """Best alpha, T, KD weight and gain against the gap; a colour and a symbol per campaign.

    Args:
        known: Best settings with a column ``campaign``, of pairs with a result.
        campaigns: In order.
    """
    tunes = [campaign.tables.campaign.tune for campaign in campaigns]
    ticks = {
        "temperature": sorted({t for tune in tunes for t in tune.temperatures}),
        "alpha": sorted({a for tune in tunes for a in tune.alphas}),
    }
    labels = [campaign.label for campaign in campaigns]
    panels = {}
    for number, (key, title) in enumerate(JOINED_MAPS.items()):
        axis: dict[str, object] = {"type": "log", "dtick": 1} if key in LOGARITHMIC else {}
        if key in ticks:
            axis |= {"tickvals": ticks[key], "ticktext": [format_setting(v) for v in ticks[key]]}
        traces = _list_traces(known, labels, key)
        clipped = clip_far_points(traces) if key == "test_gain" else ""
        panels[divmod(number, 2)] = Panel(traces, title=f"{title}{clipped}", y=axis)
    axes = [Axis(GAP_TITLE, "", {"zeroline": True}, {"zeroline": False})] * 2
    return arrange_panels(["", ""], ["", ""], panels, axes, share="nothing", row_height=330)


def _list_traces(known: pd.DataFrame, labels: Sequence[str], key: str) -> list[go.Scatter]:
    values = known[key].to_numpy(dtype=np.float64)
    # A logarithmic axis has no place for a teacher without weight, nor for labels without any.
    shown = known[np.isfinite(values) & ((values > 0) | (key not in LOGARITHMIC))]
    traces = []
    # Later ones are smaller: campaigns on the same images have points at the same place.
    for number, label in enumerate(labels):
        own = shown[shown["campaign"] == label]
        for partition, pairs in own.groupby("partition", sort=False):
            traces.append(
                go.Scatter(
                    mode="markers",
                    name=html.escape(label, quote=False),
                    legendgroup=html.escape(label, quote=False),
                    meta=str(partition),
                    x=[round(float(v), 4) for v in pairs["accuracy_gap"]],
                    y=[round(float(v), 4) for v in pairs[key]],
                    marker={
                        "symbol": SYMBOLS[number % len(SYMBOLS)],
                        "color": COLOURS[number % len(COLOURS)],
                        "size": max(6, 14 - 3 * number),
                        "line": {"width": 1, "color": "#f2f2f2"},
                    },
                    hovertext=_list_hover_texts(pairs),
                    hoverinfo="text",
                )
            )
    return traces


def _list_hover_texts(pairs: pd.DataFrame) -> list[str]:
    return [
        html.escape(f"{line['campaign']}: {line['partition']}/{line['pair']}", quote=False)
        + f"<br>gap {format_points(line['accuracy_gap'])} pp<br>"
        f"T={format_setting(line['temperature'])}, alpha={format_setting(line['alpha'])}, "
        f"KD weight {format_ratio(line['effective_kd_weight'])}<br>"
        f"test gain {format_points(line['test_gain'])} pp, "
        f"control {format_points(line['control_gain']) or 'not run'}<br>{line['advice']}"
        for line in add_labels(pairs).to_dict("records")
    ]
