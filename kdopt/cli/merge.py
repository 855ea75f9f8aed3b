"""``kdopt merge``: import another store's results of the same campaign."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from statistics import fmean
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignArgument,
    CampaignOption,
    JsonOption,
    StoreOption,
    join_campaigns,
)
from kdopt.shown import format_count
from kdopt.store.merge import MergeSummary, Site, merge_campaign
from kdopt.store.queries import pick_campaign

SHOWN = 5
"""Names shown of what differs or was left out; ``--json`` has all."""

OtherArgument = Annotated[
    str,
    typer.Argument(
        envvar="KDOPT_OTHER_STORE",
        help="The store to read: a path or an SQLAlchemy URL.",
        metavar="OTHER",
        show_envvar=True,
    ),
]
OtherArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--other-artifacts",
        envvar="KDOPT_OTHER_ARTIFACTS",
        help="Artifacts of OTHER [default: 'artifacts' beside it].",
    ),
]
OtherWeightsOption = Annotated[
    bool,
    typer.Option(
        "--other-weights",
        help="Also import results that rest on other pre-trained weights than the store's.",
    ),
]


def merge_command(
    other: OtherArgument,
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    other_artifacts: OtherArtifactsOption = None,
    other_weights: OtherWeightsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import another store's results of a campaign.

    For two sites that ran the same campaign, each in its own store. OTHER is only read, workers
    may go on in both, and merging again adds nothing.
    """
    with closing(open_store_at(store)) as here, closing(open_store_at(other)) as there:
        name = pick_campaign(there, join_campaigns(named, campaign))
        sites = (
            Site(here, open_artifacts(here, artifacts)),
            Site(there, open_artifacts(there, other_artifacts)),
        )
        with say_if_slow(f"comparing and importing {name}"):
            done = merge_campaign(*sites, name, other_weights)
    if as_json:
        _print_as_json(done)
    else:
        _print_merged(done)


def _print_as_json(merged: MergeSummary) -> None:
    record = asdict(merged)
    for key in ("differing", "parted"):
        record[key] = [entry._asdict() for entry in getattr(merged, key)]
    print(json.dumps(record, indent=2))


def _print_merged(merged: MergeSummary) -> None:
    """Say what was imported, what both stores have, and what was left out."""
    print(
        f"{merged.campaign}: {format_count(merged.results, 'result')} and "
        f"{format_count(merged.failures, 'failure')} imported, "
        f"{format_count(merged.artifacts, 'artifact')} copied, "
        f"{format_count(merged.new_studies, 'study')} and "
        f"{format_count(merged.new_trials, 'trial')} new"
    )
    print(
        f"both have {format_count(merged.same, 'equal result')} and "
        f"{format_count(len(merged.differing), 'that differs', 'that differ')}"
    )
    if merged.from_workers:
        print(
            f"{merged.from_workers:,} of the imported trials were running here; their workers "
            "go on with other trials"
        )
    if merged.after_failures:
        print(f"{merged.after_failures:,} of the imported trials had failed here")
    if merged.differing:
        _print_differing(merged)
    if merged.mixed:
        print(f"{merged.mixed:,} of the results rest on other pre-trained weights than the rest")
    if merged.other_weights:
        print(
            f"left out: {format_count(merged.other_weights, 'result')} that rest on other "
            "pre-trained weights; --other-weights imports them too"
        )
    for study, number in merged.parted[:SHOWN]:
        print(f"left out: {study}: from trial {number} on its sampler had seen other trials")
    _print_hidden(len(merged.parted))
    if merged.unknown:
        print(f"left out: {format_count(merged.unknown, 'trial')} that no spec asks for")


def _print_differing(merged: MergeSummary) -> None:
    sizes = sorted(merged.differing, key=lambda d: -d.accuracy_pp)
    mean = fmean(d.accuracy_pp for d in sizes)
    print(
        f"where they differ, this store's are kept; test accuracy differs by {mean:.2f} pp on "
        f"average, at most by {sizes[0].accuracy_pp:.2f} pp:"
    )
    for study, number, size in sizes[:SHOWN]:
        print(f"  {study} #{number}: {size:.2f} pp")
    _print_hidden(len(sizes))


def _print_hidden(n: int) -> None:
    if n > SHOWN:
        print(f"  ... and {n - SHOWN:,} more (--json shows all)")
