"""Commands that look after a store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Optional

import typer

from kdopt.cli.app import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignOption,
    StoreOption,
    app,
)
from kdopt.cli.shared import (
    artifacts_of,
    open_at,
)


@app.command()
def init(store: StoreOption = DEFAULT_STORE) -> None:
    """Prepare a store: make its tables, or check that they are there and of this version.

    `plan` and `run` do this too; workers of a shared store never do.
    """
    from kdopt.store.database import KDOPT_SCHEMA, OPTUNA_SCHEMA, open_store

    with closing(open_store(store, create=True)) as opened:
        label = opened.label
    print(f"{label}: ready (kdopt schema {KDOPT_SCHEMA}, Optuna schema {OPTUNA_SCHEMA})")


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
    from kdopt.cli.doctor_view import print_checkups, print_json
    from kdopt.service.doctor import check
    from kdopt.store.rows import campaigns, pick_campaign

    with closing(open_at(store)) as opened:
        names = campaigns(opened) if campaign is None else [pick_campaign(opened, campaign)]
        shelf = artifacts_of(opened, artifacts)
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

    with closing(open_at(store)) as opened:
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

    with closing(open_at(store)) as opened:
        made = copy(opened, artifacts_of(opened, artifacts), folder)
    print(
        f"{made.database}: {made.campaigns:,} campaigns, {made.artifacts:,} artifacts "
        f"({made.copied:,} new)"
    )


@app.command()
def merge(
    other: Annotated[
        str,
        typer.Argument(
            envvar="KDOPT_OTHER_STORE",
            help="The store to read: a path or an SQLAlchemy URL.",
            metavar="OTHER",
            show_envvar=True,
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    campaign: CampaignOption = None,
    artifacts: ArtifactsOption = None,
    other_artifacts: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--other-artifacts",
            envvar="KDOPT_OTHER_ARTIFACTS",
            help="Artifacts of OTHER [default: 'artifacts' beside it].",
        ),
    ] = None,
    other_weights: Annotated[
        bool,
        typer.Option(
            "--other-weights",
            help="Also take results that rest on other pre-trained weights than the store's.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Take over what OTHER has of a campaign and the store lacks; again: nothing more.

    For two sites that ran the same campaign, each in its own store. OTHER is only read, and
    workers may go on in both.
    """
    from kdopt.cli.merge_view import print_json, print_merged
    from kdopt.store.merge.merge import Site
    from kdopt.store.merge.merge import merge as merge_into
    from kdopt.store.rows import pick_campaign

    with closing(open_at(store)) as here, closing(open_at(other)) as there:
        done = merge_into(
            Site(here, artifacts_of(here, artifacts)),
            Site(there, artifacts_of(there, other_artifacts)),
            pick_campaign(there, campaign),
            other_weights,
        )
    (print_json if as_json else print_merged)(done)
