"""Commands that show what came out: status, report, dashboard."""

from __future__ import annotations

import sys
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from kdopt.cli.app import (
    DEFAULT_STORE,
    CampaignOption,
    OutOption,
    StoreOption,
    app,
)
from kdopt.cli.shared import (
    open_at,
    tolerate_narrow_encodings,
    write_report_of,
)

if TYPE_CHECKING:
    from kdopt.store.database import Store


@app.command()
def status(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    watching: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Look again and again until nothing is left to do: in place on a terminal, one "
            "text after the other elsewhere. Exit code 0 when all is done, 1 when what is left "
            "can never start.",
        ),
    ] = False,
    every: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--every", metavar="TIME", help="Time between two looks (5s, 1m) of --watch [2s]."
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="For machines; with --watch one object per line and look."),
    ] = False,
) -> None:
    """Show how far a campaign is, who works on what, when it will be done, and what failed."""
    from kdopt.cli.status_view import show
    from kdopt.cli.watch import watch
    from kdopt.durations import parse_duration
    from kdopt.service.status import read_status
    from kdopt.service.status_json import json_text
    from kdopt.store.rows import pick_campaign

    every_s = parse_duration(every or "2s")
    tolerate_narrow_encodings()
    with closing(open_at(store)) as opened:
        name = pick_campaign(opened, campaign)
        if watching or every is not None:
            code = watch(opened, name, every_s, as_json)
            if code == 1:
                print("what is left can never start", file=sys.stderr)
            raise typer.Exit(code)
        found = read_status(opened, name)
    if as_json:
        print(json_text(found))
    else:
        show(found)


class ImageFormat(StrEnum):
    """What ``--figures`` takes."""

    SVG = "svg"
    PNG = "png"
    PDF = "pdf"


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
    figures: Annotated[
        Optional[list[ImageFormat]],  # noqa: UP045
        typer.Option(
            "--figures",
            help="Also write every figure into 'figures/': svg, png or pdf; repeat for more. Needs "
            "kaleido (pip install 'kdopt[figures]') and a Chrome or Chromium.",
        ),
    ] = None,
) -> None:
    """Write the tables (CSV, Markdown, LaTeX), all trials (CSV, Parquet) and the HTML page."""
    from kdopt.store.rows import pick_campaign

    opened = open_at(store)
    name = pick_campaign(opened, campaign)
    write_report_of(opened, name, out, [format_.value for format_ in figures or ()])
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
    from kdopt.dashboard.server import serve

    opened = open_at(store)
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


def _publish(store: Store, campaign: str) -> None:
    from kdopt.dashboard.campaign_index import index_studies
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
