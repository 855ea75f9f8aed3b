"""All stages, in the order in which they depend on each other."""

from __future__ import annotations

from kdopt.plan import Campaign, StageName, StudyPlan
from kdopt.stages import combine, compare, federate, pretrain, tune
from kdopt.stages.base import Stage

STAGES: dict[StageName, Stage] = {
    "pretrain": Stage(pretrain.studies, pretrain.run),
    "tune": Stage(tune.studies, tune.run),
    "compare": Stage(compare.studies, compare.run),
    "combine": Stage(combine.studies, combine.run),
    "federate": Stage(federate.studies, long_run=federate.run),
}


def all_studies(campaign: Campaign) -> list[StudyPlan]:
    """Every study of a campaign, in planning order."""
    return [plan for stage in STAGES.values() for plan in stage.studies(campaign)]
