"""Which versions compute a campaign: one of other versions is named, or refused.

Results differ in their last digits between versions of torch, and may differ in their meaning
between versions of kdopt and Optuna. The campaign keeps the versions of its workers in the order in
which they came; those of the first are the campaign's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from kdopt.errors import StoreError
from kdopt.store import queries
from kdopt.store.attributes import (
    VERSIONS_KEY,
    read_campaign_attribute,
    update_campaign_attribute,
)
from kdopt.store.database import Store
from kdopt.store.reading import UnreadableError, parse_json

logger = logging.getLogger(__name__)

COMPARED = ("kdopt", "torch", "optuna")
"""Packages whose versions count; builds of one version (``+cpu``) do not."""

Versions = tuple[str, ...]
"""The versions of :data:`COMPARED`."""


def join_campaign(store: Store, campaign: str, own: Mapping[str, str], same: bool = False) -> None:
    """Note the versions of a worker that begins; warn where the campaign has others.

    Args:
        store: The store.
        campaign: The campaign.
        own: The worker's versions by package, as an outcome has them.
        same: Refuse other versions instead.

    Raises:
        StoreError: They are others, and ``same`` was asked for; nothing is noted then.
    """
    versions = pick_versions(own)
    known = read_versions(store, campaign) or _read_first_result(store, campaign)
    if known and known[0] != versions:
        text = (
            f"this worker has {format_versions(versions)}, and campaign '{campaign}' was begun "
            f"with {format_versions(known[0])}"
        )
        if same:
            raise StoreError(f"{text}; install these, or leave --same-versions out")
        logger.warning(
            "%s; results may differ. Use the same versions, or refuse others by --same-versions",
            text,
        )
    if versions not in known or not read_versions(store, campaign):
        update_campaign_attribute(
            store,
            campaign,
            VERSIONS_KEY,
            lambda before: list(dict.fromkeys([*(_parse_versions(before) or known), versions])),
        )


def read_versions(store: Store, campaign: str) -> list[Versions]:
    """The versions of the campaign's workers, the first first; empty in stores of older kdopts."""
    try:
        return _parse_versions(read_campaign_attribute(store, campaign, VERSIONS_KEY))
    except StoreError:
        return []  # what nobody can read says nothing, and no result depends on it


def pick_versions(versions: Mapping[str, object]) -> Versions:
    """What of an outcome's versions counts."""
    return tuple(str(versions.get(name, "?")).partition("+")[0] for name in COMPARED)


def format_versions(versions: Versions) -> str:
    """Versions for people.

    >>> format_versions(("0.1", "2.4.0", "5.0"))
    'kdopt 0.1, torch 2.4.0, optuna 5.0'
    """
    return ", ".join(f"{name} {found}" for name, found in zip(COMPARED, versions, strict=True))


def describe_mixture(found: Iterable[Versions]) -> Iterator[str]:
    """A sentence about workers of several versions, the first first; none about one."""
    several = [format_versions(versions) for versions in dict.fromkeys(found)]
    if len(several) > 1:
        yield (
            f"workers of several versions: {several[0]} at first, then "
            f"{'; '.join(several[1:])}. Their results may differ; "
            "--same-versions of 'kdopt worker' refuses others"
        )


def is_list_of_versions(stored: object) -> bool:
    """Whether kdopt can have written this of a campaign's workers."""
    try:
        value = parse_json(stored)
    except UnreadableError:
        return False
    found = _parse_versions(value)
    # A package that a worker has not is '?'.
    return bool(found) and len(found) == len(value) == len(set(found)) and all(map(all, found))


def _parse_versions(value: object) -> list[Versions]:
    if not isinstance(value, list):
        return []
    return [
        tuple(map(str, item))
        for item in value
        if isinstance(item, list) and len(item) == len(COMPARED)
    ]


def _read_first_result(store: Store, campaign: str) -> list[Versions]:
    """The versions of a campaign that an older kdopt began, by a result of its first study."""
    for state in queries.read_study_counts(store, campaign):
        if state.complete:
            for row in queries.read_trials(store, campaign, state.study_id):
                if row.outcome is not None and row.outcome.versions:
                    return [pick_versions(row.outcome.versions)]
    return []
