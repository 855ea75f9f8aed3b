"""``kdopt run``: from a campaign file to its report, on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import typer

from kdopt.cli.announce import Say, announce_steps
from kdopt.cli.campaign_file import PlannedSpec, plan_spec
from kdopt.cli.inputs import campaign_folder, make_call
from kdopt.cli.interrupts import INTERRUPTED
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    DeviceOption,
    GpusOption,
    OutOption,
    PluginOption,
    QuietOption,
    SameVersionsOption,
    SlotsPerGpuOption,
    SpecArgument,
    StoreOption,
    WorkersOption,
    split_gpus,
)
from kdopt.cli.plan import print_planned
from kdopt.cli.progress import ProgressBar, describe_gone, follow_workers
from kdopt.cli.report import choose_report_folder
from kdopt.cli.results_so_far import publish_indexes, read_report_data
from kdopt.cli.tables import print_text
from kdopt.errors import KdoptError
from kdopt.features.measurements import find_unmeasured_partitions
from kdopt.launch.local import LocalWorkers, Slot, assign_slots
from kdopt.plugins.sources import give_plugins
from kdopt.report.export import write_report
from kdopt.report.files import check_report_folder
from kdopt.report.sections.headline import format_answer
from kdopt.shown import format_count
from kdopt.store.database import Store
from kdopt.store.queries import read_record
from kdopt.typed import parse_device


def run_command(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: WorkersOption = None,
    slots_per_gpu: SlotsPerGpuOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    same_versions: SameVersionsOption = False,
    plugin: PluginOption = None,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Plan a campaign, run it here and write its report.

    Run it again at any time: it goes on where it was, and repeats no trial that is done.
    """
    say = announce_steps(quiet)
    try:
        give_plugins(plugin or [])
        slots = _find_slots(workers, slots_per_gpu, gpus, device)
        if out is not None:
            check_report_folder(out)  # rather than when all trials are done
        planned = plan_spec(spec, store, artifacts, say)
        progress = ProgressBar(planned.store, planned.spec.campaign.name, quiet)
    except KeyboardInterrupt:
        _leave("stopped before anything was run; run the same command again")
    with closing(planned.store):
        try:
            if not quiet:
                print_planned(planned)
            _run_planned(planned, progress, slots, same_versions, say)
            _measure_features(planned, device, say)
            print_text(progress.summarize())
            for note in progress.status.notes:
                print_text(note, stderr=True)
            folder = choose_report_folder(planned.store, planned.spec.campaign.name, out)
            _report_end(progress, planned.store, folder, say)
        except KeyboardInterrupt:
            status = progress.status
            _leave(
                f"stopped with {status.complete + status.failed:,} of "
                f"{format_count(status.trials, 'trial')} done; run the same "
                "command to go on"
            )


def _leave(how_far: str) -> NoReturn:
    print(how_far, file=sys.stderr)
    raise typer.Exit(INTERRUPTED) from None


def _run_planned(
    planned: PlannedSpec, progress: ProgressBar, slots: list[Slot], same_versions: bool, say: Say
) -> None:
    """Run what is left of a campaign."""
    store, campaign = planned.store, planned.spec.campaign.name
    logs = campaign_folder(store, "logs", campaign)
    call = replace(make_call(store, planned.artifacts, campaign), same_versions=same_versions)
    workers = LocalWorkers(slots, call, logs)
    if progress.status.left:
        say(
            f"starting {format_count(len(slots), 'worker')}, whose logs are in "
            f"{_shorten_path(logs)}"
        )
        workers.check_logs()
    follow_workers(progress, store, planned.artifacts, workers.run)


def _report_end(progress: ProgressBar, store: Store, folder: Path, say: Say) -> None:
    """Write the report; the last lines are the answer, and where to read more."""
    say("writing the report")
    status = progress.status
    data = read_report_data(store, status.campaign)
    paths = write_report(folder, data)
    publish_indexes(store, data)
    if status.left or status.failed:
        print_text(
            f"{format_count(status.failed, 'trial')} failed and {status.left:,} cannot start, "
            "because a participant that they need was not pre-trained; 'kdopt status' has the "
            "reasons",
            stderr=True,
        )
    if progress.gone:
        print_text(describe_gone(progress.gone), stderr=True)
    print_text(format_answer(data) or "no pair of teacher and student has a result")
    # Not cut into lines: paths stay whole, to be copied.
    page = next(path for path in paths if path.suffix == ".html")
    print_text(
        f"{format_count(len(paths), 'file')} in {_shorten_path(folder)}; open {_shorten_path(page)}"
    )
    if status.left or status.failed or progress.gone:
        raise typer.Exit(1)


def _shorten_path(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _find_slots(
    workers: int | None, slots_per_gpu: int | None, gpus: str | None, device: str | None
) -> list[Slot]:
    """Where the workers run, found before anything is planned for them."""
    slots = assign_slots(workers, slots_per_gpu or 1, device, split_gpus(gpus))
    if device is not None and parse_device(device)[0] != "cpu":
        from kdopt.train.engine import find_device  # loads torch, which alone sees GPUs

        find_device(device)
    return slots


def _measure_features(planned: PlannedSpec, device: str | None, say: Say) -> None:
    """Measure what the report's advice tells pairs apart by, where it is not known yet."""
    store, campaign = planned.store, planned.spec.campaign.name
    settings = read_record(store, campaign).campaign
    if not {"tune", "compare"} & set(settings.stages) or not find_unmeasured_partitions(
        store, campaign
    ):
        return
    say("measuring the pre-trained models on each other's images, for the report's advice")
    # Only now, when there is something to measure: these load torch.
    from kdopt.features.measuring import measure_campaign
    from kdopt.train.engine import make_engine

    try:
        engine = make_engine(settings.precision, device, deterministic=settings.deterministic)
        measure_campaign(store, planned.artifacts, campaign, engine)
    except KdoptError as error:
        # The trials are done, and the report can be written without.
        print(f"kdopt features: {error}", file=sys.stderr)
