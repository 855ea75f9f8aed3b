"""Best settings: the maps of every partition (paper, Fig. 3) and the table of all pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    PageFigure,
    ReportData,
    Section,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.columns import COLUMNS, Column, Columns, IntervalColumn
from kdopt.report.format import (
    escape_latex,
    escape_markdown,
    format_frame,
    format_pipe_line,
    format_points,
    format_ratio,
    format_setting,
    format_title,
    make_slug,
)
from kdopt.report.plotting import (
    BLUE,
    DIVERGING,
    GAIN_TITLE,
    GAP_TITLE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    make_single_figure,
)

SETTING_COLUMNS = (
    "temperature",
    "alpha",
    "oracle_temperature",
    "oracle_alpha",
    "effective_kd_weight",
)
SEARCH_NOTES = {
    "grid": "The sequential search (every alpha at T = 1, then every T at the best alpha) is "
    "replayed on the complete grids, so it took no trials of its own.",
    "sequential": "The search was sequential: the grid was not run, so only its own trials are "
    "known.",
}
NUMBER_FORMATS = (format_points, format_ratio, format_setting)
"""Of the columns that end in line."""


def make_maps_section(data: ReportData) -> Section | None:
    """Three maps per partition with a result, and what is missing in the others."""
    if not data.has_tuning:
        return None
    best, campaign = data.best_settings, data.campaign
    names = list(dict.fromkeys(map(str, best["partition"])))
    blocks = [
        make_maps_block(number, name, best[best["partition"] == name], campaign)
        for number, name in enumerate(names)
    ]
    blocks.append(make_protocol_block(data.tables))
    files = {
        "best_settings.csv": format_best_csv(best),
        "best_settings.md": format_best_markdown(best, campaign),
        "best_settings.tex": format_best_latex(best, campaign),
    }
    return Section(
        "maps",
        "Best settings",
        "Fig. 3 of the paper: every point is a teacher-student pair at its best cell. Click a "
        "point to see the pair. Crosses are pairs not to distil: see the verdicts.",
        blocks,
        files=files,
    )


def make_maps_block(number: int, name: str, best: pd.DataFrame, campaign: Campaign) -> Block:
    """The maps of one partition.

    Args:
        number: Of the partition, from 0.
        name: Its name.
        best: The best settings of its pairs.
        campaign: What was planned.
    """
    known = best["accuracy_gap"].notna() & best["temperature"].notna()
    if not known.any():
        missing = "No data yet: no pair of this partition has a result; continue the campaign."
        return Block(format_title(name), missing=missing)
    waiting = int(best["temperature"].isna().sum())
    return Block(
        format_title(name),
        missing=f"{waiting} of {len(best)} pairs have no result yet." if waiting else "",
        small=[
            PageFigure(
                f"map-{number}-{key}",  # not the name: names in a spec are not ours to trust
                f"fig3-{number + 1}-{make_slug(name)}-{key}",
                draw(best, campaign),
                best,
                SETTING_COLUMNS,
                caption,
            )
            for key, (caption, draw) in MAPS.items()
        ],
    )


def make_protocol_block(tables: Tables) -> Block:
    """The full grid beside the sequential search: trials used and gain reached."""
    campaign, sampler = tables.campaign, tables.campaign.tune.sampler
    columns: Columns = [
        "partition",
        "protocol",
        Column("trials", "Trials per pair", lambda n: f"{n:.1f}".removesuffix(".0")),
        IntervalColumn(Column("test_gain", "Mean test gain (pp)")),
        "same_cell",
        "n",
    ]
    missing = ""
    if tables.protocols.empty:
        missing = explain_missing_stage(campaign, "tune")
        if "tune" in campaign.stages:
            missing = "No data yet: no pair's search is complete, or the grid has no T = 1."
    return Block(
        "Sequential search or full grid",
        SEARCH_NOTES.get(sampler, f"The sampler was {sampler}: only its own trials are known."),
        tables=make_tables("Trials used and gain reached", columns, tables.protocols),
        missing=missing,
    )


def draw_alpha_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best alpha of each pair against its accuracy gap, coloured by test gain."""
    axis = {
        "title": {"text": "Best alpha (weight of the teacher)"},
        "tickvals": list(campaign.tune.alphas),
        "ticktext": [format_setting(alpha) for alpha in campaign.tune.alphas],
        "range": [-0.05, 1.05],
    }
    return _draw_setting_map(best, "alpha", axis)


