"""``kdopt dashboard``: browse the store in optuna-dashboard."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import DEFAULT_STORE, StoreOption
from kdopt.dashboard.server import serve

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


def dashboard_command(
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
    opened = open_store_at(store)
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
