"""Read the campaign file that a command was given, and its images; plan it into a store.

Apart from :mod:`kdopt.cli.inputs`, so that a command that only looks at a store need not load what
reads and checks campaign files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kdopt.campaign.spec import Spec, load_spec
from kdopt.cli.inputs import open_artifacts
from kdopt.data.datasets import Dataset, load_dataset
from kdopt.service.outlook import ShareSizes, measure_shares
from kdopt.service.planner import check_augmentation, check_model, draw_splits, plan_campaign
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.planning import Planned


def load_spec_and_images(path: Path) -> tuple[Spec, Dataset]:
    """Read a campaign file and its images, and check that its model fits them."""
    loaded = load_spec(path)
    dataset = load_dataset(loaded.campaign)
    check_model(loaded.campaign, dataset)
    check_augmentation(loaded.campaign, dataset)
    return loaded, dataset


class PlannedSpec(NamedTuple):
    """A campaign file that was planned into a store.

    Attributes:
        store: The store, open.
        artifacts: Its artifacts.
        spec: The file.
        planned: What planning found and added.
        shares: How many images the participants of each partition have.
    """

    store: Store
    artifacts: Artifacts
    spec: Spec
    planned: Planned
    shares: list[ShareSizes]


def plan_spec(path: Path, store: str, artifacts: str | None) -> PlannedSpec:
    """Plan a campaign file into a store that is made where there is none."""
    # What is wrong with the file or the images comes out before a store is made.
    loaded, dataset = load_spec_and_images(path)
    splits = draw_splits(loaded.campaign, dataset)
    opened = open_store(store, create=True)
    kept = open_artifacts(opened, artifacts)
    planned = plan_campaign(loaded, dataset, splits, opened, kept)
    return PlannedSpec(opened, kept, loaded, planned, measure_shares(splits, dataset))
