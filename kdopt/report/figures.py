"""Figures of one partition, each from the small best-settings table (paper, Fig. 3).

A function returns a plotly figure as plain JSON values. Colours are Okabe and Ito's, which
colour-blind readers tell apart; the ink of axes and text is left to the page, which knows whether
it is shown light, dark or on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.settings import Campaign
from kdopt.report.tables import points, setting, with_labels

BLUE, ORANGE, GREY, VERMILLION = "#0072B2", "#E69F00", "#999999", "#D55E00"
INK = "#1b1b1b"
"""Marks in the colour of text; the page puts its own ink there when it is shown dark."""
# Losses vermillion, gains blue, nothing in between pale: the sign reads without the number.
DIVERGING = [[0.0, VERMILLION], [0.5, "#F2F2F2"], [1.0, BLUE]]
GAP_TITLE = "Accuracy gap: teacher - student (pp)"
GAIN_TITLE = "Accuracy gain on test (pp)"


def alpha_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best alpha of each pair against its accuracy gap, coloured by test gain."""
    axis = {
        "title": {"text": "Best alpha (weight of the teacher)"},
        "tickvals": list(campaign.tune.alphas),
        "ticktext": [setting(alpha) for alpha in campaign.tune.alphas],
        "range": [-0.05, 1.05],
    }
    return _setting_map(best, "alpha", axis)


def temperature_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Best temperature (logarithmic axis) of each pair against its gap, coloured by test gain."""
    shown = [*campaign.tune.temperatures, *best["temperature"].dropna()]
    axis = {
        "title": {"text": "Best temperature T (log scale)"},
        "type": "log",
        "tickfont": {"size": 10},
        "tickvals": list(campaign.tune.temperatures),
        "ticktext": [setting(t) for t in campaign.tune.temperatures],
        "range": [math.log10(min(shown)) - 0.08, math.log10(max(shown)) + 0.08],
    }
    return _setting_map(best, "temperature", axis)


def gain_map(best: pd.DataFrame, campaign: Campaign) -> dict[str, Any]:
    """Test gain against accuracy gap: vanilla, tuned and, off until asked for, the oracle."""
    tuned = f"Tuned, {describe_selection(campaign)}"
    traces = [
        _gains(best, "vanilla_gain", f"Vanilla ({describe_vanilla(campaign)})", ORANGE, "circle"),
        _gains(best, "test_gain", tuned, BLUE, "diamond"),
        _gains(best, "oracle_gain", "Oracle (selected on test)", GREY, "circle-open"),
    ]
    traces[-1].visible = "legendonly"
    return _figure(traces, {"title": {"text": GAIN_TITLE}, "zeroline": True})


def _setting_map(best: pd.DataFrame, key: str, axis: dict[str, Any]) -> dict[str, Any]:
    # Both groups share one symmetric scale, so that equal colours are equal gains.
    best = _known(best, key)
    limit = max([1.0, *best["test_gain"].abs()])
    groups = (("distil", "Distil", "circle"), ("do not distil", "Do not distil (guard)", "x"))
    traces = []
    for advice, name, symbol in groups:
        chosen = best[best["advice"] == advice]
        marker = {
            "symbol": symbol,
            "size": 10,
            "color": _numbers(chosen["test_gain"]),
            "colorscale": DIVERGING,
            "cmin": -limit,
            "cmax": limit,
            "line": {"width": 1, "color": "#555555"},
            "showscale": bool(advice == groups[0][0]),
            "colorbar": {"title": {"text": GAIN_TITLE, "side": "right"}, "thickness": 12},
        }
        traces.append(_scatter(chosen, key, name, marker))
    return _figure(traces, axis)


def _gains(best: pd.DataFrame, key: str, name: str, colour: str, symbol: str) -> go.Scatter:
    marker = {"symbol": symbol, "size": 8, "color": colour, "opacity": 0.85}
    return _scatter(_known(best, key), key, name, marker)


def _known(best: pd.DataFrame, key: str) -> pd.DataFrame:
    """The pairs that have a place in the figure: both participants and the cell are measured."""
    return best[best["accuracy_gap"].notna() & best[key].notna()]


def _scatter(pairs: pd.DataFrame, key: str, name: str, marker: dict[str, Any]) -> go.Scatter:
    labels = zip(pairs["partition"], with_labels(pairs)["pair"], strict=True)
    return go.Scatter(
        mode="markers",
        name=name,
        x=_numbers(pairs["accuracy_gap"]),
        y=_numbers(pairs[key]),
        marker=marker,
        customdata=[f"{partition}/{pair}" for partition, pair in labels],
        hovertext=_hover(pairs),
        hoverinfo="text",
    )


def _hover(pairs: pd.DataFrame) -> list[str]:
    return [
        f"{line['pair']}: gap {points(line['accuracy_gap'])} pp<br>"
        f"T={setting(line['temperature'])}, alpha={setting(line['alpha'])}: {line['advice']}<br>"
        f"test gain {points(line['test_gain'])} pp "
        f"(validation {points(line['validation_gain'])} pp)<br>"
        f"vanilla {points(line['vanilla_gain']) or 'not run'}, "
        f"oracle {points(line['oracle_gain'])} pp "
        f"at T={setting(line['oracle_temperature'])}, alpha={setting(line['oracle_alpha'])}"
        + ("" if line["complete"] else "<br>incomplete: " + line["cells"] + " cells")
        for line in with_labels(pairs).to_dict("records")
    ]


def _figure(traces: Sequence[go.Scatter], y_axis: dict[str, Any]) -> dict[str, Any]:
    layout = go.Layout(
        template="none",
        xaxis={"title": {"text": GAP_TITLE}, "zeroline": True, "automargin": True},
        yaxis={"zeroline": False, "automargin": True} | y_axis,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 10, "t": 50, "b": 50},
        height=460,
        hovermode="closest",
    )
    plain: dict[str, Any] = go.Figure(list(traces), layout).to_plotly_json()
    return plain


def _numbers(column: pd.Series[float]) -> list[float]:
    # Rounded: a hundredth of a pp is far below what a plot or a test set can resolve.
    return [round(float(value), 4) for value in column]
