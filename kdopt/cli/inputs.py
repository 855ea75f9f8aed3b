"""Open what a command was given: a store, its artifacts, a campaign file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdopt.launch.call import WorkerCall

if TYPE_CHECKING:
    from kdopt.campaign.spec import Spec
    from kdopt.data.datasets import Dataset
    from kdopt.store.artifacts.artifacts import Artifacts
    from kdopt.store.database import Store
    from kdopt.store.planning import Planned

# Imports are inside the functions, as in all commands (see `app`).


def tolerate_narrow_encodings() -> None:
    """Let stdout write ``?`` for what its encoding lacks, rather than fail."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def load_spec_and_images(path: Path) -> tuple[Spec, Dataset]:
    """Read a campaign file and its images, and check that its model fits them."""
    from kdopt.campaign.spec import load_spec
    from kdopt.data.datasets import load_dataset
    from kdopt.service.planner import check_model

    loaded = load_spec(path)
    dataset = load_dataset(loaded.campaign)
    check_model(loaded.campaign, dataset)
    return loaded, dataset


def plan_spec(
    path: Path, store: str, artifacts: str | None
) -> tuple[Store, Artifacts, Spec, Planned]:
    """Plan a campaign file into a store that is made where there is none."""
    from kdopt.service.planner import draw_splits, plan_campaign
    from kdopt.store.database import open_store

    # What is wrong with the file or the images comes out before a store is made.
    loaded, dataset = load_spec_and_images(path)
    splits = draw_splits(loaded.campaign, dataset)
    opened = open_store(store, create=True)
    kept = open_artifacts(opened, artifacts)
    return opened, kept, loaded, plan_campaign(loaded, dataset, splits, opened, kept)


def open_store_at(location: str, patient: bool = False) -> Store:
    """Open a store; ``patient``: wait for a database that is starting."""
    from kdopt.store.database import RETRY_S, open_store

    return open_store(location, patience_s=RETRY_S if patient else 0.0)


def open_artifacts(store: Store, location: str | None) -> Artifacts:
    """The artifacts of a store: at ``location``, or beside it."""
    from kdopt.store.artifacts.artifacts import Artifacts

    return Artifacts(location or folder_beside(store, "artifacts"))


def folder_beside(store: Store, name: str) -> Path:
    """A folder beside an SQLite file; in ``storage/`` for a database server."""
    if store.dialect == "sqlite":
        return Path(str(store.url.database)).absolute().parent / name
    return Path("storage").absolute() / name


def make_call(store: Store, artifacts: Artifacts, campaign: str) -> WorkerCall:
    """What workers of a campaign are told, wherever they start."""
    url = store.url
    if store.dialect == "sqlite":
        # A worker may start in another folder.
        url = url.set(database=str(Path(str(url.database)).absolute()))
    return WorkerCall(url.render_as_string(hide_password=False), str(artifacts.root), campaign)
