"""The ``kdopt`` command: parse, call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

import kdopt
from kdopt.errors import KdoptError

if TYPE_CHECKING:
    from kdopt.data.datasets import Dataset
    from kdopt.spec import Spec
    from kdopt.store.artifacts import Artifacts
    from kdopt.store.open import Store
    from kdopt.store.planning import Planned

app = typer.Typer(
    name="kdopt",
    help="Which distillation method, temperature and alpha, for every teacher-student pair.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEFAULT_STORE = "storage/kdopt.db"

SpecArgument = Annotated[Path, typer.Argument(help="Campaign file (TOML).", metavar="SPEC")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="KDOPT_STORE",
        help="Store: a path or an SQLAlchemy URL.",
        show_envvar=True,
    ),
]
ArtifactsOption = Annotated[
    Optional[str],  # noqa: UP045  (typer reads the annotation)
    typer.Option(
        "--artifacts",
        envvar="KDOPT_ARTIFACTS",
        help="Checkpoints and splits: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX "
        "[default: 'artifacts' beside the store].",
    ),
]
CampaignOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--campaign", help="Campaign; needed when the store has several."),
]
OutOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--out", help="Folder of the report [default: 'reports/CAMPAIGN' beside the store]."
    ),
]
DeviceOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--device", help="cpu, cuda or cuda:N [default: cuda if there is one]."),
]


def main() -> None:
    """Run the command line; a :class:`KdoptError` becomes its message and exit code 2."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING
    )
    try:
        app()
    except KdoptError as error:
        print(f"kdopt: error: {error}", file=sys.stderr)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"kdopt {kdopt.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


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
    device: DeviceOption = None,
    out: OutOption = None,
) -> None:
    """Plan a campaign, run it on this machine, and write its report.

    Run it again at any time: it goes on where it was, and adds nothing that is there already.
    """
    from kdopt.launch.local import LocalWorkers, slots
    from kdopt.launch.progress import Progress
    from kdopt.service.identity import is_dead
    from kdopt.store import claims

    opened, folder, loaded, planned = _plan(spec, store, artifacts)
    campaign = loaded.campaign.name
    _print_planned(campaign, planned)
    group = LocalWorkers(
        slots(workers, slots_per_gpu, device),
        opened.url.render_as_string(hide_password=False),
        folder.root,
        campaign,
        _beside(opened, "logs") / campaign,
    )
    progress = Progress(opened, campaign)
    try:
        with progress:
            if progress.left():
                try:
                    group.run(progress.update)
                finally:
                    # Trials of workers that were killed and whose successors did not get to it.
                    claims.reap(opened, is_dead, forget=folder.discard)
    except KeyboardInterrupt:
        done, total = progress.counts()
        print(
            f"stopped: {done:,} of {total:,} trials are done; run the same command to go on",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    print(progress.summary())
    _write_report(opened, campaign, out)
    if progress.left() or progress.failed():
        print(
            f"{progress.failed():,} trials failed and {progress.left():,} cannot start because a "
            "participant that they need was not pre-trained; 'kdopt status' has the reasons",
            file=sys.stderr,
        )
        raise typer.Exit(1)


@app.command()
def plan(
    spec: SpecArgument, store: StoreOption = DEFAULT_STORE, artifacts: ArtifactsOption = None
) -> None:
    """Write a campaign's studies and trials into the store, without running any."""
    _, _, loaded, planned = _plan(spec, store, artifacts)
    _print_planned(loaded.campaign.name, planned)


@app.command()
def init(store: StoreOption = DEFAULT_STORE) -> None:
    """Prepare a store: make its tables, or check that they are there and of this version.

    `plan` and `run` do this too; workers of a shared store never do.
    """
    from kdopt.store.open import KDOPT_SCHEMA, OPTUNA_SCHEMA, open_store

    with closing(open_store(store, create=True)) as opened:
        label = opened.label
    print(f"{label}: ready (kdopt schema {KDOPT_SCHEMA}, Optuna schema {OPTUNA_SCHEMA})")


@app.command()
def worker(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
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
    from kdopt.service.duration import parse_duration

    for_s = None if limit is None else parse_duration(limit)
    logging.getLogger("kdopt").setLevel(logging.WARNING if quiet else logging.INFO)
    opened = _open(store, patient=True)
    from kdopt.store.rows import pick_campaign, read_record

    name = pick_campaign(opened, campaign)
    record = read_record(opened, name)
    from kdopt.service.worker import work
    from kdopt.train.engine import make_engine

    engine = make_engine(record.campaign.precision, device)
    summary = work(opened, _artifacts(opened, artifacts), name, engine, for_s=for_s)
    print(
        f"{name}: {summary.complete} trials complete, {summary.failed} failed"
        + (f", {summary.lost} results dropped" if summary.lost else "")
        + (" (stopped)" if summary.stopped else "")
    )
    if summary.blocked:
        print(
            f"{len(summary.blocked)} studies cannot start, because a participant that they need "
            "was not pre-trained; 'kdopt status' has the reasons",
            file=sys.stderr,
        )


@app.command()
def status(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show how far a campaign is, what runs now, and what failed."""
    from kdopt.service.status import read_status
    from kdopt.service.status_view import print_json, print_text
    from kdopt.store.rows import pick_campaign

    opened = _open(store)
    found = read_status(opened, pick_campaign(opened, campaign))
    (print_json if as_json else print_text)(found)


@app.command()
def doctor(
    campaign: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--campaign", help="Campaign [default: all of the store]."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every artifact and compare its sha256.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Prove that nothing was lost and nothing done twice; exit code 1 when something is off."""
    from kdopt.service.doctor import check
    from kdopt.service.doctor_view import print_checkups, print_json
    from kdopt.store.rows import campaigns, pick_campaign

    with closing(_open(store)) as opened:
        names = campaigns(opened) if campaign is None else [pick_campaign(opened, campaign)]
        shelf = _artifacts(opened, artifacts)
        found = [check(opened, shelf, name, deep) for name in names]
    (print_json if as_json else print_checkups)(found)
    if any(checkup.problems for checkup in found):
        raise typer.Exit(1)


@app.command("retry-failed")
def retry_failed(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    reason: Annotated[
        str, typer.Option("--reason", help="Only failures whose reason holds this text.")
    ] = "",
) -> None:
    """Queue failed trials again; 'kdopt run SPEC' or 'kdopt worker' then runs them."""
    from kdopt.store.retry import retry_failed as queue_again
    from kdopt.store.rows import pick_campaign

    with closing(_open(store)) as opened:
        name = pick_campaign(opened, campaign)
        studies = queue_again(opened, name, reason)
    print(f"{name}: {len(studies):,} failed trials of {len(set(studies)):,} studies queued again")


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Where the copy goes.", metavar="FOLDER")],
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
) -> None:
    """Copy an SQLite store and its artifacts while they are in use; again: bring it up to date."""
    from kdopt.store.backup import backup as copy

    with closing(_open(store)) as opened:
        made = copy(opened, _artifacts(opened, artifacts), folder)
    print(
        f"{made.database}: {made.campaigns:,} campaigns, {made.artifacts:,} artifacts "
        f"({made.copied:,} new)"
    )


@app.command()
def report(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="Also write index studies into the store, for 'kdopt dashboard': one trial per "
            "pair, sortable, with the maps. They replace those published before.",
        ),
    ] = False,
) -> None:
    """Write the tables (CSV, Markdown, LaTeX), the claims table and the HTML page."""
    from kdopt.store.rows import pick_campaign

    opened = _open(store)
    name = pick_campaign(opened, campaign)
    _write_report(opened, name, out)
    if publish:
        _publish(opened, name)


