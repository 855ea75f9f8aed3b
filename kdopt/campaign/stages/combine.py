"""Combining: all participants distilled into one model, one study per partition (section V-A)."""

from __future__ import annotations

from typing import NamedTuple

from kdopt.campaign.many import STARTS, WEIGHTINGS, StartName, TransferName, WeightingName
from kdopt.campaign.plan import TRANSFER_SETS, Campaign
from kdopt.campaign.studies import Param, StudyPlan, partition_studies


class Combination(NamedTuple):
    """One way of combining: a column of Table II."""

    start: StartName
    transfer_set: TransferName
    weighting: WeightingName


def list_combinations(campaign: Campaign) -> list[Combination]:
    """The grid of Table II: what has images, and no untrained student on its own data."""
    combine = campaign.combine
    return [
        Combination(start, transfer_set, weighting)
        for transfer_set in combine.transfer_sets
        if transfer_set == "student" or campaign.transfer.size(transfer_set)
        for start in combine.starts
        if not (start == "untrained" and transfer_set == "student")
        for weighting in combine.weightings
    ]


def plan_combine(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per way and replicate."""
    cells = tuple(
        {**way._asdict(), "replicate": replicate}
        for way in list_combinations(campaign)
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "start": Param("category", choices=STARTS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "weighting": Param("category", choices=WEIGHTINGS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return partition_studies(campaign, "combine", space, cells, needs_all=True)