def draw_temperature_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best temperature (logarithmic axis) of each pair against its gap, coloured by test gain."""
    shown = [*campaign.tune.temperatures, *best["temperature"].dropna()]
    axis = {
        "title": {"text": "Best temperature T (log scale)"},
        "type": "log",
        "tickfont": {"size": 10},
        "tickvals": list(campaign.tune.temperatures),
        "ticktext": [format_setting(t) for t in campaign.tune.temperatures],
        "range": [math.log10(min(shown)) - 0.08, math.log10(max(shown)) + 0.08],
    }
    return _draw_setting_map(best, "temperature", axis)


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


def _draw_setting_map(best: pd.DataFrame, key: str, axis: dict[str, Any]) -> dict[str, Any]:
    # Both groups share one symmetric scale, so that equal colours are equal gains.
    best = _select_known(best, key)
    limit = max([1.0, *best["test_gain"].abs()])
    groups = (("distil", "Distil", "circle"), ("other", "Not to distil", "x"))
    traces = []
    for advice, name, symbol in groups:
        chosen = best[(best["advice"] == "distil") == (advice == "distil")]
        marker = {
            "symbol": symbol,
            "size": 10,
            "color": _round_column(chosen["test_gain"]),
            "colorscale": DIVERGING,
            "cmin": -limit,
            "cmax": limit,
            "line": {"width": 1, "color": "#555555"},
            "showscale": bool(advice == groups[0][0]),
            "colorbar": {"title": {"text": GAIN_TITLE, "side": "right"}, "thickness": 12},
        }
        traces.append(_scatter_pairs(chosen, key, name, marker))
    return _make_figure(traces, axis)


def _scatter_gains(best: pd.DataFrame, key: str, name: str, colour: str, symbol: str) -> go.Scatter:
    marker = {"symbol": symbol, "size": 8, "color": colour, "opacity": 0.85}
    return _scatter_pairs(_select_known(best, key), key, name, marker)


def _select_known(best: pd.DataFrame, key: str) -> pd.DataFrame:
    """The pairs that have a place in the figure: both participants and the cell are measured."""
    return best[best["accuracy_gap"].notna() & best[key].notna()]


def _scatter_pairs(pairs: pd.DataFrame, key: str, name: str, marker: dict[str, Any]) -> go.Scatter:
    labels = zip(pairs["partition"], add_labels(pairs)["pair"], strict=True)
    return go.Scatter(
        mode="markers",
        name=name,
        x=_round_column(pairs["accuracy_gap"]),
        y=_round_column(pairs[key]),
        marker=marker,
        customdata=[f"{partition}/{pair}" for partition, pair in labels],
        hovertext=_list_hover_texts(pairs),
        hoverinfo="text",
    )


def _list_hover_texts(pairs: pd.DataFrame) -> list[str]:
    return [
        f"{line['pair']}: gap {format_points(line['accuracy_gap'])} pp<br>"
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


def _make_figure(traces: Sequence[go.Scatter], y_axis: dict[str, Any]) -> dict[str, Any]:
    x_axis = {"title": {"text": GAP_TITLE}, "zeroline": True, "automargin": True}
    return make_single_figure(traces, x_axis, {"zeroline": False} | y_axis, 460)


def _round_column(column: pd.Series[float]) -> list[float]:
    # Rounded: a hundredth of a pp is far below what a plot or a test set can resolve.
    return [round(float(value), 4) for value in column]


def list_columns(best: pd.DataFrame) -> list[Column]:
    """The columns people read; the CSV file has all columns of the frame.

    The spread over replicates is shown where some cell has more than one.
    """
    spread = ["test_gain_sd"] if (best["replicates"] > 1).any() else []
    keys = [
        *("pair", "accuracy_gap", "temperature", "alpha", "effective_kd_weight"),
        *("validation_gain", "test_gain"),
        *spread,
        *("control_gain", "net_gain", "vanilla_gain"),
        *("oracle_temperature", "oracle_alpha", "oracle_gain"),
        *("advice", "advised_gain", "cells"),
    ]
    return [COLUMNS[key] for key in keys]


def add_labels(best: pd.DataFrame) -> pd.DataFrame:
    """The best-settings frame with the columns ``pair`` and ``cells`` that people read."""
    pairs = zip(best["teacher"], best["student"], strict=True)
    counts = zip(best["cells_done"], best["cells_failed"], best["cells_planned"], strict=True)
    cells = [f"{d}/{p}" + (f", {f} failed" if f else "") for d, f, p in counts]
    return best.assign(pair=[pair_label(int(t), int(s)) for t, s in pairs], cells=cells)


def format_best_csv(best: pd.DataFrame) -> str:
    """All columns of the best-settings table as CSV."""
    return format_frame(best, SETTING_COLUMNS)


def format_best_markdown(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a Markdown pipe table under a sentence on what it holds."""
    shown = [Column("partition", "Partition", str), *list_columns(best)]
    lines = [
        format_pipe_line(column.heading for column in shown),
        format_pipe_line("---:" if column.show in NUMBER_FORMATS else "---" for column in shown),
        *(format_pipe_line(cells) for cells in _format_cells(best, shown)),
    ]
    return "\n".join([escape_markdown(describe_best_settings(best, campaign)), "", *lines]) + "\n"


def format_best_latex(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a LaTeX longtable with booktabs rules, ready to paste."""
    hidden = {"effective_kd_weight", "oracle_temperature", "oracle_alpha", "cells"}
    shown = [
        Column("partition", "Partition", str),
        *(column for column in list_columns(best) if column.key not in hidden),
    ]
    align = "".join("r" if column.show in NUMBER_FORMATS else "l" for column in shown)
    math_names = {"T": "$T$", "alpha": r"$\alpha$"}
    head = " & ".join(math_names.get(c.heading, escape_latex(c.heading)) for c in shown) + r" \\"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{align}}}",
            rf"\caption{{{escape_latex(describe_best_settings(best, campaign))}}} \\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *(
                " & ".join(map(escape_latex, cells)) + r" \\"
                for cells in _format_cells(best, shown)
            ),
            r"\end{longtable}",
            r"\endgroup",
            "",
        ]
    )


def describe_best_settings(best: pd.DataFrame, campaign: Campaign) -> str:
    """What the best-settings table holds, how its cells were chosen, and what it lacks."""
    missing = int((~best["complete"].astype(bool)).sum())
    unfinished = f" Not final: {missing} of {len(best)} pairs are incomplete." if missing else ""
    return (
        f"Best temperature and alpha of every teacher-student pair of campaign {campaign.name}, "
        f"{describe_selection(campaign)}; gains in percentage points; "
        f"vanilla is {describe_vanilla(campaign)}; the oracle is selected on test.{unfinished}"
    )


def _format_cells(best: pd.DataFrame, shown: Sequence[Column]) -> list[list[str]]:
    lines = add_labels(best).to_dict("records")
    return [[column.show(line[column.key]) for column in shown] for line in lines]
