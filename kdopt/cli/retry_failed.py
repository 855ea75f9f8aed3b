"""``kdopt retry-failed``: queue failed trials again."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    CampaignArgument,
    CampaignOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.tables import print_text
from kdopt.shown import format_count
from kdopt.store.planning import requeue_failed_trials
from kdopt.store.queries import pick_campaign


def retry_failed_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only failures whose reason contains this text.")
    ] = None,
) -> None:
    """Queue failed trials again.

    Then run them with 'kdopt run SPEC' or 'kdopt worker'.
    """
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, join_campaigns(named, campaign))
        with say_if_slow(f"looking for failed trials of {name}"):
            studies = requeue_failed_trials(opened, name, reason or "")
    print_text(
        f"{name}: {format_count(len(studies), 'failed trial')} of "
        f"{format_count(len(set(studies)), 'study')} queued again"
    )
