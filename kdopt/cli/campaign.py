"""Commands that run a campaign: plan it, run it here, work on it, and show its spec."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from kdopt.cli.app import (
    DEFAULT_STORE,
    ArtifactsOption,
    DeviceOption,
    GpusOption,
    OutOption,
    SpecArgument,
    StoreOption,
    app,
    gpu_names,
)
from kdopt.cli.shared import (
    beside,
    load,
    plan_spec,
    print_planned,
    write_report_of,
)
from kdopt.errors import KdoptError

if TYPE_CHECKING:
    from kdopt.store.artifacts.artifacts import Artifacts
    from kdopt.store.database import Store


@app.command()
def run(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--workers", min=1, help="Workers [default: one per core, or per GPU slot]."),
    ] = None,
    slots_per_gpu: Annotated[
        int, typer.Option("--slots-per-gpu", min=1, help="Workers that share a GPU.")
    ] = 1,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
) -> None:
    """Plan a campaign, run it on this machine, and write its report.

    Run it again at any time: it goes on where it was, and adds nothing that is there already.
    """
    from kdopt.cli.progress import Progress
    from kdopt.launch.local import LocalWorkers, slots
    from kdopt.store import leases
    from kdopt.worker.worker_id import is_dead

    opened, folder, loaded, planned = plan_spec(spec, store, artifacts)
    campaign = loaded.campaign.name
    print_planned(campaign, planned)
    group = LocalWorkers(
        slots(workers, slots_per_gpu, device, gpu_names(gpus)),
        opened.url.render_as_string(hide_password=False),
        folder.root,
        campaign,
        beside(opened, "logs") / campaign,
    )
    progress = Progress(opened, campaign)
    try:
        with progress:
            if progress.left():
                try:
                    group.run(progress.update)
                finally:
                    # Trials of workers that were killed and whose successors did not get to it.
                    leases.reap(opened, is_dead, forget=folder.discard)
    except KeyboardInterrupt:
        done, total = progress.counts()
        print(
            f"stopped: {done:,} of {total:,} trials are done; run the same command to go on",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    print(progress.summary())
    _describe_pairs(opened, folder, campaign, device)
    write_report_of(opened, campaign, out)
    if progress.left() or progress.failed():
        print(
            f"{progress.failed():,} trials failed and {progress.left():,} cannot start because a "
            "participant that they need was not pre-trained; 'kdopt status' has the reasons",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _describe_pairs(store: Store, artifacts: Artifacts, campaign: str, device: str | None) -> None:
    """Measure what the report's advice tells pairs apart by, where it is not known yet."""
    from kdopt.features.collecting import measure_facts, unmeasured
    from kdopt.store.rows import read_record

    settings = read_record(store, campaign).campaign
    if not {"tune", "compare"} & set(settings.stages) or not unmeasured(store, campaign):
        return
    from kdopt.train.engine import make_engine

    try:
        measure_facts(store, artifacts, campaign, make_engine(settings.precision, device))
    except KdoptError as error:
        # The trials are done and the report does without.
        print(f"kdopt features: {error}", file=sys.stderr)


@app.command()
def plan(
    spec: SpecArgument, store: StoreOption = DEFAULT_STORE, artifacts: ArtifactsOption = None
) -> None:
    """Write a campaign's studies and trials into the store, without running any."""
    _, _, loaded, planned = plan_spec(spec, store, artifacts)
    print_planned(loaded.campaign.name, planned)


@app.command()
def partitions(
    spec: SpecArgument,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--html", help="Also write the heat maps to this HTML file."),
    ] = None,
) -> None:
    """Show how the images are shared out: classes by participants."""
    from kdopt.data.splits import counts, make_splits
    from kdopt.report.partition_view import print_counts, write_heat_maps

    loaded, dataset = load(spec)
    tables = {}
    for partition in loaded.campaign.partitions:
        splits = make_splits(
            loaded.campaign, partition.name, dataset.train_labels, dataset.n_classes
        )
        tables[partition.name] = counts(splits.train, dataset.train_labels, dataset.n_classes)
    print_counts(tables, dataset.class_names)
    if html is not None:
        write_heat_maps(html, loaded.campaign.name, tables, dataset.class_names)
        print(html)


@app.command("spec")
def show_spec(spec: SpecArgument) -> None:
    """Show every setting of a campaign, and where each default comes from."""
    from kdopt.campaign.spec import load_spec

    lines = load_spec(spec).settings
    widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
    for line in lines:
        print(f"{line.key:<{widths[0]}}  {line.value:<{widths[1]}}  {line.source}")
