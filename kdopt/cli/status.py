"""``kdopt status``: how far a campaign is."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    CampaignArgument,
    CampaignOption,
    JsonOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.status_view import list_hints, print_status
from kdopt.cli.watch import watch_campaign
from kdopt.service.status import read_status
from kdopt.service.status_values import format_json
from kdopt.store.queries import pick_campaign
from kdopt.typed import parse_duration

WatchOption = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Show the status again and again until nothing is left to do: in place on a terminal, "
        "one text (or JSON object, on a line) after the other elsewhere. Exit code 0 when all is "
        "done, 1 when what is left can never start.",
    ),
]
EveryOption = Annotated[
    str | None,
    typer.Option(
        "--every", metavar="TIME", help="Time between two looks of --watch (5s, 1m) [default: 2s]."
    ),
]


def status_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    watching: WatchOption = False,
    every: EveryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show progress, workers, the ETA and failures.

    --json has a documented form: see 'kdopt.service.status_values'.
    """
    every_s = parse_duration("2s" if every is None else every)
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, join_campaigns(named, campaign))
        if watching or every is not None:
            code = watch_campaign(opened, name, every_s, as_json)
            if code == 1:
                print("what is left can never start", file=sys.stderr)
            raise typer.Exit(code)
        with say_if_slow(f"reading how far {name} is"):
            found = read_status(opened, name)
        hints = list_hints(found, opened)
    if as_json:
        print(format_json(found))
    else:
        print_status(found, hints)
