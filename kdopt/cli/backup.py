"""``kdopt backup``: copy an SQLite store and its artifacts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import DEFAULT_STORE, ArtifactsOption, StoreOption
from kdopt.shown import format_count
from kdopt.store.backup import back_up_store


def backup_command(
    folder: Annotated[Path, typer.Argument(help="Where the copy goes.", metavar="FOLDER")],
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
) -> None:
    """Copy an SQLite store and its artifacts.

    Workers may go on meanwhile. Run it again to bring the copy up to date.
    """
    with closing(open_store_at(store)) as opened:
        kept = open_artifacts(opened, artifacts)
        with say_if_slow(f"copying {opened.label} and its artifacts"):
            made = back_up_store(opened, kept, folder)
    print(
        f"{made.database}: {format_count(made.campaigns, 'campaign')}, "
        f"{format_count(made.artifacts, 'artifact')} ({made.copied:,} new)"
    )
