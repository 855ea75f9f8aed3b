"""``kdopt launch``: start workers of a planned campaign here, on Slurm or on Ray."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import campaign_folder, make_call, open_artifacts, open_store_at
from kdopt.cli.interrupts import INTERRUPTED
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
    WorkersOption,
    join_campaigns,
    split_gpus,
)
from kdopt.cli.progress import Launch, ProgressBar, describe_gone, follow_workers
from kdopt.cli.results_so_far import publish_indexes, read_report_data
from kdopt.cli.tables import print_text
from kdopt.errors import KdoptError
from kdopt.files import find_folder_fault
from kdopt.launch import slurm
from kdopt.launch.call import WorkerCall
from kdopt.launch.local import LocalWorkers, assign_slots
from kdopt.launch.ray import RayWorkers, check_address
from kdopt.launch.slurm import JobRequest
from kdopt.plugins.code import check_given_plugins
from kdopt.plugins.sources import give_plugins
from kdopt.report.sections.headline import format_answer
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.queries import pick_campaign, read_record, read_study_counts
from kdopt.typed import parse_device, parse_duration

launch_command = typer.Typer(
    help="""Start workers here, on Slurm or on Ray.

    They work on a planned campaign. Each is a 'kdopt worker', and the store holds all state:
    launch as often and from as many machines as you like, also while other workers run.""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

LogsOption = Annotated[
    Path | None,
    typer.Option(
        "--logs", help="Folder of the workers' logs [default: 'logs/CAMPAIGN' beside the store]."
    ),
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Slurm jobs.")]
JobTimeOption = Annotated[
    str | None,
    typer.Option(
        "--job-time",
        metavar="TIME",
        help="Slurm's time limit of a job (90m, 2h); workers give their trials back a minute "
        "before [default: the site's].",
    ),
]
JobPartitionOption = Annotated[
    str | None,
    typer.Option("--job-partition", help="Slurm's partition for the jobs [default: the site's]."),
]
GpusPerJobOption = Annotated[int, typer.Option("--gpus-per-job", min=0, help="GPUs of a job.")]
CpusPerJobOption = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-job",
        min=1,
        help="Cores of a job; without GPUs each runs a worker [default: 1, or one for each worker "
        "on the job's GPUs].",
    ),
]
JobMemoryOption = Annotated[
    str | None,
    typer.Option("--job-memory", help="Memory of a job, such as 8G [default: the site's]."),
]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sbatch",
        metavar="KEY[=VALUE]",
        help="A further option of sbatch, such as account=physics; repeat for more.",
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Stay and show progress until all jobs have ended.")
]
RayAddressOption = Annotated[
    str,
    typer.Option(
        "--ray-address",
        envvar="RAY_ADDRESS",
        help="HOST:PORT of a cluster, 'auto' for the one that runs on this machine, or 'local' to "
        "start one here for this run.",
    ),
]


class _Target(NamedTuple):
    """A campaign with work left, and what its workers are told."""

    store: Store
    artifacts: Artifacts
    call: WorkerCall


