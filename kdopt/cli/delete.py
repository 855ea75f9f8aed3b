"""``kdopt delete``: take a campaign out of a store."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import DEFAULT_STORE, ArtifactsOption, CampaignNameArgument, StoreOption
from kdopt.cli.tables import print_text
from kdopt.errors import StoreError
from kdopt.shown import format_count
from kdopt.store.campaigns import count_finished, delete_campaign
from kdopt.store.queries import pick_campaign


def delete_command(
    campaign: CampaignNameArgument,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a campaign from the store.

    With its trials, and the artifacts that no other campaign of the store uses. Reports and logs
    stay. Nothing brings it back, so the command asks first; 'kdopt backup' makes a copy.
    """
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, campaign)
        done = count_finished(opened, name)
        if not yes:
            _confirm(f"delete campaign '{name}' with {format_count(done, 'finished trial')}?")
        kept = open_artifacts(opened, artifacts)
        with say_if_slow(f"deleting {name}"):
            gone = delete_campaign(opened, name)
            # After the rows: a file too many does no harm, a row without its file does.
            for sha256 in gone.artifacts:
                kept.discard(sha256)
    print_text(
        f"{name}: deleted {format_count(gone.studies, 'study')}, "
        f"{format_count(gone.trials, 'trial')}, {format_count(len(gone.artifacts), 'artifact')}"
    )


def _confirm(question: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise StoreError(f"{question} nobody is there to answer; give --yes to delete it")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
