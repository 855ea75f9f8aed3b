"""The studies that tune a method over parameters of its own: one per pair and method.

Plain distillation over temperature and alpha alone is planned in ``kdopt.campaign.stages``, and
its study names have no method.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import fields
from typing import get_args

from kdopt.campaign.method_spaces import LOG_SCALED, SPACES, PublicSetName
from kdopt.campaign.plugin_methods import PluginMethod
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import MethodName
from kdopt.campaign.studies import (
    Param,
    Params,
    ParamValue,
    SettingKey,
    StudyPlan,
    get_setting,
    pair_studies,
)

BUDGET_FIELDS = ("learning_rate", "epochs", "batch_size")
"""Parameters of ``[tune.search]``, called as those of ``[distill]``."""


def plan_method_studies(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, ordered pair and method with parameters of its own."""
    plans = []
    for method in list_searched_methods(campaign):
        settings, n_open = plan_settings(campaign, method)
        replicates = range(campaign.replicates)
        cells = tuple({**setting, "replicate": r} for setting in settings for r in replicates)
        space = make_method_space(campaign, method)
        plans += pair_studies(
            campaign, "tune", space, cells, n_open * campaign.replicates, method=method
        )
    return plans


def tunes_points(campaign: Campaign) -> bool:
    """Whether temperature and alpha are tuned alone, as the map of a pair shows it."""
    return "kd" in campaign.tune.methods and not _list_searched_budgets(campaign)


def list_searched_methods(campaign: Campaign) -> list[str]:
    """The methods that have studies of their own."""
    if "tune" not in campaign.stages:
        return []
    alone = tunes_points(campaign)
    return [method for method in campaign.tune.all_methods if method != "kd" or not alone]


def plan_settings(campaign: Campaign, method: str) -> tuple[list[Params], int]:
    """The settings of a method that are known beforehand, and how many are chosen later.

    The published setting comes first, under every sampler. A grid has all combinations besides.
    """
    published = get_published_setting(campaign, method)
    if campaign.tune.sampler != "grid":
        return [published], campaign.tune.budget - 1
    values = list_searched_values(campaign, method)
    grid = [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
    first = get_setting(published)
    return [published, *(setting for setting in grid if get_setting(setting) != first)], 0


def list_searched_values(campaign: Campaign, method: str) -> dict[str, tuple[ParamValue, ...]]:
    """The values of every parameter of a method's trials, by name: its own, then the budget's."""
    tune = campaign.tune
    if method == "kd":
        own: dict[str, tuple[ParamValue, ...]] = {
            "temperature": tune.temperatures,
            "alpha": tune.alphas,
        }
    elif plugin := _find_plugin_method(campaign, method):
        own = {param.name: param.values for param in plugin.params}
    else:
        space = getattr(tune, method)
        own = {field.name: getattr(space, field.name) for field in fields(space)}
    if "transfer_set" in own:
        own["transfer_set"] = tuple(
            name for name in own["transfer_set"] if getattr(campaign.transfer, str(name))
        )
    return own | _list_searched_budgets(campaign)


def get_published_setting(campaign: Campaign, method: str) -> Params:
    """What a method's authors recommend, at the budget of ``[distill]``; for ``kd``, vanilla."""
    tune = campaign.tune
    values = list_searched_values(campaign, method)
    own: dict[str, ParamValue] = {
        "temperature": tune.vanilla_temperature,
        "alpha": tune.vanilla_alpha,
    }
    if plugin := _find_plugin_method(campaign, method):
        own = {param.name: param.published for param in plugin.params}
    elif method != "kd":
        own = dict(SPACES[method].published)
    if "transfer_set" in values:
        own["transfer_set"] = values["transfer_set"][-1]
    budget = {name: getattr(campaign.distill, name) for name in BUDGET_FIELDS}
    return {name: own[name] if name in own else budget[name] for name in values}


def list_control_budgets(campaign: Campaign) -> list[Params]:
    """The budgets with which a student trains on without a teacher: that of ``[distill]`` first.

    Where methods search their budget, so does the control, in every combination of the values:
    what a method gains by more epochs or another rate, the teacher has no part in.
    """
    searched = _list_searched_budgets(campaign) if "tune" in campaign.stages else {}
    own: Params = {name: getattr(campaign.distill, name) for name in searched}
    grid = (dict(zip(searched, e, strict=True)) for e in itertools.product(*searched.values()))
    return [own, *(budget for budget in grid if budget != own)]


def make_budget_space(campaign: Campaign) -> dict[str, Param]:
    """The parameters of :func:`list_control_budgets`."""
    budgets = list_control_budgets(campaign)
    return {name: _make_param(name, tuple(b[name] for b in budgets)) for name in budgets[0]}


def get_budget(params: Params) -> SettingKey:
    """What a trial says of its budget; what it does not is as in ``[distill]``."""
    return tuple((name, params[name]) for name in BUDGET_FIELDS if name in params)


def uses_teacher(params: Params, method: str | None) -> bool:
    """Whether the teacher has a part in a distillation: none where its terms have weight 0.

    Args:
        params: Those of a trial of stage ``tune`` or ``compare``.
        method: What its study tunes, where that is not temperature and alpha alone.
    """
    if method is None or method == "kd":
        return params.get("alpha") != 0
    weights = SPACES[method].teacher_weights if method in SPACES else ()
    return not weights or any(params.get(name) != 0 for name in weights)


def get_param_names(method: str) -> frozenset[str]:
    """The parameters that every trial of a method has; of another version's, what all have."""
    if method == "kd":
        return frozenset({"temperature", "alpha", "replicate"})
    own = fields(SPACES[method]) if method in SPACES else ()  # type: ignore[arg-type]
    return frozenset({"replicate", *(field.name for field in own)})


def make_method_space(campaign: Campaign, method: str) -> dict[str, Param]:
    """The search space of a method: the same for every sampler, so that plots share their axes."""
    published = get_published_setting(campaign, method)
    plugin = _find_plugin_method(campaign, method)
    log = {p.name for p in plugin.params if p.log} if plugin else LOG_SCALED
    log = {*log, "learning_rate"}
    space = {
        name: _make_param(name, (*values, published[name]), log)
        for name, values in list_searched_values(campaign, method).items()
    }
    return {**space, "replicate": Param("int", 0, campaign.replicates - 1)}


def _find_plugin_method(campaign: Campaign, method: str) -> PluginMethod | None:
    return next((m for m in campaign.tune.plugin_methods if m.name == method), None)


def _make_param(
    name: str, values: tuple[ParamValue, ...], log: Collection[str] = LOG_SCALED
) -> Param:
    if name == "transfer_set":
        # All choices, whatever this campaign asks for: Optuna's categories may not change later.
        return Param("category", choices=get_args(PublicSetName))
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    if name in ("epochs", "batch_size"):
        return Param("int", low, high)
    return Param("float", low, high, log=name in log)


def _list_searched_budgets(campaign: Campaign) -> dict[str, tuple[ParamValue, ...]]:
    search = campaign.tune.search
    found = {name: getattr(search, name) for name in BUDGET_FIELDS}
    return {name: values for name, values in found.items() if values}


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
