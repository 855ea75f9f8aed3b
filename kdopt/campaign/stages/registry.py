"""All stages, in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Callable

from kdopt.campaign.plan import Campaign, StageName
from kdopt.campaign.stages.combine import plan_combine
from kdopt.campaign.stages.compare import plan_compare
from kdopt.campaign.stages.federate import plan_federate
from kdopt.campaign.stages.pretrain import plan_pretrain
from kdopt.campaign.stages.tune import plan_tune
from kdopt.campaign.studies import StudyPlan

PLANNERS: dict[StageName, Callable[[Campaign], list[StudyPlan]]] = {
    "pretrain": plan_pretrain,
    "tune": plan_tune,
    "compare": plan_compare,
    "combine": plan_combine,
    "federate": plan_federate,
}


def plan_studies(campaign: Campaign) -> list[StudyPlan]:
    """Every study of a campaign, in planning order."""
    return [plan for plan_stage in PLANNERS.values() for plan in plan_stage(campaign)]
