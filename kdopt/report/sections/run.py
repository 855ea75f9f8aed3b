"""What was run: data and sizes, participants, seeds, versions, and what it cost."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.results import order_partitions
from kdopt.analysis.tables import Tables
from kdopt.campaign.record import CodeSource
from kdopt.campaign.settings import Campaign, LaterStageName
from kdopt.errors import KdoptError
from kdopt.features.measurements import PartitionMeasurements
from kdopt.files import write_whole
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, PageFigure, ReportData, Section, make_tables
from kdopt.report.columns import Column, Columns
from kdopt.report.files import is_own_page
from kdopt.report.format import escape_partitions, format_hours, name_classes
from kdopt.report.plotting import NUMBER_INK, UNDER_NUMBERS, Axis, Panel, PlainFigure, wrap_panels
from kdopt.shown import format_count

MOST_NUMBERED = 12
"""Classes beyond which cells are too narrow for numbers."""

FAILURES_SHOWN = 50

PAGE_MARK = b"<!-- kdopt partitions -->"
"""How a page of heat maps begins."""


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
            make_noise_block(data.tables),
            Block(template="settings.html.j2", values={"settings": data.settings}),
        ],
    )


def _describe_models(campaign: Campaign) -> str:
    """The one model of all, or who has which."""
    found: dict[str, list[int]] = {}
    for kind, who in campaign.architectures.items():
        found.setdefault(kind.model, []).extend(who)
    if given := [i for i in range(campaign.participants) if campaign.is_given_by_logits(i)]:
        found["given by logits"] = given
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(
        f"{model} ({', '.join(map(campaign.name_participant, who))})"
        for model, who in found.items()
    )


def list_facts(data: ReportData) -> dict[str, str]:
    """The run in a few lines: label to text."""
    campaign, images, n = data.campaign, data.campaign.data, data.campaign.participants
    train, test = (
        "all" if size is None else f"{size:,}" for size in (images.train_size, images.test_size)
    )
    complete = sum(row.state == "COMPLETE" for row in data.rows)
    hours = float(data.tables.costs["hours"].sum())
    share = f"{100 * images.validation_fraction:g} % for validation"
    if images.may_have_validation:
        share += " unless they have such a split"
    found = {
        "Data": f"{images.name}: {train} training {images.noun}, of which {share}, and {test} test "
        f"{images.noun}",
        "Model": _describe_models(campaign),
        "Participants": f"{n}, and {format_count(len(campaign.pairs), 'ordered pair')} of them in "
        f"each of {format_count(len(campaign.partitions), 'partition')}",
        "Stages": ", ".join(campaign.all_stages),
        **_describe_left_out(campaign),
        "Trials complete": f"{complete:,}, in {format_hours(hours)} of training",
        "Seed": f"{campaign.seed}; every other seed is hashed from it and from names",
        "Replicates": f"{campaign.replicates} of every cell",
    }
    if campaign.transfer.n_public:
        sizes = [
            f"{getattr(campaign.transfer, name):,} {name.removeprefix('public_').replace('_', ' ')}"
            for name in ("public_unlabeled_small", "public_unlabeled_large", "public_labeled")
        ]
        origin = "held out before partitioning"
        if campaign.transfer.public_data is not None:
            origin = "of a set without labels that nobody trains on"
        found["Public sets"] = f"{', '.join(sizes)} {images.noun}, {origin}"
    return found | _list_code(data.code) | list_environment(data.rows)


def _list_code(code: Mapping[str, CodeSource]) -> dict[str, str]:
    """Plugin files and packages, each with what is used of it."""
    uses: dict[CodeSource, list[str]] = {}
    for use, source in code.items():
        uses.setdefault(source, []).append(use)
    found = [
        f"{' '.join(filter(None, (s.name, s.version)))}, sha256 {s.sha256[:12]} "
        f"({', '.join(sorted(names))})"
        for s, names in uses.items()
    ]
    return {"Code of others": "; ".join(found)} if found else {}


def _describe_left_out(campaign: Campaign) -> dict[str, str]:
    """The stages that have no section on the page, and how to get them."""
    left_out = [f'"{stage}"' for stage in get_args(LaterStageName) if stage not in campaign.stages]
    if not left_out:
        return {}
    return {"Not asked for": f"{', '.join(left_out)}: add to stages and run again"}


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
        Column("trials", "Complete trials", "{:,}".format),
        *("hours", "median_seconds", "p95_seconds"),
    ]
    return Block(
        "What it cost",
        "Wall time within trials, summed over workers; waiting for a trial is not in it.",
        tables=make_tables("Cost by stage", columns, tables.costs),
        missing="" if len(tables.costs) else "No data yet: no trial is complete.",
    )


def make_noise_block(tables: Tables) -> Block:
    """How much results vary between replicates of the same cell, in pp."""
    missing = ""
    if tables.noise.empty:
        missing = (
            "Unknown: every cell ran once. Set replicates = 3 and run again."
            if tables.campaign.replicates == 1
            else "No data: no cell has two complete replicates. (Federated runs are not counted: "
            "their replicates differ in their initial models.)"
        )
    columns: Columns = ["stage", "partition", "sd", "cells", "trials"]
    return Block(
        "Noise floor",
        "Standard deviation of the test gain over replicates of the same cell, pooled over cells: "
        "the noise of training alone. Differences of single pairs below it mean nothing.",
        tables=make_tables("Noise floor", columns, tables.noise),
        missing=missing,
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
        *(("participant_name",) if data.campaign.participant else ()),
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
        _describe_origin(data.campaign),
        _make_sizes_figure(data) if measured else None,
        make_tables("Participants before distillation", columns, frame),
        " ".join(missing),
    )


def _describe_origin(campaign: Campaign) -> str:
    """Where participants' models are from, before anything is distilled."""
    own = "Each is trained on its own share of the images before anything is distilled"
    found = {
        "with weights of its own": [row.name for row in campaign.participant if row.weights],
        "given by its logits": [row.name for row in campaign.participant if row.logits],
    }
    said = [f"{', '.join(names)}, {how}" for how, names in found.items() if names]
    return f"{own}; not so {'; '.join(said)}." if said else f"{own}."


