"""What was run: data and sizes, participants, seeds, versions, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdopt.analysis.results import order_partitions, tabulate_participants
from kdopt.campaign.settings import Campaign
from kdopt.errors import KdoptError
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, Column, PageFigure, make_tables
from kdopt.report.format import (
    escape_title,
    format_hours,
    format_points,
    format_title,
    name_classes,
)
from kdopt.report.plotting import BLUE, Axis, Panel, wrap_panels

SIZES_ID = "run-sizes"


MOST_NUMBERED = 12
"""Classes beyond which cells are too narrow for numbers."""


def list_facts(campaign: Campaign, rows: Sequence[TrialRow], cost: pd.DataFrame) -> dict[str, str]:
    """The run in a few lines: label to text."""
    data, n = campaign.data, campaign.participants
    train, test = (
        "all" if size is None else f"{size:,}" for size in (data.train_size, data.test_size)
    )
    complete = sum(row.state == "COMPLETE" for row in rows)
    found = {
        "Data": f"{data.name}: {train} training images, of which "
        f"{100 * data.validation_fraction:g} % for validation, and {test} test images",
        "Model": campaign.model,
        "Participants": f"{n}, and {n * (n - 1)} ordered pairs of them in each of "
        f"{len(campaign.partitions)} partition{'s' * (len(campaign.partitions) > 1)}",
        "Stages": ", ".join(("pretrain", *campaign.stages)),
        "Trials complete": f"{complete:,}, in {format_hours(float(cost['hours'].sum()))} "
        "of training",
        "Seed": f"{campaign.seed}; every other seed is hashed from it and from names",
        "Replicates": f"{campaign.replicates} of every cell",
    }
    if campaign.transfer.n_public:
        sizes = [
            f"{getattr(campaign.transfer, name):,} {name.removeprefix('public_').replace('_', ' ')}"
            for name in ("public_unlabeled_small", "public_unlabeled_large", "public_labeled")
        ]
        found["Public sets"] = f"{', '.join(sizes)} images, taken out before the partitions"
    return found | list_environment(rows)


def list_environment(rows: Sequence[TrialRow]) -> dict[str, str]:
    """Where the complete trials ran: devices with precisions, and versions."""
    outcomes = [row.outcome for row in rows if row.outcome]
    if not outcomes:
        return {}
    ran_on = sorted({f"{o.device} ({o.precision})" for o in outcomes})
    versions = sorted({f"{key} {value}" for o in outcomes for key, value in o.versions.items()})
    found = {"Ran on": ", ".join(ran_on)}
    return {**found, "Versions": ", ".join(versions)} if versions else found


def make_cost_block(cost: pd.DataFrame) -> Block:
    """Training time by stage; the time of a single trial as median and 95th percentile."""
    headings = [
        Column("stage", "Stage", str),
        Column("trials", "Complete trials", str),
        Column("hours", "Training time (h)", lambda h: f"{h:.3f}"),
        Column("median_seconds", "Median of a trial (s)"),
        Column("p95_seconds", "95th percentile (s)"),
    ]
    return Block(
        "What it cost",
        "Wall time within trials, summed over workers; waiting and claiming are not in it.",
        tables=make_tables("Cost by stage", headings, cost),
        missing="" if len(cost) else "No data yet: no trial is complete.",
    )


def make_participants_block(
    campaign: Campaign, rows: Sequence[TrialRow], measurements: Mapping[str, PartitionMeasurements]
) -> tuple[Block, dict[str, PageFigure]]:
    """Who has how many images of which class, and how well that trains."""
    frame = tabulate_participants(rows)
    order = order_partitions(frame["partition"], campaign)
    frame = frame.iloc[frame["partition"].map(order.index).argsort(kind="stable")]
    counts = {
        (name, participant): np.array(known.label_counts[participant])
        for name, known in measurements.items()
        for participant in range(len(known.label_counts))
    }
    frame = frame.assign(
        validation_accuracy=100 * frame["validation_accuracy"],
        test_accuracy=100 * frame["test_accuracy"],
        images=[_count_images(counts, p, i) for p, i in _list_participants(frame)],
        classes=[_count_classes(counts, p, i) for p, i in _list_participants(frame)],
    )
    sized = [
        Column("images", "Training images", str),
        Column("classes", "Classes among them", str),
    ]
    headings = [
        Column("partition", "Partition", format_title),
        Column("participant", "Participant", str),
        *(sized if counts else []),
        Column("validation_accuracy", "Validation accuracy (%)"),
        Column("test_accuracy", "Test accuracy (%)"),
        Column("epochs", "Epochs", str),
        Column("best_epoch", "Best epoch", str),
        Column("seconds", "Training time (s)", format_points),
    ]
    missing = [] if len(frame) else ["No data yet: no participant is pre-trained."]
    if not counts:
        missing.append(
            "How many images of which class each participant has is not in the store: "
            "'kdopt features' puts it there, 'kdopt partitions SPEC' prints it."
        )
    drawn = {SIZES_ID: _draw_sizes(campaign, measurements)} if counts else {}
    block = Block(
        "Participants",
        "Each is trained on its own share of the images before anything is distilled.",
        SIZES_ID if counts else "",
        make_tables("Participants before distillation", headings, frame),
        " ".join(missing),
    )
    return block, drawn


def _draw_sizes(
    campaign: Campaign, measurements: Mapping[str, PartitionMeasurements]
) -> PageFigure:
    """Images by participant and class, a panel per partition; colours share one scale."""
    order = order_partitions(measurements, campaign)
    names = name_classes(campaign.data, len(measurements[order[0]].label_counts[0]))
    top = max(max(map(max, measurements[name].label_counts)) for name in order)
    panels: list[Panel] = []
    lines: list[tuple[str, int, str, int]] = []
    for name in order:
        counts = measurements[name].label_counts
        who = [str(participant) for participant in range(len(counts))]
        heat = go.Heatmap(
            x=names, y=who, z=[list(row) for row in counts], name="images",
            zmin=0, zmax=top, colorscale=[[0, "#F2F2F2"], [1, BLUE]], xgap=1, ygap=1,
            showlegend=False, texttemplate="%{z}" if len(names) <= MOST_NUMBERED else None,
            showscale=not panels, colorbar={"title": {"text": "Images"}, "thickness": 12},
            hovertemplate="participant %{y}, %{x}: %{z} images<extra></extra>",
        )  # fmt: skip
        panels.append(Panel([heat], title=escape_title(name)))
        lines += [
            (name, participant, label, number)
            for participant, row in enumerate(counts)
            for label, number in zip(names, row, strict=True)
        ]
    axis = Axis(
        "Class",
        "Participant",
        {"type": "category", "showgrid": False, "tickangle": -45},
        {"type": "category", "showgrid": False, "autorange": "reversed"},
    )
    height = 90 + 14 * max(len(measurements[name].label_counts) for name in order)
    figure = wrap_panels(panels, axis, row_height=height)
    data = pd.DataFrame(lines, columns=["partition", "participant", "class", "images"])
    return PageFigure("images-per-participant", figure, data)


def _list_participants(frame: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(p), int(i)) for p, i in zip(frame["partition"], frame["participant"], strict=True)]


def _count_images(
    counts: Mapping[tuple[str, int], Any], partition: str, participant: int
) -> int | str:
    found = counts.get((partition, participant))
    return "" if found is None else int(found.sum())


def _count_classes(
    counts: Mapping[tuple[str, int], Any], partition: str, participant: int
) -> int | str:
    found = counts.get((partition, participant))
    return "" if found is None else int((found > 0).sum())


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
