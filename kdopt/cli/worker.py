"""``kdopt worker``: run trials of a planned campaign."""

from __future__ import annotations

import logging
import sys
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import make_call, open_artifacts, open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignArgument,
    CampaignOption,
    DeviceOption,
    GpusOption,
    PluginOption,
    QuietOption,
    SameVersionsOption,
    SlotsPerGpuOption,
    StoreOption,
    TimeLimitOption,
    join_campaigns,
    split_gpus,
)
from kdopt.launch.local import LocalWorkers, assign_slots
from kdopt.plugins.sources import give_plugins
from kdopt.shown import format_count
from kdopt.store.queries import pick_campaign
from kdopt.typed import parse_device, parse_duration

if TYPE_CHECKING:
    from kdopt.worker.summary import WorkerSummary

WorkersOrSelfOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Worker processes in all, which this one starts and looks after [default: with "
        "--slots-per-gpu or --gpus as 'kdopt run' does, else this process alone].",
    ),
]


def worker_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: WorkersOrSelfOption = None,
    slots_per_gpu: SlotsPerGpuOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    time_limit: TimeLimitOption = None,
    quiet: QuietOption = False,
    same_versions: SameVersionsOption = False,
    plugin: PluginOption = None,
) -> None:
    """Run trials of a planned campaign until none is left.

    Start as many workers as you like, on any machine that reaches the store.
    """
    time_limit_s = None if time_limit is None else parse_duration(time_limit)
    if device is not None:
        parse_device(device)
    alone = workers is None and slots_per_gpu is None and gpus is None
    slots = [] if alone else assign_slots(workers, slots_per_gpu or 1, device, split_gpus(gpus))
    give_plugins(plugin or [])
    opened = open_store_at(store, patient=True, writes=True)
    name = pick_campaign(opened, join_campaigns(named, campaign))
    kept = open_artifacts(opened, artifacts)
    if alone:
        logging.getLogger("kdopt").setLevel(logging.WARNING if quiet else logging.INFO)
        with say_if_slow("loading torch"):
            from kdopt.worker.worker import run_worker

        with closing(opened):
            summary = run_worker(opened, kept, name, device, time_limit_s, same_versions)
        print_worker_summary(name, summary, quiet)
        return
    call = replace(
        make_call(opened, kept, name),
        time_limit=time_limit,
        quiet=quiet,
        same_versions=same_versions,
    )
    opened.close()
    # Told to stop: the workers have given their trials back and said so.
    with suppress(KeyboardInterrupt):
        LocalWorkers(slots, call, log_dir=None).run(lambda: None)


def print_worker_summary(campaign: str, summary: WorkerSummary, quiet: bool) -> None:
    """Say what a worker did, and in more than one line unless it is to be quiet."""
    print(
        f"{campaign}: {format_count(summary.complete, 'trial')} complete, {summary.failed} failed"
        + (f", {format_count(summary.lost, 'result')} dropped" if summary.lost else "")
        + (f", {summary.given_back} given back unfinished" if summary.given_back else "")
        + (" (stopped)" if summary.stopped else "")
    )
    if not quiet and summary.complete:
        print(_describe_time(summary))
    if summary.blocked:
        print(
            f"{format_count(len(summary.blocked), 'study')} cannot start, because a participant "
            "that they need was not pre-trained; 'kdopt status' has the reasons",
            file=sys.stderr,
        )


def _describe_time(summary: WorkerSummary) -> str:
    total = sum(summary.seconds.values())
    time = [f"{what} {100 * s / total:.1f} %" for what, s in summary.seconds.items()]
    found = [
        f"{cache} {100 * use.hits / use.asked:.1f} % of {use.asked:,}"
        for cache, use in summary.caches.items()
        if use.asked
    ]
    return f"time: {', '.join(time)} of {total:.1f} s; found in memory: {', '.join(found)}"
