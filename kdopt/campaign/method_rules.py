"""What a campaign file may not ask of the methods that it tunes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdopt.campaign.method_spaces import SPACES, BudgetSpace
from kdopt.campaign.settings import CampaignFile


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
