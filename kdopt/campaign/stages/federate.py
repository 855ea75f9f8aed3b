"""Federated averaging: one study per partition over the initial model (section V-B)."""

from __future__ import annotations

from kdopt.campaign.many import INITIAL_MODELS
from kdopt.campaign.plan import Campaign
from kdopt.campaign.studies import Param, StudyPlan, partition_studies


def plan_federate(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per initial model and replicate."""
    initial_models = campaign.federate.initial_models
    cells = tuple(
        {"initial_model": initial, "replicate": replicate}
        for replicate in range(campaign.replicates)
        for initial in initial_models
    )
    space = {
        "initial_model": Param("category", choices=INITIAL_MODELS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    needs_all = "consolidated" in initial_models
    return partition_studies(campaign, "federate", space, cells, needs_all=needs_all)
