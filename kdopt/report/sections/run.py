"""What was run: data and sizes, participants, seeds, versions, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdopt.analysis.results import order_partitions
from kdopt.analysis.tables import Tables
from kdopt.campaign.settings import Campaign
from kdopt.errors import KdoptError
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, Column, Columns, PageFigure, ReportData, Section, make_tables
from kdopt.report.format import (
    escape_title,
    format_hours,
    name_classes,
)
from kdopt.report.plotting import BLUE, Axis, Panel, wrap_panels

MOST_NUMBERED = 12
"""Classes beyond which cells are too narrow for numbers."""


FAILURES_SHOWN = 50


def make_run_section(data: ReportData) -> Section:
    """The section on the run: facts, progress, participants, cost and settings."""
    failures = data.tables.failures
    values = {
        "facts": list_facts(data),
        "progress": data.tables.progress,
        "failures": failures[:FAILURES_SHOWN],
        "failures_left_out": max(0, len(failures) - FAILURES_SHOWN),
    }
    return Section(
        "run",
        "What was run",
        "",
        [
            Block(template="progress.html.j2", values=values),
            make_participants_block(data),
            make_cost_block(data.tables),
            Block(template="settings.html.j2", values={"settings": data.settings}),
        ],
    )


def list_facts(data: ReportData) -> dict[str, str]:
    """The run in a few lines: label to text."""
    campaign, images, n = data.campaign, data.campaign.data, data.campaign.participants
    train, test = (
        "all" if size is None else f"{size:,}" for size in (images.train_size, images.test_size)
    )
    complete = sum(row.state == "COMPLETE" for row in data.rows)
    hours = float(data.tables.costs["hours"].sum())
    found = {
        "Data": f"{images.name}: {train} training images, of which "
        f"{100 * images.validation_fraction:g} % for validation, and {test} test images",
        "Model": campaign.model,
        "Participants": f"{n}, and {n * (n - 1)} ordered pairs of them in each of "
        f"{len(campaign.partitions)} partition{'s' * (len(campaign.partitions) > 1)}",
        "Stages": ", ".join(("pretrain", *campaign.stages)),
        "Trials complete": f"{complete:,}, in {format_hours(hours)} of training",
        "Seed": f"{campaign.seed}; every other seed is hashed from it and from names",
        "Replicates": f"{campaign.replicates} of every cell",
    }
    if campaign.transfer.n_public:
        sizes = [
            f"{getattr(campaign.transfer, name):,} {name.removeprefix('public_').replace('_', ' ')}"
            for name in ("public_unlabeled_small", "public_unlabeled_large", "public_labeled")
        ]
        found["Public sets"] = f"{', '.join(sizes)} images, held out before partitioning"
    return found | list_environment(data.rows)


def list_environment(rows: Sequence[TrialRow]) -> dict[str, str]:
    """Where the complete trials ran: devices with precisions, and versions."""
    outcomes = [row.outcome for row in rows if row.outcome]
    if not outcomes:
        return {}
    ran_on = sorted({f"{o.device} ({o.precision})" for o in outcomes})
    versions = sorted({f"{key} {value}" for o in outcomes for key, value in o.versions.items()})
    found = {"Ran on": ", ".join(ran_on)}
    return {**found, "Versions": ", ".join(versions)} if versions else found


def make_cost_block(tables: Tables) -> Block:
    """Training time by stage; the time of a single trial as median and 95th percentile."""
    columns: Columns = [
        "stage",
        Column("trials", "Complete trials", str),
        *("hours", "median_seconds", "p95_seconds"),
    ]
    return Block(
        "What it cost",
        "Wall time within trials, summed over workers; waiting for a trial is not in it.",
        tables=make_tables("Cost by stage", columns, tables.costs),
        missing="" if len(tables.costs) else "No data yet: no trial is complete.",
    )


def make_participants_block(data: ReportData) -> Block:
    """Images and classes of every participant, and its accuracy before distillation."""
    frame, measured = data.tables.participants, data.measurements
    order = order_partitions(frame["partition"], data.campaign)
    frame = frame.iloc[frame["partition"].map(order.index).argsort(kind="stable")]
    counts = [
        _find_counts(measured.get(str(partition)), int(participant))
        for partition, participant in zip(frame["partition"], frame["participant"], strict=True)
    ]
    frame = frame.assign(
        validation_accuracy=100 * frame["validation_accuracy"],
        test_accuracy=100 * frame["test_accuracy"],
        images=[sum(c) if c else "" for c in counts],
        classes=[sum(n > 0 for n in c) if c else "" for c in counts],
    )
    columns: Columns = [
        *("partition", "participant"),
        *(("images", "classes") if measured else ()),
        *("validation_accuracy", "test_accuracy", "epochs", "best_epoch", "seconds"),
    ]
    missing = [] if len(frame) else ["No data yet: no participant is pre-trained."]
    if not measured:
        missing.append(
            "The store does not have the number of images per participant and class: run "
            "'kdopt features' to add it, or 'kdopt partitions SPEC' to print it."
        )
    return Block(
        "Participants",
        "Each is trained on its own share of the images before anything is distilled.",
        _draw_sizes(data.campaign, measured) if measured else None,
        make_tables("Participants before distillation", columns, frame),
        " ".join(missing),
    )


def _find_counts(measured: PartitionMeasurements | None, participant: int) -> Sequence[int]:
    """Images of one participant by class; nothing if they were not counted."""
    if measured is None or participant >= len(measured.label_counts):
        return ()
    return measured.label_counts[participant]


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
    return PageFigure("run-sizes", "images-per-participant", figure, data)


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