@app.command()
def dashboard(
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8080,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; one beyond this machine needs a token."),
    ] = "127.0.0.1",
    token: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--token",
            envvar="KDOPT_DASHBOARD_TOKEN",
            show_envvar=True,
            help="What readers must know, at least 16 characters; better given by the environment, "
            "as other users of this machine can see options.",
        ),
    ] = None,
    allow_host: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further host name to answer to, as browsers spell it; repeat for more.",
        ),
    ] = None,
) -> None:
    """Browse the store in optuna-dashboard, read-only, on this machine.

    Elsewhere it asks for the token, or takes it as 'Authorization: Bearer TOKEN'. It speaks plain
    HTTP: where others share the network, let a reverse proxy with TLS stand before it.
    """
    from kdopt.report.dashboard import serve

    opened = _open(store)
    opened.close()
    print("opening the store ...", file=sys.stderr)
    serve(
        opened.url.render_as_string(hide_password=False),
        host,
        port,
        on_ready=lambda address: print(f"{address}  (read-only; Ctrl-C stops it)", flush=True),
        token=token,
        allow_hosts=allow_host or (),
    )


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

    loaded, dataset = _load(spec)
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
    from kdopt.spec import load_spec

    lines = load_spec(spec).settings
    widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
    for line in lines:
        print(f"{line.key:<{widths[0]}}  {line.value:<{widths[1]}}  {line.source}")


