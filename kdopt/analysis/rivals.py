"""Which trials' students compete to be the best of their pair, or of a student alone."""

from __future__ import annotations

import math

from kdopt.campaign.method_studies import list_searched_methods
from kdopt.campaign.names import study_name
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome


def is_rival(plan: StudyPlan, params: Params, outcome: Outcome) -> bool:
    """Whether a trial's student can be the best of its pair, or of its student alone."""
    if plan.stage not in ("control", "tune", "compare") or outcome.validation_gain is None:
        return False
    # Plain distillation at alpha 0 is the control: no teacher has a part in it.
    taught = plan.method is not None or params.get("alpha") != 0
    return taught and math.isfinite(outcome.validation_gain)


def name_rivals(campaign: Campaign, plan: StudyPlan, params: Params) -> tuple[tuple[str, ...], str]:
    """The studies whose trials a trial competes with, and who competes within them."""
    if plan.stage == "control":
        return (plan.name,), f"s{int(params['student']):02d}"
    pair = plan.teacher, plan.student
    studies = [
        study_name(plan.campaign, plan.partition, stage, *pair) for stage in ("tune", "compare")
    ]
    studies += [
        study_name(plan.campaign, plan.partition, "tune", *pair, method)
        for method in list_searched_methods(campaign)
    ]
    return tuple(studies), "pair"
