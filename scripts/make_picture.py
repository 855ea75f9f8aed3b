"""Draw the picture of the README from the report of the quickstart.

    bash scripts/quickstart.sh
    python scripts/make_picture.py storage/reports/quickstart docs/assets/quickstart.png

Left: the test gain of one pair at every T and alpha. Right: what vanilla distillation and the
setting that validation chose gain in every pair. Needs kaleido and a Chrome or Chromium
(pip install 'kdopt[figures]').
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

PAIR = ("label_dirichlet", 1, 0)
INK, VANILLA, TUNED = "#1f2328", "#6e7781", "#e8590c"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="folder of the report")
    parser.add_argument("picture", type=Path, help="PNG, SVG or PDF to write")
    args = parser.parse_args()
    best = pd.read_csv(args.report / "best_settings.csv")
    trials = pd.read_csv(args.report / "trials.csv")
    draw_picture(best, trials).write_image(args.picture, width=1040, height=430, scale=1.5)
    print(args.picture)


def draw_picture(best: pd.DataFrame, trials: pd.DataFrame) -> go.Figure:
    partition, teacher, student = PAIR
    figure = make_subplots(
        cols=2,
        column_widths=[0.53, 0.47],
        horizontal_spacing=0.14,
        subplot_titles=[
            f"<b>One pair</b> ({partition}, {teacher} teaches {student}): test gain in pp",
            f"<b>All {len(best)} pairs</b>: vanilla beside the setting chosen on validation",
        ],
    )
    mine = best.set_index(["partition", "teacher", "student"]).loc[PAIR]
    add_surface(figure, trials, mine)
    add_pairs(figure, best)
    figure.update_layout(
        template="plotly_white",
        font={"family": "Liberation Sans, Arial, sans-serif", "size": 13, "color": INK},
        margin={"l": 60, "r": 20, "t": 50, "b": 95},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.22},
    )
    figure.update_annotations(font_size=14, selector={"showarrow": False, "yref": "paper"})
    return figure


def add_surface(figure: go.Figure, trials: pd.DataFrame, pair: pd.Series) -> None:
    partition, teacher, student = PAIR
    rows = trials[
        (trials["stage"] == "tune")
        & (trials["partition"] == partition)
        & (trials["teacher"] == teacher)
        & (trials["student"] == student)
    ]
    grid = rows.pivot_table(index="alpha", columns="temperature", values="test_gain_pp")
    temperatures, alphas = [f"{t:g}" for t in grid.columns], [f"{a:g}" for a in grid.index]
    bound = grid.abs().to_numpy().max()
    figure.add_trace(
        go.Heatmap(
            x=temperatures,
            y=alphas,
            z=grid.to_numpy(),
            zmin=-bound,
            zmax=bound,
            colorscale="RdBu",
            texttemplate="%{z:.0f}",
            textfont={"size": 12},
            showscale=False,
            xgap=1,
            ygap=1,
        ),
        row=1,
        col=1,
    )
    chosen = (f"{pair['temperature']:g}", f"{pair['alpha']:g}")
    for (x, y), colour in ((("1", "0.5"), VANILLA), (chosen, TUNED)):
        figure.add_trace(
            go.Scatter(
                x=[x],
                y=[y],
                mode="markers",
                marker={"symbol": "square-open", "size": 32, "color": colour, "line": {"width": 3}},
                showlegend=False,
            ),
            row=1,
            col=1,
        )
    figure.update_xaxes(title="temperature T", type="category", row=1, col=1)
    figure.update_yaxes(title="weight of the teacher, alpha", type="category", row=1, col=1)


def add_pairs(figure: go.Figure, best: pd.DataFrame) -> None:
    for _, line in best.iterrows():
        figure.add_trace(
            go.Scatter(
                x=[line["accuracy_gap_pp"]] * 2,
                y=[line["vanilla_gain_pp"], line["test_gain_pp"]],
                mode="lines",
                line={"color": "#d0d7de", "width": 1.5},
                showlegend=False,
            ),
            row=1,
            col=2,
        )
    shown = [
        ("vanilla_gain_pp", "vanilla (T = 1, alpha = 0.5)", VANILLA),
        ("test_gain_pp", "tuned: T and alpha chosen on validation", TUNED),
    ]
    for column, name, colour in shown:
        figure.add_trace(
            go.Scatter(
                x=best["accuracy_gap_pp"],
                y=best[column],
                mode="markers",
                name=name,
                marker={"color": colour, "size": 9},
            ),
            row=1,
            col=2,
        )
    figure.update_xaxes(title="teacher minus student accuracy (pp)", row=1, col=2)
    figure.update_yaxes(title="gain of the student on test (pp)", row=1, col=2)


if __name__ == "__main__":
    main()
