"""What stages and methods of a campaign file need of each other, beyond each value's own rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from kdopt.campaign.federated_algorithms import ALGORITHM_TABLES
from kdopt.campaign.fields import list_fields
from kdopt.campaign.method_spaces import SPACES, BudgetSpace
from kdopt.campaign.settings import CampaignFile
from kdopt.campaign.stage_settings import Sampler

NO_PRIOR = "learns from no other pairs; this goes with warm"
SAMPLERS_OF: Mapping[str, tuple[tuple[str, ...], str]] = {
    "budget": (
        ("tpe", "random", "gp", "warm"),
        "decides its own number of trials; a budget goes with tpe, random, gp or warm",
    ),
    "prior": (("warm",), NO_PRIOR),
    "warm_trials": (("warm",), NO_PRIOR),
    "warm_then": (("warm",), NO_PRIOR),
}
"""Keys of ``[tune]`` that some samplers use, and why the others refuse them."""


def list_unused_keys(raw: Mapping[str, Any]) -> list[str]:
    """Keys of ``[tune]`` that the sampler refuses; of the file's text, as defaults are no fault."""
    tune = raw.get("tune", {})
    if not isinstance(tune, dict):
        return []
    sampler = tune.get("sampler", "grid")
    if sampler not in get_args(Sampler):
        return []
    return [
        f"tune.{key} = {tune[key]!r}: sampler '{sampler}' {reason}; change it, or leave it out"
        for key, (samplers, reason) in SAMPLERS_OF.items()
        if key in tune and sampler not in samplers
    ]


def list_missing_sets(file: CampaignFile) -> list[str]:
    """Stages left without anything to train on; elsewhere sets without images are skipped."""
    problems = []
    federate, combine, sets = file.federate, file.combine, file.compare.transfer_sets
    if (
        "compare" in file.stages
        and "student" not in sets
        and not any(map(file.transfer.size, sets))
    ):
        problems.append(
            f"compare.transfer_sets = {', '.join(sets)}: none of them has images; give one some in "
            "[transfer], or add 'student'"
        )
    name = federate.transfer_set
    if "federate" in file.stages and federate.uses_consolidated:
        if name == "student" and federate.start == "untrained":
            problems.append(
                "federate.start = 'untrained': such a student has no data of its own; "
                "start from 'best' or 'worst', or give federate.transfer_set a public set"
            )
        if name != "student" and not file.transfer.size(name):
            problems.append(
                f"federate.transfer_set = '{name}': this set has no images; "
                f"give transfer.{name} some, or use another set"
            )
    own = "student" in combine.transfer_sets and set(combine.starts) != {"untrained"}
    public = [s for s in combine.transfer_sets if s != "student"]
    if "combine" in file.stages and not own and not any(map(file.transfer.size, public)):
        problems.append(
            f"combine.transfer_sets = {', '.join(combine.transfer_sets)}: with the starts "
            f"{', '.join(combine.starts)} none of them has images (an untrained student has none "
            "of its own); give a public set some in [transfer], or add 'best' or 'worst' to starts "
            "and 'student' to transfer_sets"
        )
    return problems


def list_algorithm_misfits(file: CampaignFile, raw: Mapping[str, Any]) -> list[str]:
    """What does not go with the federated algorithms: key, value, rule and fix of each.

    Args:
        file: The file as it was read.
        raw: Its text, as defaults are no fault.
    """
    settings, names = file.federate, ", ".join(file.federate.algorithms)
    problems = [
        f"federate.{name}: '{name}' is not among federate.algorithms ({names}), so nothing uses "
        "this table; add it there, or leave the table out"
        for name in ALGORITHM_TABLES
        if name in raw.get("federate", {}) and name not in settings.algorithms
    ]
    asking = settings.asking_public
    if "federate" in file.stages and asking and not file.transfer.size(settings.public_set):
        ask = "asks" if len(asking) == 1 else "ask"
        problems.append(
            f"federate.algorithms = {names}: {' and '.join(asking)} {ask} models about public "
            f"images, and federate.public_set = '{settings.public_set}' has none; give "
            f"transfer.{settings.public_set} some, or choose fedavg or def_kt"
        )
    return problems


