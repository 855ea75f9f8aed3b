"""``kdopt plan``: write a campaign's studies and trials into the store."""

from __future__ import annotations

from kdopt.cli.campaign_file import plan_spec
from kdopt.cli.options import DEFAULT_STORE, ArtifactsOption, SpecArgument, StoreOption
from kdopt.store.planning import Planned


def plan_command(
    spec: SpecArgument, store: StoreOption = DEFAULT_STORE, artifacts: ArtifactsOption = None
) -> None:
    """Write a campaign's studies and trials into the store.

    No trial runs. Planning again adds only what the file has new.
    """
    _, _, loaded, planned = plan_spec(spec, store, artifacts)
    print_planned(loaded.campaign.name, planned)


def print_planned(campaign: str, planned: Planned) -> None:
    """Say what planning a campaign found and added."""
    print(
        f"{campaign}: {planned.studies:,} studies, {planned.trials:,} trials planned "
        f"({planned.new_studies:,} studies and {planned.new_trials:,} trials new)"
    )
