"""Comparison: one study per (partition, teacher, student) over method and transfer set."""

from __future__ import annotations

from typing import cast

from kdopt.campaign.method_studies import list_fixed_values
from kdopt.campaign.stage_settings import MethodName, TransferName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.trials.context import Context
from kdopt.trials.distil import distil_pair
from kdopt.trials.interfaces import Inputs


def run_compare(context: Context, plan: StudyPlan, params: Params, inputs: Inputs) -> Outcome:
    """Distil one pair by one method on one transfer set; the student is what is kept."""
    name = cast("MethodName", params["method"])
    return distil_pair(
        context,
        plan,
        inputs,
        method=name,
        values=list_fixed_values(context.campaign, name),
        transfer_set=cast("TransferName", params["transfer_set"]),
        replicate=int(params["replicate"]),
        budget=context.campaign.distill,
    )
