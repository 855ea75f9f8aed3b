"""Comparison: one study per (partition, teacher, student) over method and transfer set."""

from __future__ import annotations

from typing import cast

from kdopt.campaign.settings import Campaign
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


def list_fixed_values(campaign: Campaign, method: MethodName) -> dict[str, float | None]:
    """The parameters of a method in stage ``compare``, by name."""
    tune, compare = campaign.tune, campaign.compare
    values: dict[MethodName, dict[str, float | None]] = {
        "vanilla": {
            "temperature": tune.vanilla_temperature,
            "alpha": tune.vanilla_alpha,
            "self_teacher_weight": compare.self_teacher_weight,
        },
        "dml": {"temperature": compare.dml_temperature, "weight": compare.dml_weight},
        "dp_kd": {
            "temperature": compare.dp_kd_temperature,
            "label_weight": compare.dp_kd_label_weight,
        },
    }
    return values[method]
