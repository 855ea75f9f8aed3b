"""``kdopt features``: measure what tells the pairs of a campaign apart."""

from __future__ import annotations

from contextlib import closing

from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignArgument,
    CampaignOption,
    DeviceOption,
    PluginOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.tables import print_text
from kdopt.features.measurements import find_unmeasured_partitions
from kdopt.plugins.sources import give_plugins
from kdopt.store.queries import pick_campaign, read_record


def features_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    device: DeviceOption = None,
    plugin: PluginOption = None,
) -> None:
    """Measure pre-trained models on each other's images.

    The report and 'kdopt recommend' use the results, and the number of images of each class, to
    tell pairs apart. 'kdopt run' does this too. Run it again after more participants were
    pre-trained.
    """
    give_plugins(plugin or [])
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, join_campaigns(named, campaign))
        if not find_unmeasured_partitions(opened, name):
            print_text(f"{name}: nothing to measure: all pre-trained models were measured before")
            return
        # Only now, when there is something to measure.
        with say_if_slow("loading torch"):
            from kdopt.features.measuring import measure_campaign
            from kdopt.train.engine import make_engine

        settings = read_record(opened, name).campaign
        engine = make_engine(settings.precision, device, deterministic=settings.deterministic)
        with say_if_slow(f"measuring the pre-trained models of {name} on each other's images"):
            done = measure_campaign(opened, open_artifacts(opened, artifacts), name, engine)
    print_text(f"{name}: measured {', '.join(done)}")
