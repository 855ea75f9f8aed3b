"""A campaign as a file that ``kdopt run`` reads: every setting, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from kdopt.campaign.plan import Campaign, SettingLine

HEAD = "# Every setting of this campaign, defaults too; after each, where it comes from."
UNTAKEN = ("grid", "sequential")
"""Samplers that decide their own number of trials; a budget is refused beside them."""
WARM = ("tune.prior", "tune.warm_trials", "tune.warm_then")
"""Settings that are refused beside any sampler but ``warm``."""


def resolved_spec(campaign: Campaign, settings_lines: Sequence[SettingLine]) -> str:
    """TOML text; a setting that is left open stands in a comment.

    Read again it means the same campaign, also under later defaults.

    Args:
        campaign: The settings as they were resolved.
        settings_lines: Which keys the schema has, in its order, and the source of each.
    """
    lines = [HEAD]
    for table, group in groupby(settings_lines, key=lambda line: line.key.rpartition(".")[0]):
        if table:
            lines += ["", f"[{table}]"]
        lines += [_line(campaign, line) for line in group]
    return "\n".join(lines) + "\n"


def _line(campaign: Campaign, line: SettingLine) -> str:
    key = line.key.rpartition(".")[2]
    value = _value(campaign, line.key)
    source = " ".join(line.source.split())
    if value is None:
        return f"# {key} is not set  # {source}"
    return f"{key} = {_toml(value)}  # {source}"


def _value(campaign: Campaign, key: str) -> Any:
    first, *rest = key.split(".")
    if first == "partitions":
        return tuple(p.name for p in campaign.partitions)
    if first == "partition":
        name, setting = rest
        value = getattr(campaign.partition(name), setting)
        # One number for this partition, a list for the other that has concentrations.
        return value[0] if (name, setting) == ("quantity_skew", "concentration") else value
    if key == "tune.budget" and campaign.tune.sampler in UNTAKEN:
        return None
    if key in WARM and campaign.tune.sampler != "warm":
        return None
    if key == "tune.prior":
        return campaign.tune.prior or None
    value = campaign
    for name in (first, *rest):
        value = getattr(value, name)
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's too; only DEL is allowed in the one and not in the other.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Iterable):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return repr(value)
