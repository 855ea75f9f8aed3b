"""Read the campaign file that a command was given, and its images; plan it into a store.

Apart from :mod:`kdopt.cli.inputs`, so that a command that only looks at a store need not load what
reads and checks campaign files.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from kdopt.campaign.shapes import get_kind
from kdopt.campaign.spec import Spec, load_spec
from kdopt.campaign.stages import check_size
from kdopt.cli.announce import Say, say_nothing
from kdopt.data.datasets import Dataset, load_dataset
from kdopt.data.given_logits import pack_logits
from kdopt.plugins.code import PLUGIN_NAMES, find_code
from kdopt.service.outlook import ShareSizes, describe_images, describe_unused, measure_shares
from kdopt.service.planner import (
    check_plan,
    check_training,
    describe_given_logits,
    draw_splits,
    plan_campaign,
    read_given_logits,
    read_given_weights,
)
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.location import check_folder, folder_beside, parse_location, parse_place
from kdopt.store.planning import Planned


def load_spec_and_images(path: Path, say: Say = say_nothing) -> tuple[Spec, Dataset]:
    """Read a campaign file and its images, and check that its model fits them."""
    loaded = load_spec(path, PLUGIN_NAMES)
    find_code(loaded.campaign)
    check_size(loaded.campaign)
    data = loaded.campaign.data
    say(f"reading {data.root if data.name == 'arrays' else f'the images of {data.name}'}")
    dataset = load_dataset(loaded.campaign)
    check_training(loaded.campaign, dataset)
    return loaded, dataset


class PlannedSpec(NamedTuple):
    """A campaign file that was planned into a store.

    Attributes:
        store: The store, open.
        artifacts: Its artifacts.
        spec: The file.
        planned: What planning found and added.
        shares: How many images the participants of each partition have.
        notes: What is odd about the images.
    """

    store: Store
    artifacts: Artifacts
    spec: Spec
    planned: Planned
    shares: list[ShareSizes]
    notes: list[str]


def plan_spec(path: Path, store: str, artifacts: str | None, say: Say = say_nothing) -> PlannedSpec:
    """Plan a campaign file into a store that is made where there is none.

    What is wrong with the file, the images, the place of the artifacts or the campaign comes out
    before a store or an artifact is made.
    """
    loaded, dataset = load_spec_and_images(path, say)
    campaign = loaded.campaign
    weights = read_given_weights(campaign, dataset)
    say(
        f"sharing out {len(dataset.train_labels):,} {get_kind(dataset.shape)} among "
        f"{format_count(campaign.participants, 'participant')}, in "
        f"{format_count(len(campaign.partitions), 'way')}"
    )
    splits = draw_splits(campaign, dataset)
    logits = read_given_logits(campaign, dataset, splits)
    weights |= {name: pack_logits(given) for name, given in logits.items()}
    url = parse_location(store)
    place = parse_place(artifacts or folder_beside(url, "artifacts"))
    if isinstance(place, Path):
        check_folder(place)
    kept = Artifacts(place)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        check_plan(loaded, dataset, splits, None)
    shares = measure_shares(splits, dataset)
    notes = [
        *describe_images(campaign, dataset),
        *describe_unused(campaign, dataset, splits),
        *describe_given_logits(campaign, dataset, splits, logits),
    ]
    opened = open_store(store, create=True)
    with ExitStack() as if_stopped:
        if_stopped.callback(opened.close)
        say(f"planning studies and trials in {opened.label}")
        planned = plan_campaign(loaded, dataset, splits, opened, kept, weights)
        if_stopped.pop_all()
    return PlannedSpec(opened, kept, loaded, planned, shares, notes)
