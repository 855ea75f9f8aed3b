"""The command that starts workers of a planned campaign: here, on Slurm or on Ray."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from kdopt.cli.app import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignOption,
    DeviceOption,
    GpusOption,
    StoreOption,
    app,
    gpu_names,
)
from kdopt.cli.shared import artifacts_of, beside, open_at
from kdopt.errors import KdoptError

if TYPE_CHECKING:
    from kdopt.launch.call import WorkerCall
    from kdopt.launch.slurm import JobRequest
    from kdopt.store.artifacts.artifacts import Artifacts
    from kdopt.store.database import Store

Run = Callable[[Callable[[], None]], None]


class Engine(enum.StrEnum):
    """Where workers are started."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


_SLURM = ("time", "partition", "gpus_per_job", "cpus_per_job", "mem", "sbatch", "wait")
_ONLY = {
    "gpus": {Engine.local},
    "logs": {Engine.local, Engine.slurm},
    "ray_address": {Engine.ray},
    **{option: {Engine.slurm} for option in _SLURM},
}
"""Engines for which an option means something."""


@app.command()
def launch(
    context: typer.Context,
    on: Annotated[Engine, typer.Option("--on", help="Where to start workers.")],
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--workers",
            min=1,
            help="Workers, on Slurm jobs [default: one per core or GPU slot; one job on Slurm].",
        ),
    ] = None,
    slots_per_gpu: Annotated[
        int, typer.Option("--slots-per-gpu", min=1, help="Workers that share a GPU.")
    ] = 1,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    limit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--for",
            help="Workers stop after so long (90m, 2h); the trials in hand are given back.",
        ),
    ] = None,
    logs: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--logs", help="Folder of the workers' logs [default: 'logs/CAMPAIGN' by the store]."
        ),
    ] = None,
    time: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--time", help="Slurm: time limit of a job (90m, 2h) [default: the site's]."),
    ] = None,
    partition: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--partition", help="Slurm: partition [default: the site's]."),
    ] = None,
    gpus_per_job: Annotated[
        int, typer.Option("--gpus-per-job", min=0, help="Slurm: GPUs of a job.")
    ] = 0,
    cpus_per_job: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--cpus-per-job",
            min=1,
            help="Slurm: cores of a job; without GPUs each runs a worker [default: 1, or one "
            "per GPU slot].",
        ),
    ] = None,
    mem: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--mem", help="Slurm: memory of a job, such as 8G [default: the site's]."),
    ] = None,
    sbatch: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--sbatch",
            metavar="KEY[=VALUE]",
            help="Slurm: a further option of sbatch, such as account=physics; repeat for more.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Slurm: stay and show progress until all jobs are gone.")
    ] = False,
    ray_address: Annotated[
        str,
        typer.Option(
            "--ray-address",
            envvar="RAY_ADDRESS",
            help="Ray: HOST:PORT of a cluster, 'auto' for the one that runs on this machine, or "
            "'local' to start one here for this run.",
        ),
    ] = "local",
) -> None:
    """Start workers of a planned campaign, on this machine, on Slurm or on Ray.

    They are what 'kdopt worker' is, and all that is to know stays in the store: launch as often
    and from as many places as you like, also while others work. Here and on Ray the command stays
    until the campaign is done, and Ctrl-C stops its workers; on Slurm it submits and returns.
    """
    from kdopt.durations import parse_duration
    from kdopt.launch.call import WorkerCall
    from kdopt.store.rows import pick_campaign, read_states

    _refuse_strangers(context, on)
    time_s = None if time is None else parse_duration(time)
    if limit is not None:
        parse_duration(limit)
    opened = open_at(store)
    name = pick_campaign(opened, campaign)
    shelf = artifacts_of(opened, artifacts)
    if not any(state.waiting or state.running for state in read_states(opened, name)):
        print(f"{name}: nothing is left to do")
        return
    call = WorkerCall(_absolute(opened), str(shelf.root), name, device, limit)
    log_dir = logs.absolute() if logs else beside(opened, "logs") / name
    if on is not Engine.local and opened.dialect == "sqlite":
        print(
            "kdopt: warning: an SQLite store serves one machine; workers on others need "
            "PostgreSQL (see storage/README.md)",
            file=sys.stderr,
        )
    if on is Engine.slurm:
        from kdopt.launch.slurm import JobRequest

        places = slots_per_gpu * gpus_per_job or cpus_per_job or 1
        if places > 1:
            # A job is one process, which looks after so many workers per GPU, or one per core.
            call = replace(call, slots=slots_per_gpu if gpus_per_job else places)
        request = JobRequest(
            time_s, partition, gpus_per_job, cpus_per_job or places, mem, tuple(sbatch or ())
        )
        _submit(opened, call, workers or 1, request, log_dir / "slurm", wait)
    elif on is Engine.ray:
        from kdopt.launch.ray import RayWorkers

        _stay(opened, shelf, call, RayWorkers(call, workers, slots_per_gpu, ray_address).run)
    else:
        from kdopt.launch.local import LocalWorkers, slots

        places_here = slots(workers, slots_per_gpu, device, gpu_names(gpus))
        options = ["--for", limit] if limit else []
        group = LocalWorkers(places_here, call.store, call.artifacts, name, log_dir, options)
        _stay(opened, shelf, call, group.run)


