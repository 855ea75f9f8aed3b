"""The command that works on a campaign: one worker, or a slot for each GPU or core."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
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
from kdopt.cli.shared import artifacts_of, open_at

if TYPE_CHECKING:
    from kdopt.store.artifacts.artifacts import Artifacts
    from kdopt.store.database import Store
    from kdopt.worker.worker import Summary


@app.command()
def worker(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    slots: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--slots",
            min=1,
            help="Worker processes to start and look after: so many per GPU, or in all on the CPU "
            "[default: this process alone].",
        ),
    ] = None,
    gpus: GpusOption = None,
    device: DeviceOption = None,
    limit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--for", help="Stop after so long (90m, 2h); the trial in hand is given back."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line per trial.")] = False,
) -> None:
    """Run trials of a planned campaign until none is left; start as many as you like."""
    from kdopt.durations import parse_duration
    from kdopt.store.rows import pick_campaign

    for_s = None if limit is None else parse_duration(limit)
    opened = open_at(store, patient=True)
    name = pick_campaign(opened, campaign)
    place = artifacts_of(opened, artifacts)
    if slots is None and gpus is None:
        _work_here(opened, place, name, device, for_s, quiet)
    else:
        options = [*(["--for", limit] if limit else []), *(["--quiet"] if quiet else [])]
        _look_after(opened, place, name, slots or 1, gpu_names(gpus), device, options)


def _work_here(
    store: Store,
    artifacts: Artifacts,
    name: str,
    device: str | None,
    for_s: float | None,
    quiet: bool,
) -> None:
    from kdopt.store.rows import read_record

    logging.getLogger("kdopt").setLevel(logging.WARNING if quiet else logging.INFO)
    record = read_record(store, name)
    from kdopt.train.engine import make_engine
    from kdopt.worker.worker import work

    engine = make_engine(record.campaign.precision, device)
    summary = work(store, artifacts, name, engine, for_s=for_s)
    print(
        f"{name}: {summary.complete} trials complete, {summary.failed} failed"
        + (f", {summary.lost} results dropped" if summary.lost else "")
        + (" (stopped)" if summary.stopped else "")
    )
    if not quiet and summary.complete:
        print(_where_time_went(summary))
    if summary.blocked:
        print(
            f"{len(summary.blocked)} studies cannot start, because a participant that they need "
            "was not pre-trained; 'kdopt status' has the reasons",
            file=sys.stderr,
        )


def _where_time_went(summary: Summary) -> str:
    total = sum(summary.seconds.values())
    time = [f"{what} {100 * s / total:.1f} %" for what, s in summary.seconds.items()]
    found = [
        f"{cache} {100 * use.hits / use.asked:.1f} % of {use.asked:,}"
        for cache, use in summary.caches.items()
        if use.asked
    ]
    return f"time: {', '.join(time)} of {total:.1f} s; found in memory: {', '.join(found)}"


def _look_after(
    store: Store,
    artifacts: Artifacts,
    name: str,
    per_place: int,
    gpus: list[str] | None,
    device: str | None,
    options: list[str],
) -> None:
    """Start a worker per slot and wait for them; SIGTERM and Ctrl-C are passed on."""
    from kdopt.launch.local import LocalWorkers, slots

    places = slots(None, per_place, device, gpus)
    if not any(place.environment for place in places):
        places = slots(per_place, device=places[0].device)
    group = LocalWorkers(
        places,
        store.url.render_as_string(hide_password=False),
        artifacts.root,
        name,
        log_dir=None,
        options=options,
    )
    store.close()
    # Told to stop: the workers have given their trials back and said so.
    with suppress(KeyboardInterrupt):
        group.run(lambda: None)