def list_idle_settings(file: CampaignFile, raw: Mapping[str, Any]) -> list[str]:
    """Settings that the file changes and nothing in it uses; a written default says nothing."""
    combines = "combine" in file.stages or (
        "federate" in file.stages and file.federate.uses_consolidated
    )
    methods = file.compare.methods if "compare" in file.stages else ()
    algorithms, averaging = file.federate.algorithms, file.federate.averaging
    asks_public = bool(file.federate.asking_public)
    idle = [
        ("compare", "dml_temperature", "dml" in methods, "no stage runs dml"),
        ("compare", "dp_kd_temperature", "dp_kd" in methods, "no stage runs dp_kd"),
        ("compare", "dp_kd_label_weight", "dp_kd" in methods, "no stage runs dp_kd"),
        ("combine", "epochs", combines, "no stage combines models"),
        ("combine", "patience", combines, "no stage combines models"),
        ("federate", "initial_models", bool(averaging), "no algorithm has a global model"),
        ("federate", "own_starts", averaging != algorithms, "all algorithms have a global model"),
        ("federate", "public_set", asks_public, "no algorithm asks about public images"),
        ("pretrain", "monitor", file.pretrain.patience > 0, "patience = 0 watches nothing"),
        ("distill", "monitor", file.distill.patience > 0, "patience = 0 watches nothing"),
        ("data", "views", bool(file.data.augment), "without data.augment there is one view"),
    ]
    return [
        f"{table}.{key} = {raw[table][key]!r}: {reason}; change that, or leave it out"
        for table, key, used, reason in idle
        if not used and key in raw.get(table, {}) and raw[table][key] != _find_default(table, key)
    ]


def _find_default(table: str, key: str) -> object:
    tables = {field.name: field.table for field in list_fields(CampaignFile)}
    settings = tables[table]
    assert settings is not None
    default = next(field.default for field in list_fields(settings) if field.name == key)
    return list(default) if isinstance(default, tuple) else default  # as a file writes it


def list_own_prior(file: CampaignFile) -> list[str]:
    """A campaign that would learn from itself."""
    if file.name not in file.tune.prior:
        return []
    return [
        f"tune.prior = {', '.join(file.tune.prior)}: '{file.name}' is this campaign, whose pairs "
        "learn from each other anyway; name finished campaigns, or leave it out"
    ]


def list_method_misfits(file: CampaignFile, raw: Mapping[str, Any]) -> list[str]:
    """What does not go with the methods that are tuned: key, value, rule and fix of each.

    Args:
        file: The file as it was read.
        raw: Its text, as defaults are no fault.
    """
    tune, methods = file.tune, ", ".join(file.tune.all_methods)
    problems = [] if methods else ["tune.methods = []: must have one; add it, or leave it out"]
    problems += [
        f"tune.{name}: '{name}' is not among tune.methods ({methods}), so nothing uses this table; "
        "add it there, or leave the table out"
        for name in SPACES
        if name in raw.get("tune", {}) and name not in tune.methods
    ]
    if tune.sampler in ("sequential", "warm"):
        advice = (
            f"sampler '{tune.sampler}' knows plain kd over temperature and alpha only; use grid, "
            "tpe, random or gp"
        )
        if tune.all_methods != ("kd",):
            problems.append(f"tune.methods = {methods}: {advice}, or tune kd alone")
        if tune.search != BudgetSpace():
            problems.append(f"tune.search: {advice}, or leave the table out")
    sets = tune.public_kd.transfer_set
    if "public_kd" in tune.methods and not any(map(file.transfer.size, sets)):
        problems.append(
            f"tune.public_kd.transfer_set = {', '.join(sets)}: none of them has images; give one "
            "some in [transfer], or leave public_kd out of tune.methods"
        )
    return problems
