"""The saturation curve of ``bench.py workers``: trials a second done, beside those asked for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

INK, COLOURS = "#1f2328", ("#e8590c", "#1971c2", "#2f9e44", "#6e7781")


def draw_saturation(table: Path) -> go.Figure:
    """A line per length of trial; where it leaves the dotted diagonal, the store is the limit."""
    rows = pd.read_csv(table)
    figure = go.Figure()
    ends = [rows["asked/s"].min(), rows["asked/s"].max()]
    figure.add_trace(
        go.Scatter(
            x=ends,
            y=ends,
            mode="lines",
            name="a store that takes no time",
            line={"dash": "dot", "color": INK, "width": 1},
        )
    )
    for (seconds, mine), colour in zip(rows.groupby("trial s"), COLOURS, strict=False):
        figure.add_trace(
            go.Scatter(
                x=mine["asked/s"],
                y=mine["done/s"],
                mode="lines+markers+text",
                name=f"trials of {seconds:g} s",
                text=[f"{n:,}" for n in mine["workers"]],
                textposition="bottom right",
                line={"color": colour},
            )
        )
    figure.update_xaxes(title="trials a second that the workers ask for", type="log")
    figure.update_yaxes(title="trials a second done", type="log")
    figure.update_layout(
        template="plotly_white",
        font={"family": "Liberation Sans, Arial, sans-serif", "size": 12, "color": INK},
        margin={"l": 60, "r": 20, "t": 20, "b": 55},
        legend={"x": 0.02, "y": 0.98},
    )
    return figure
