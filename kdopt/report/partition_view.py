"""How images are shared out, as a picture: classes by participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdopt.errors import KdoptError

SHADES = " ░▒▓█"
ASCII_SHADES = " .:+#"


def print_counts(tables: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]) -> None:
    """Print one table per partition; the shade of a cell is its share of the largest cell.

    Args:
        tables: Per partition, images per (participant, class).
        class_names: In class order.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)  # a file or a pipe has no width to wrap at
    shades = SHADES if _can_show(console.encoding, SHADES) else ASCII_SHADES
    for name, counts in tables.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        table.add_column("class / participant", no_wrap=True)
        for participant in range(len(counts)):
            table.add_column(f"{participant} ", justify="right", no_wrap=True)
        table.add_column("all", justify="right", style="bold", no_wrap=True)
        top = max(1, int(counts.max()))
        for label, row in zip(class_names, counts.T, strict=True):
            cells = [Text(f"{n}{_shade(int(n) / top, shades)}") for n in row]
            table.add_row(label, *cells, str(int(row.sum())))
        sizes = [f"{int(n)} " for n in counts.sum(axis=1)]
        table.add_row("all", *sizes, str(int(counts.sum())), style="bold")
        console.print(table)
        console.print()


def _can_show(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _shade(share: float, shades: str) -> str:
    return shades[0] if share == 0 else shades[min(4, 1 + int(share * 4))]


def write_heat_maps(
    path: Path,
    campaign: str,
    tables: Mapping[str, NDArray[np.int64]],
    class_names: Sequence[str],
) -> None:
    """Write one self-contained HTML file with a heat map per partition.

    Raises:
        KdoptError: The file cannot be written.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=len(tables), cols=1, subplot_titles=list(tables), vertical_spacing=0.3 / len(tables)
    )
    top = max(1, *(int(counts.max()) for counts in tables.values()))
    for row, counts in enumerate(tables.values(), start=1):
        participants = [str(i) for i in range(len(counts))]
        heat = go.Heatmap(
            x=list(class_names),
            y=participants,
            z=counts.tolist(),
            text=counts.tolist(),
            texttemplate="%{text}",
            coloraxis="coloraxis",
            hovertemplate="participant %{y}, class %{x}: %{z} images<extra></extra>",
        )
        figure.add_trace(heat, row=row, col=1)
        figure.update_xaxes(title_text="Class", type="category", row=row, col=1)
        figure.update_yaxes(
            title_text="Participant", type="category", autorange="reversed", row=row, col=1
        )
    figure.update_layout(
        title=f"{campaign}: images per participant and class",
        height=120 + 330 * len(tables),
        coloraxis={
            "colorscale": "Cividis",
            "cmin": 0,
            "cmax": top,
            "colorbar": {"title": "Images"},
        },
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(figure.to_html(include_plotlyjs=True, full_html=True), encoding="utf-8")
    except OSError as error:
        raise KdoptError(
            f"{path}: cannot be written: {error.strerror}; give another --html"
        ) from error
