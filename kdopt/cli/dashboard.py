"""``kdopt dashboard``: browse the store in optuna-dashboard."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import typer

from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import DEFAULT_STORE, StoreOption, join_campaigns
from kdopt.dashboard.server import serve
from kdopt.store.database import Store
from kdopt.store.index_studies import list_index_studies
from kdopt.store.queries import pick_campaign

PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")]
HostOption = Annotated[
    str,
    typer.Option("--host", help="Address to listen on; any but this machine's needs a token."),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="KDOPT_DASHBOARD_TOKEN",
        show_envvar=True,
        help="What readers must know, at least 16 characters. Prefer the environment variable: "
        "other users of this machine can see the options of a command.",
    ),
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A further host name to answer to, as browsers spell it; repeat for more.",
    ),
]


CampaignShownArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="Also show the addresses of this campaign's results.",
        show_default=False,
    ),
]


def dashboard_command(
    named: CampaignShownArgument = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="As the argument CAMPAIGN.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    port: PortOption = 8080,
    host: HostOption = "127.0.0.1",
    token: TokenOption = None,
    allow_host: AllowHostOption = None,
) -> None:
    """Browse the store in optuna-dashboard, read-only.

    With --token, readers sign in with the token, or send 'Authorization: Bearer TOKEN'. The
    dashboard speaks plain HTTP: on a shared network, put a reverse proxy with TLS in front of it.
    """
    asked = join_campaigns(named, campaign)
    with closing(open_store_at(store)) as opened:
        pages = {} if asked is None else _list_pages(opened, pick_campaign(opened, asked))
    print("opening the store ...", file=sys.stderr)
    serve(
        opened.url.render_as_string(hide_password=False),
        host,
        port,
        on_ready=lambda address: _print_addresses(address, pages),
        token=token,
        allow_hosts=allow_host or (),
    )


def _list_pages(store: Store, campaign: str) -> dict[str, int]:
    """The studies in which the dashboard shows a campaign's results, by name."""
    found = list_index_studies(store, campaign)
    if not found:
        print(
            f"kdopt: warning: {campaign}: no results are published yet; "
            f"'kdopt report {campaign} --publish' publishes them",
            file=sys.stderr,
        )
    return found


def _print_addresses(address: str, pages: dict[str, int]) -> None:
    print(f"{address}  (read-only; Ctrl-C stops it)", flush=True)
    for name, study_id in pages.items():
        print(f"{address}/dashboard/studies/{study_id}  ({name})", flush=True)