def _load(path: Path) -> tuple[Spec, Dataset]:
    from kdopt.service.planner import check_model, load_dataset
    from kdopt.spec import load_spec

    loaded = load_spec(path)
    dataset = load_dataset(loaded.campaign)
    check_model(loaded.campaign, dataset)
    return loaded, dataset


def _plan(path: Path, location: str, place: str | None) -> tuple[Store, Artifacts, Spec, Planned]:
    from kdopt.service.planner import draw_splits, plan_campaign
    from kdopt.store.open import open_store

    # All that can be wrong with the input comes out before anything is written.
    loaded, dataset = _load(path)
    splits = draw_splits(loaded.campaign, dataset)
    opened = open_store(location, create=True)
    artifacts = _artifacts(opened, place)
    return opened, artifacts, loaded, plan_campaign(loaded, dataset, splits, opened, artifacts)


def _open(location: str, patient: bool = False) -> Store:
    from kdopt.store.open import RETRY_S, open_store

    return open_store(location, patience_s=RETRY_S if patient else 0.0)


def _artifacts(store: Store, place: str | None) -> Artifacts:
    from kdopt.store.artifacts import Artifacts

    return Artifacts(place or _beside(store, "artifacts"))


def _beside(store: Store, name: str) -> Path:
    """A folder beside an SQLite file; in ``storage/`` for a database server."""
    if store.dialect == "sqlite":
        return Path(str(store.url.database)).absolute().parent / name
    return Path("storage").absolute() / name


def _print_planned(campaign: str, planned: Planned) -> None:
    print(
        f"{campaign}: {planned.studies:,} studies, {planned.trials:,} trials planned "
        f"({planned.new_studies:,} studies and {planned.new_trials:,} trials new)"
    )


def _write_report(store: Store, campaign: str, out: Path | None) -> None:
    from kdopt.report.page import write_report
    from kdopt.store.rows import read_record, read_trials

    record = read_record(store, campaign)
    rows = read_trials(store, campaign)
    folder = out or _beside(store, "reports") / campaign
    for path in write_report(folder, record.campaign, rows, record.settings):
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)


def _publish(store: Store, campaign: str) -> None:
    from kdopt.report.many_index import index_studies
    from kdopt.store.publish import publish
    from kdopt.store.rows import read_record, read_states, read_trials

    record = read_record(store, campaign)
    study_ids = {state.text: state.study_id for state in read_states(store, campaign)}
    studies = index_studies(record.campaign, read_trials(store, campaign), study_ids)
    publish(store, studies)
    if not studies:
        print(
            f"{campaign}: nothing to publish; index studies show the stages tune, combine and "
            "federate",
            file=sys.stderr,
        )
    for study in studies:
        print(f"{study.name}  {len(study.entries):,} lines, {len(study.figures)} figures")
