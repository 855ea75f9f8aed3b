"""How a campaign may change in its store: it may grow, and nothing else.

What the store keeps is the union of everything that was ever planned under the campaign's name,
so what a trial means never depends on which spec was planned last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from kdopt.errors import StoreError
from kdopt.names import fingerprint
from kdopt.plan import CampaignRecord

T = TypeVar("T")


def check_same_meaning(before: CampaignRecord, now: CampaignRecord) -> None:
    """Refuse a spec under which the trials already planned would compute something else.

    Images and splits are compared by their content, not by the settings they were made with:
    every partition that was ever planned keeps its split.

    Raises:
        StoreError: Names what differs.
    """
    old, new = fingerprint(before.campaign), fingerprint(now.campaign)
    changed = sorted(key for key in old.keys() & new.keys() if old[key] != new[key])
    if before.data_sha256 != now.data_sha256:
        changed.append("data (the images are not the same)")
    elif not changed:
        changed += [
            f"partition.{name} (who gets which images is not the same)"
            for name in sorted(before.splits.keys() & now.splits.keys())
            if before.splits[name] != now.splits[name]
        ]
    if changed:
        raise StoreError(
            f"campaign '{now.campaign.name}' is in this store already with other values of: "
            f"{', '.join(changed)}; its trials would not be comparable. "
            "Change them back, give the campaign another name, or use another --store"
        )


def merge(before: CampaignRecord, now: CampaignRecord) -> CampaignRecord:
    """The union of two specs of the same meaning; the newer one decides the order.

    A spec without a stage says nothing about its settings, so those planned with stay.
    """
    old, new = before.campaign, now.campaign
    compare = new.compare if "compare" in new.stages else old.compare
    combine = new.combine if {"combine", "federate"} & set(new.stages) else old.combine
    federate = new.federate if "federate" in new.stages else old.federate
    names = {p.name for p in new.partitions}
    campaign = replace(
        new,
        replicates=max(old.replicates, new.replicates),
        partitions=(*new.partitions, *(p for p in old.partitions if p.name not in names)),
        stages=_union(new.stages, old.stages),
        tune=replace(
            new.tune,
            temperatures=_union(new.tune.temperatures, old.tune.temperatures),
            alphas=_union(new.tune.alphas, old.tune.alphas),
            budget=max(old.tune.budget, new.tune.budget),
        ),
        compare=replace(
            compare,
            methods=_union(new.compare.methods, old.compare.methods),
            transfer_sets=_union(new.compare.transfer_sets, old.compare.transfer_sets),
        ),
        combine=replace(
            combine,
            starts=_union(new.combine.starts, old.combine.starts),
            transfer_sets=_union(new.combine.transfer_sets, old.combine.transfer_sets),
            weightings=_union(new.combine.weightings, old.combine.weightings),
        ),
        federate=replace(
            federate,
            initial_models=_union(new.federate.initial_models, old.federate.initial_models),
        ),
    )
    return replace(now, campaign=campaign, splits={**before.splits, **now.splits})


def _union(first: Iterable[T], second: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))