def _submit(
    store: Store, call: WorkerCall, jobs: int, request: JobRequest, log_dir: Path, wait: bool
) -> None:
    """Submit jobs, say how to follow and to end them, and wait for them if asked to."""
    from kdopt.launch import slurm

    job = slurm.submit(call, jobs, request, log_dir)
    print(
        f"{call.campaign}: Slurm job {job}, {jobs:,} job{'s' if jobs > 1 else ''}\n"
        f"follow: squeue --jobs {job}; kdopt status --campaign {call.campaign}\n"
        f"logs:   {log_dir}/{job}_*\n"
        f"cancel: scancel {job}  (trials in hand are given back)",
        flush=True,
    )
    if not wait:
        return
    try:
        _finish(store, call, lambda on_tick: slurm.wait(job, on_tick))
    except KeyboardInterrupt:
        print(f"the jobs go on; 'scancel {job}' ends them", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        for text in slurm.last_words(job, log_dir):
            print(f"a worker gave up: {text}", file=sys.stderr)


def _stay(store: Store, artifacts: Artifacts, call: WorkerCall, run: Run) -> None:
    """Show progress while workers work; Ctrl-C and SIGTERM have stopped them when it ends."""
    from kdopt.store import leases
    from kdopt.worker.worker_id import is_dead

    try:
        _finish(store, call, run)
    except KeyboardInterrupt:
        print("stopped: launch again to go on", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        # Trials of workers that were killed and whose successors did not get to it.
        leases.reap(store, is_dead, forget=artifacts.discard)


def _finish(store: Store, call: WorkerCall, run: Run) -> None:
    """Show progress until workers have ended; exit code 1 when trials failed or are left."""
    from kdopt.cli.progress import Progress

    progress = Progress(store, call.campaign)
    with progress:
        run(progress.update)
    print(progress.summary())
    failed, left = progress.failed(), progress.left()
    if failed or left:
        print(
            f"{failed:,} trials failed and {left:,} are left; 'kdopt status' has the reasons",
            file=sys.stderr,
        )
    # With a time limit it is no fault that some are left.
    if failed or (left and call.limit is None):
        raise typer.Exit(1)


def _refuse_strangers(context: typer.Context, on: Engine) -> None:
    """Refuse options that the engine has no use for, rather than drop them silently."""
    for option, engines in _ONLY.items():
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE" and on not in engines:
            names = " or ".join(f"--on {engine.value}" for engine in sorted(engines))
            raise KdoptError(
                f"--{option.replace('_', '-')}: means nothing with --on {on.value}; it belongs to "
                f"{names}"
            )


def _absolute(store: Store) -> str:
    """The store's URL for processes that start in other folders, password included."""
    url = store.url
    if store.dialect == "sqlite":
        url = url.set(database=str(Path(str(url.database)).absolute()))
    return url.render_as_string(hide_password=False)
