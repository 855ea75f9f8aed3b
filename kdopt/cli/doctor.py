"""``kdopt doctor``: check that a store lost nothing and did nothing twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    JsonOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.process import pause_garbage_collection
from kdopt.cli.tables import print_columns, print_text
from kdopt.errors import StoreError
from kdopt.service.doctor import Checkup, check_campaign, check_store
from kdopt.service.repair import drop_leases_of_nothing, repair_campaign
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.queries import list_campaigns, pick_campaign

SHOWN_PROBLEMS = 50
"""Problems of a campaign that are shown as text; ``--json`` has all."""

COUNTED = (
    "planned",
    "rows",
    "complete",
    "failed",
    "running",
    "waiting",
    "retried",
    "duplicates",
    "artifacts",
)
"""Fields of a check-up that are columns."""

AnyCampaignArgument = Annotated[
    str | None,
    typer.Argument(metavar="CAMPAIGN", help="The campaign [default: all of the store]."),
]
AnyCampaignOption = Annotated[
    str | None, typer.Option("--campaign", help="The campaign [default: all of the store].")
]
DeepOption = Annotated[
    bool, typer.Option("--deep", help="Read every artifact and compare its sha256.")
]
RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="First put back the record and what studies say of themselves, queue trials again "
        "that cannot be read or that another program ended, and remove leases that belong to "
        "nothing.",
    ),
]


def doctor_command(
    named: AnyCampaignArgument = None,
    campaign: AnyCampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    deep: DeepOption = False,
    repair: RepairOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing was lost, done twice or changed by others.

    Exit code 1 when there are problems.
    """
    with closing(open_store_at(store)) as opened:
        asked = join_campaigns(named, campaign)
        names = list_campaigns(opened) if asked is None else [pick_campaign(opened, asked)]
        kept = open_artifacts(opened, artifacts)
        if repair:
            _repair_all(opened, names)
        with pause_garbage_collection():
            found = [_check_campaign(opened, kept, name, deep) for name in names]
        with say_if_slow("checking the store as a whole"):
            lost = check_store(opened)
        if lost:
            found.append(Checkup("(no campaign)", problems=tuple(lost)))
    if as_json:
        print(json.dumps([asdict(checkup) for checkup in found], indent=2))
    else:
        _print_checkups(found)
    if any(checkup.problems for checkup in found):
        raise typer.Exit(1)


def _check_campaign(store: Store, artifacts: Artifacts, name: str, deep: bool) -> Checkup:
    with say_if_slow(f"checking {name}{' and its artifacts' if deep else ''}"):
        return check_campaign(store, artifacts, name, deep)


def _repair_all(store: Store, names: Sequence[str]) -> None:
    """Repair what can be; one that cannot keeps nobody from the others."""
    n_leases = drop_leases_of_nothing(store)
    if n_leases:
        print(
            f"removed {format_count(n_leases, 'lease')} of trials that are no more", file=sys.stderr
        )
    for name in names:
        try:
            done = repair_campaign(store, name)
        except StoreError as error:
            print(f"{name}: not repaired: {error}", file=sys.stderr)
            continue
        if done.record:
            print(f"{name}: its record was put back", file=sys.stderr)
        if done.studies:
            print(
                f"{name}: put right what is said of themselves by "
                f"{format_count(done.studies, 'study')}",
                file=sys.stderr,
            )
        if done.trials:
            print(
                f"{name}: {format_count(done.trials, 'trial is', 'trials are')} planned again",
                file=sys.stderr,
            )


def _print_checkups(found: Sequence[Checkup]) -> None:
    """Print a table of counts, then the problems."""
    lines: list[tuple[str, ...]] = [("campaign", *COUNTED)]
    lines += [(c.campaign, *(f"{getattr(c, key):,}" for key in COUNTED)) for c in found]
    print_columns(lines, 1)
    for checkup in found:
        for problem in checkup.problems[:SHOWN_PROBLEMS]:
            print_text(f"{checkup.campaign}: {problem}")
        hidden = len(checkup.problems) - SHOWN_PROBLEMS
        if hidden > 0:
            print(f"{checkup.campaign}: ... and {hidden:,} more (--json shows all)")
        for note in checkup.notes:
            print_text(f"{checkup.campaign}: note: {note}")
    n = sum(len(checkup.problems) for checkup in found)
    print(format_count(n, "problem") if n else "no problems found")
