"""How images are shared out, as a picture: classes by participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdopt.errors import KdoptError


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
