"""Pre-training: one study per partition over its participants (paper, section III)."""

from __future__ import annotations

from kdopt.campaign.names import study_name
from kdopt.campaign.plan import Campaign
from kdopt.campaign.studies import Param, StudyPlan


def plan_pretrain(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per participant."""
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, "pretrain"),
            campaign=campaign.name,
            partition=partition.name,
            stage="pretrain",
            objective="validation accuracy",
            space={"participant": Param("int", low=0, high=campaign.participants - 1)},
            cells=tuple({"participant": i} for i in range(campaign.participants)),
        )
        for partition in campaign.partitions
    ]