def _find_counts(measured: PartitionMeasurements | None, participant: int) -> Sequence[int]:
    """Images of one participant by class; nothing if they were not counted."""
    if measured is None or participant >= len(measured.label_counts):
        return ()
    return measured.label_counts[participant]


def _make_sizes_figure(data: ReportData) -> PageFigure:
    measured = data.measurements
    counts = {
        name: measured[name].label_counts for name in order_partitions(measured, data.campaign)
    }
    first = next(iter(counts.values()))
    class_names = name_classes(data.campaign.data, len(first[0]), data.class_names)
    lines = [
        (name, participant, label, number)
        for name, table in counts.items()
        for participant, row in enumerate(table)
        for label, number in zip(class_names, row, strict=True)
    ]
    numbers = pd.DataFrame(lines, columns=["partition", "participant", "class", "images"])
    who = list(map(data.campaign.name_participant, range(data.campaign.participants)))
    figure = draw_sizes(counts, class_names, who)
    return PageFigure("run-sizes", "images-per-participant", figure, numbers)


def draw_sizes(
    counts: Mapping[str, Sequence[Sequence[int]]],
    class_names: Sequence[str],
    participants: Sequence[str],
) -> PlainFigure:
    """Images by participant and class, a panel per partition; colours share one scale.

    Args:
        counts: By partition, images per (participant, class).
        class_names: In class order.
        participants: What they are called, by number.
    """
    top = max(max(map(max, table)) for table in counts.values())
    panels: list[Panel] = []
    titles = escape_partitions(counts)
    for name, table in counts.items():
        heat = go.Heatmap(
            x=[html.escape(name, quote=False) for name in class_names],
            y=[html.escape(participants[number], quote=False) for number in range(len(table))],
            z=[list(row) for row in table], name="images",
            zmin=0, zmax=top, colorscale=[[0, "#F2F2F2"], [1, UNDER_NUMBERS]], xgap=1, ygap=1,
            showlegend=False, texttemplate="%{z}" if len(class_names) <= MOST_NUMBERED else None,
            textfont={"size": 10, "color": NUMBER_INK},
            showscale=not panels, colorbar={"title": {"text": "Images"}, "thickness": 12},
            hovertemplate="participant %{y}, %{x}: %{z} images<extra></extra>",
        )  # fmt: skip
        panels.append(Panel([heat], title=titles[name]))
    axis = Axis(
        "Class",
        "Participant",
        {"type": "category", "showgrid": False, "tickangle": -45},
        {"type": "category", "showgrid": False, "autorange": "reversed"},
    )
    return wrap_panels(panels, axis, row_height=90 + 14 * max(map(len, counts.values())))


def write_heat_maps(
    path: Path,
    campaign: str,
    counts: Mapping[str, Sequence[Sequence[int]]],
    class_names: Sequence[str],
    participants: Sequence[str],
) -> None:
    """Write one self-contained HTML file with a heat map per partition.

    Args:
        path: Of the file.
        campaign: Its name, for the title.
        counts: By partition, images per (participant, class).
        class_names: In class order.
        participants: What they are called, by number.

    Raises:
        KdoptError: The file cannot be written, or there is another one that kdopt did not write.
    """
    if os.path.lexists(path) and not is_own_page(path, PAGE_MARK):
        raise KdoptError(
            f"{path}: is there already and is no page of kdopt; give another --html, or remove it"
        )
    figure = go.Figure(draw_sizes(counts, class_names, participants))
    figure.update_layout(title=f"{campaign}: images per participant and class")
    try:
        page = figure.to_html(include_plotlyjs=True, full_html=True)
        write_whole(path, PAGE_MARK + f"\n{page}".encode())
    except OSError as error:
        raise KdoptError(
            f"{path}: cannot be written: {error.strerror}; give another --html"
        ) from error
