"""``kdopt plan``: write a campaign's studies and trials into the store."""

from __future__ import annotations

import math
from contextlib import closing

from kdopt.campaign.settings import Campaign
from kdopt.cli.announce import announce_steps
from kdopt.cli.campaign_file import PlannedSpec, plan_spec
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    PluginOption,
    QuietOption,
    SpecArgument,
    StoreOption,
)
from kdopt.cli.tables import print_text
from kdopt.plugins.sources import give_plugins
from kdopt.service.outlook import (
    LEAST_PER_CLASS,
    ShareSizes,
    count_planned_trials,
    estimate_training_seconds,
)
from kdopt.shown import format_count
from kdopt.store.queries import read_trials
from kdopt.typed import duration


def plan_command(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    plugin: PluginOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a campaign's studies and trials into the store.

    No trial runs. Planning again adds only what the file has new. It says how many images each
    participant has, and how long the rest takes where trials are done already.
    """
    give_plugins(plugin or [])
    done = plan_spec(spec, store, artifacts, announce_steps(quiet))
    with closing(done.store):
        print_planned(done)


def print_planned(done: PlannedSpec) -> None:
    """Say what planning a campaign found and added, and what is to come."""
    campaign, planned = done.spec.campaign, done.planned
    stages = ", ".join(f"{stage} {n:,}" for stage, n in count_planned_trials(campaign).items())
    shares = "; ".join(map(_describe_shares, done.shares))
    print_text(
        f"{campaign.name}: {format_count(planned.studies, 'study')}, "
        f"{format_count(planned.trials, 'trial')} planned "
        f"({format_count(planned.new_studies, 'study')} and "
        f"{format_count(planned.new_trials, 'trial')} new)\n"
        f"trials: {stages}\n"
        f"images per participant: {shares}\n"
        f"time: {_describe_time(done)}"
    )
    for note in done.notes:
        print_text(f"kdopt: warning: {note}", stderr=True)
    for share in done.shares:
        if share.too_small:
            print_text(_warn_of_small_shares(share, campaign), stderr=True)


def _describe_shares(share: ShareSizes) -> str:
    least, most = min(share.sizes), max(share.sizes)
    return f"{share.partition} {least:,}" + (f" to {most:,}" if most > least else "")


def _describe_time(done: PlannedSpec) -> str:
    if done.planned.new_trials == done.planned.trials:
        return "not known before the first trials are done; 'kdopt status' says it then"
    seconds = estimate_training_seconds(read_trials(done.store, done.spec.campaign.name))
    if seconds == 0:
        return "nothing is left to train"
    if math.isnan(seconds):
        return "not known: of some stages no trial is done yet"
    return f"about {duration(seconds)} of training left, in all workers together"


def _warn_of_small_shares(share: ShareSizes, campaign: Campaign) -> str:
    smallest = min(share.too_small, key=share.sizes.__getitem__)
    return (
        f"kdopt: warning: {share.partition}: participant {campaign.name_participant(smallest)} "
        f"trains on {format_count(share.sizes[smallest], 'image')} of "
        f"{format_count(share.classes, 'class')}, and {len(share.too_small)} of "
        f"{format_count(len(share.sizes), 'participant')} on fewer than {LEAST_PER_CLASS} per "
        "class; what such models do is mostly luck. Take more training images, fewer "
        "participants or smaller public sets"
    )
