"""What was measured once of a campaign's partitions, kept beside its record."""

from __future__ import annotations

from collections.abc import Mapping

from kdopt.features.partition_facts import PartitionFacts
from kdopt.store.campaign_attributes import read_campaign_attribute, update_campaign_attribute
from kdopt.store.database import Store

FACTS_KEY = "kd:facts"


def read_facts(store: Store, campaign: str) -> dict[str, PartitionFacts]:
    """The facts of a campaign by partition; empty where nobody measured any."""
    found = read_campaign_attribute(store, campaign, FACTS_KEY) or {}
    return {name: PartitionFacts.from_json(record) for name, record in found.items()}


def write_facts(store: Store, campaign: str, facts: Mapping[str, PartitionFacts]) -> None:
    """Keep facts of some partitions; what is known of the others stays.

    Raises:
        StoreError: There is no such campaign.
    """
    new = {name: found.to_json() for name, found in facts.items()}
    update_campaign_attribute(store, campaign, FACTS_KEY, lambda before: {**(before or {}), **new})
