"""Comparison: one study per (partition, teacher, student) over method and transfer set."""

from __future__ import annotations

from kdopt.campaign.plan import METHODS, TRANSFER_SETS, Campaign
from kdopt.campaign.studies import Param, StudyPlan, pair_studies


def plan_compare(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and ordered pair, one trial per method, transfer set and replicate.

    Every method is planned on every set that has images, also where the paper expects it to fail
    (mutual learning without labels): that it fails is one of its findings.
    """
    compare, transfer = campaign.compare, campaign.transfer
    sets = [s for s in compare.transfer_sets if s == "student" or transfer.size(s)]
    cells = tuple(
        {"method": method, "transfer_set": transfer_set, "replicate": replicate}
        for transfer_set in sets
        for method in compare.methods
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "method": Param("category", choices=METHODS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return pair_studies(campaign, "compare", space, cells)