@launch_command.command("local")
def launch_local_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: WorkersOption = None,
    slots_per_gpu: SlotsPerGpuOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    time_limit: TimeLimitOption = None,
    same_versions: SameVersionsOption = False,
    plugin: PluginOption = None,
    logs: LogsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Start workers on this machine.

    The command stays until the campaign is done. Ctrl-C stops its workers.
    """
    # Here and below: options come first, whatever is left to do in whichever store.
    slots = assign_slots(workers, slots_per_gpu or 1, device, split_gpus(gpus))
    _check_options(device, time_limit, plugin, logs)
    wanted = join_campaigns(named, campaign)
    target = _open_target(store, artifacts, wanted, device, time_limit, same_versions)
    if target is None:
        return
    workers_here = LocalWorkers(slots, target.call, _choose_log_folder(target, logs))
    workers_here.check_logs()
    with closing(target.store):
        _follow_to_end(target, workers_here.run, quiet)


@launch_command.command("slurm")
def launch_slurm_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    jobs: JobsOption = 1,
    gpus_per_job: GpusPerJobOption = 0,
    slots_per_gpu: SlotsPerGpuOption = None,
    cpus_per_job: CpusPerJobOption = None,
    job_memory: JobMemoryOption = None,
    job_time: JobTimeOption = None,
    job_partition: JobPartitionOption = None,
    sbatch: SbatchOption = None,
    device: DeviceOption = None,
    time_limit: TimeLimitOption = None,
    same_versions: SameVersionsOption = False,
    plugin: PluginOption = None,
    logs: LogsOption = None,
    wait: WaitOption = False,
    quiet: QuietOption = False,
) -> None:
    """Submit Slurm jobs, each of which runs workers.

    The command submits and returns, unless you give --wait.
    """
    job_time_s = None if job_time is None else parse_duration(job_time)
    workers = (slots_per_gpu or 1) * gpus_per_job or cpus_per_job or 1
    cpus = cpus_per_job or workers
    request = JobRequest(
        job_time_s, job_partition, gpus_per_job, cpus, job_memory, tuple(sbatch or ())
    )
    _check_options(device, time_limit, plugin, logs)
    wanted = join_campaigns(named, campaign)
    target = _open_target(store, artifacts, wanted, device, time_limit, same_versions)
    if target is None:
        return
    _warn_of_sqlite(target.store)
    call = target.call
    if workers > 1 and gpus_per_job:
        # By GPU rather than in all, since a job sees which GPUs it got only when it runs.
        call = replace(call, slots_per_gpu=slots_per_gpu or 1)
    elif workers > 1:
        call = replace(call, workers=workers)
    log_dir = _choose_log_folder(target, logs) / "slurm"
    target = target._replace(call=call)
    with closing(target.store):
        arrays = _submit_to_slurm(target, jobs, request, log_dir, quiet)
        if wait:
            _wait_for_slurm(target, arrays, log_dir, quiet)


@launch_command.command("ray")
def launch_ray_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: WorkersOption = None,
    slots_per_gpu: SlotsPerGpuOption = None,
    device: DeviceOption = None,
    time_limit: TimeLimitOption = None,
    same_versions: SameVersionsOption = False,
    plugin: PluginOption = None,
    ray_address: RayAddressOption = "local",
    quiet: QuietOption = False,
) -> None:
    """Start workers on a Ray cluster.

    The command stays until the campaign is done. Ctrl-C stops its workers.
    """
    check_address(ray_address)
    _check_options(device, time_limit, plugin)
    wanted = join_campaigns(named, campaign)
    target = _open_target(store, artifacts, wanted, device, time_limit, same_versions)
    if target is None:
        return
    _warn_of_sqlite(target.store)
    on_ray = RayWorkers(target.call, workers, slots_per_gpu or 1, ray_address)
    with closing(target.store):
        _follow_to_end(target, on_ray.run, quiet)


def _check_options(
    device: str | None,
    time_limit: str | None,
    plugin: list[Path] | None,
    logs: Path | None = None,
) -> None:
    """Refuse what every worker would refuse, or could not write to; plugins are given."""
    if time_limit is not None:
        parse_duration(time_limit)
    if device is not None:
        parse_device(device)
    if logs is not None and (fault := find_folder_fault(logs.absolute())):
        raise KdoptError(f"{fault}; name another with --logs")
    give_plugins(plugin or [])


def _open_target(
    store: str,
    artifacts: str | None,
    campaign: str | None,
    device: str | None,
    time_limit: str | None,
    same_versions: bool,
) -> _Target | None:
    """Open what is worked on; ``None``, and a line that says so, when nothing is left to do."""
    opened = open_store_at(store, writes=True)
    name = pick_campaign(opened, campaign)
    check_given_plugins(read_record(opened, name))  # rather than in every worker
    kept = open_artifacts(opened, artifacts)
    if not any(state.waiting or state.running for state in read_study_counts(opened, name)):
        opened.close()
        print(f"{name}: nothing is left to do")
        return None
    call = replace(
        make_call(opened, kept, name),
        device=device,
        time_limit=time_limit,
        same_versions=same_versions,
    )
    return _Target(opened, kept, call)


def _choose_log_folder(target: _Target, logs: Path | None) -> Path:
    return logs.absolute() if logs else campaign_folder(target.store, "logs", target.call.campaign)


def _warn_of_sqlite(store: Store) -> None:
    if store.dialect == "sqlite":
        print(
            "kdopt: warning: an SQLite store serves one machine; workers on others need "
            "PostgreSQL (see storage/README.md)",
            file=sys.stderr,
        )


def _submit_to_slurm(
    target: _Target, jobs: int, request: JobRequest, log_dir: Path, quiet: bool
) -> list[str]:
    """Submit jobs, and say how to follow and to end them."""
    call = target.call
    if trusted := slurm.describe_trusted_group(log_dir):
        print(f"kdopt: warning: {trusted}", file=sys.stderr)
    arrays = slurm.submit_jobs(call, jobs, request, log_dir)
    several = len(arrays) > 1
    print(
        f"{call.campaign}: Slurm job{'s' if several else ''} {', '.join(arrays)}, "
        f"{format_count(jobs, 'job')}"
        + (
            f" in {format_count(len(arrays), 'array')}, as the site's MaxArraySize asks for"
            if several
            else ""
        ),
        flush=True,
    )
    if not quiet:
        logs = f"{{{','.join(arrays)}}}" if several else arrays[0]
        print(
            f"follow: squeue --jobs {','.join(arrays)}; kdopt status --campaign {call.campaign}\n"
            f"logs:   {log_dir}/{logs}_*\n"
            f"cancel: scancel {' '.join(arrays)}  (trials in hand are given back)",
            flush=True,
        )
    return arrays


def _wait_for_slurm(target: _Target, arrays: list[str], log_dir: Path, quiet: bool) -> None:
    """Show progress until the jobs have ended; Ctrl-C ends the waiting alone."""
    progress = ProgressBar(target.store, target.call.campaign, quiet)
    try:
        # Workers run on other machines: whether they are dead cannot be told from here, and their
        # leases lapse by themselves.
        with progress:
            slurm.wait_for_jobs(arrays, progress.update)
    except KeyboardInterrupt:
        print(f"the jobs go on; 'scancel {' '.join(arrays)}' ends them", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for text in slurm.read_errors(arrays, log_dir):
            print(f"a worker gave up: {text}", file=sys.stderr)
    _report_end(progress, target)


def _follow_to_end(target: _Target, run: Launch, quiet: bool) -> None:
    """Show progress while workers work; Ctrl-C and SIGTERM have stopped them when it ends."""
    progress = ProgressBar(target.store, target.call.campaign, quiet)
    try:
        follow_workers(progress, target.store, target.artifacts, run)
    except KeyboardInterrupt:
        print("stopped: launch again to go on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    _report_end(progress, target)


def _report_end(progress: ProgressBar, target: _Target) -> None:
    """Say what workers did and what came of it; exit code 1 when trials failed or are left."""
    print_text(progress.summarize())
    with say_if_slow("reading the results and publishing the index studies"):
        data = read_report_data(target.store, target.call.campaign)
        publish_indexes(target.store, data)
    print_text(format_answer(data) or "no pair of teacher and student has a result")
    failed, left = progress.status.failed, progress.status.left
    if failed or left:
        text = (
            f"{format_count(failed, 'trial')} failed and "
            f"{format_count(left, 'is left', 'are left')}; 'kdopt status' has the reasons"
        )
        print_text(text, stderr=True)
    for note in progress.status.notes:
        print_text(note, stderr=True)
    if progress.gone:
        print_text(describe_gone(progress.gone), stderr=True)
    # With a time limit it is no fault that some are left.
    if failed or progress.gone or (left and target.call.time_limit is None):
        raise typer.Exit(1)
