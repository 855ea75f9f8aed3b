"""Open what a command was given: a store and its artifacts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kdopt.campaign.names import CAMPAIGN_NAME, parse_pair_name
from kdopt.cli.announce import say_if_slow
from kdopt.cli.options import DEFAULT_STORE, join_campaigns
from kdopt.errors import AdviceError, StoreError
from kdopt.launch.call import WorkerCall
from kdopt.outcome import Pair
from kdopt.plugins.sources import list_given_plugins
from kdopt.shown import shorten
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import RETRY_S, Store, open_store
from kdopt.store.location import folder_beside

MOST_LETTERS = 200
"""Of a folder's name: file systems take 255 bytes."""


def open_store_at(location: str, patient: bool = False, writes: bool = False) -> Store:
    """Open a store.

    Args:
        location: A path or an SQLAlchemy URL.
        patient: Wait for a database that is starting.
        writes: Refuse a server that takes no writes.
    """
    with say_if_slow("opening the store"):
        store = open_store(location, patience_s=RETRY_S if patient else 0.0)
    with contextlib.ExitStack() as if_refused:
        if_refused.callback(store.close)
        if writes:
            store.check_writable()
        if_refused.pop_all()
    return store


def open_artifacts(store: Store, location: str | None) -> Artifacts:
    """The artifacts of a store: at ``location``, or beside it."""
    return Artifacts(location or folder_beside(store.url, "artifacts"))


def list_store_options(store: Store) -> list[str]:
    """What names this store to another command; nothing for the one that is taken anyway."""
    if os.environ.get("KDOPT_STORE"):
        return []
    if store.dialect != "sqlite":
        # The URL may hold a password, which belongs on no screen.
        return ["--store", "URL"]
    path = str(store.url.database)
    return [] if path == DEFAULT_STORE else ["--store", path]


def campaign_folder(store: Store, kind: str, *campaigns: str) -> Path:
    """The folder of a campaign, or of several together, among those of its kind beside the store.

    Args:
        store: The store.
        kind: ``reports`` or ``logs``.
        campaigns: As the store names them. Not every store was written by kdopt, and a campaign
            called ``..`` would be another folder.

    Raises:
        StoreError: A name is none that a campaign may have.
    """
    odd = next((name for name in campaigns if not CAMPAIGN_NAME.match(name)), None)
    if odd is not None:
        raise StoreError(
            f"store {store.label}: campaign {shorten(odd, 100)!r} has a name that kdopt gives to "
            "none, so no folder is made for it; name one with --out or --logs"
        )
    return folder_beside(store.url, kind) / "-and-".join(campaigns)[:MOST_LETTERS]


def make_call(store: Store, artifacts: Artifacts, campaign: str) -> WorkerCall:
    """What workers of a campaign are told, wherever they start."""
    url = store.url
    if store.dialect == "sqlite":
        # A worker may start in another folder.
        url = url.set(database=str(Path(str(url.database)).absolute()))
    return WorkerCall(
        url.render_as_string(hide_password=False),
        str(artifacts.root),
        campaign,
        plugins=tuple(str(file.path) for file in list_given_plugins()),
    )


def read_pair(text: str, campaign: str | None = None) -> tuple[str | None, Pair]:
    """The campaign, if the text or ``--campaign`` names it, and the pair.

    Raises:
        AdviceError: The text names no pair.
        KdoptError: The text names another campaign than ``--campaign``.
    """
    named = text.count("/") > 1
    try:
        name = parse_pair_name(text if named else f"campaign/{text}")
    except ValueError as error:
        raise AdviceError(
            f"'{text}' names no pair; write [CAMPAIGN/]PARTITION/tNN-sNN, such as uniform/t00-s01"
        ) from error
    assert name.teacher is not None and name.student is not None
    asked = join_campaigns(name.campaign if named else None, campaign)
    return asked, Pair(name.partition, name.teacher, name.student)
