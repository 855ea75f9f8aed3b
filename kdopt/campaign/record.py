"""What the store keeps of a campaign, and the same as a campaign file again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Annotated, Literal, NamedTuple, cast

from kdopt.campaign.fields import SHA256_RULE
from kdopt.campaign.plain import read_plain
from kdopt.campaign.settings import Campaign

Sha256 = Annotated[str, SHA256_RULE]


class SettingLine(NamedTuple):
    """One resolved setting as people read it: dotted key, value, and where the value is from."""

    key: str
    value: str
    source: str


class CodeSource(NamedTuple):
    """Where code comes from that is not kdopt's, and which code it is.

    Attributes:
        kind: ``file``: a plugin file, which each worker must be given; ``package``: an installed
            package.
        name: Of the file, without its folder, or of the package.
        version: Of the package; empty for a file.
        sha256: Of the file, or of the package's Python files.
    """

    kind: Literal["file", "package"]
    name: str
    version: str
    sha256: Sha256


@dataclass(frozen=True)
class CampaignRecord:
    """What the store keeps of a campaign, so that workers and reports need nothing else.

    Attributes:
        campaign: The resolved settings.
        settings: The same for people, with the source of every value.
        data_sha256: Fingerprint of the images; a worker whose images differ refuses to run.
        splits: Per partition, the sha256 of the artifact that holds its index arrays.
        weights: By participant's name, the sha256 of what it brought along, as kdopt keeps it:
            weights or logits.
        prior: ``warm``: the sha256 of the artifact with what its prior was when it was planned.
        class_names: Of the images, in class order; empty in records of older versions.
        code: What is not kdopt's code, by what uses it: ``model NAME``, ``method NAME`` or
            ``dataset NAME``. Other code under the same name is another campaign.
    """

    campaign: Campaign
    settings: tuple[SettingLine, ...]
    data_sha256: Sha256
    splits: Mapping[str, Sha256]
    prior: Sha256 | None = None
    weights: Mapping[str, Sha256] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    code: Mapping[str, CodeSource] = field(default_factory=dict)

    @property
    def artifacts(self) -> dict[str, str]:
        """What each artifact that the record itself needs is, by its sha256."""
        needed = {sha256: f"splits of {name}" for name, sha256 in self.splits.items()}
        needed |= {sha256: f"weights or logits of {name}" for name, sha256 in self.weights.items()}
        return needed if self.prior is None else {**needed, self.prior: "tune.prior"}

    def to_json(self) -> dict[str, object]:
        """Plain values for ``json.dumps``; :meth:`from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> CampaignRecord:
        """Read what :meth:`to_json` wrote.

        Raises:
            PlainValueError: It is not a record, or a value of it is not what it should be.
        """
        campaign = record.get("campaign") if isinstance(record, Mapping) else None
        if isinstance(campaign, dict) and isinstance(campaign.get("learning_curves"), bool):
            # At first it was all or none.
            curves = "all" if campaign["learning_curves"] else "none"
            record = {**record, "campaign": {**campaign, "learning_curves": curves}}
        return cast("CampaignRecord", read_plain(cls, record))


HEAD = "# Every setting of this campaign, defaults too; after each, where it comes from."
WITHOUT_BUDGET = ("grid", "sequential")
"""Samplers that decide their own number of trials; a budget is refused beside them."""
WARM = ("tune.prior", "tune.warm_trials", "tune.warm_then")
"""Settings that are refused beside any sampler but ``warm``."""


def format_campaign(campaign: Campaign, settings_lines: Sequence[SettingLine]) -> str:
    """Format a campaign as a file that ``kdopt run`` reads: every setting, and its source.

    It means the same campaign also under later defaults. A setting without a value is a comment.

    Args:
        campaign: The settings as they were resolved.
        settings_lines: Which keys the schema has, in its order, and the source of each.
    """
    lines = [HEAD]
    for table, group in groupby(settings_lines, key=lambda line: line.key.rpartition(".")[0]):
        if table.startswith("participant["):
            lines += ["", "[[participant]]"]
        elif table:
            lines += ["", f"[{table}]"]
        lines += [_format_line(campaign, line) for line in group]
    return "\n".join(lines) + "\n"


def _format_line(campaign: Campaign, line: SettingLine) -> str:
    key = line.key.rpartition(".")[2]
    value = find_value(campaign, line.key)
    source = " ".join(line.source.split())
    if value is None:
        return f"# {key} is not set  # {source}"
    return f"{key} = {_format_value(value)}  # {source}"


def find_value(campaign: Campaign, key: str) -> object:
    """The value of a dotted key that is in force; ``None`` for what is not set or not used."""
    first, *rest = key.split(".")
    if row := re.fullmatch(r"participant\[(\d+)\]", first):
        return getattr(campaign.participant[int(row[1])], rest[0])
    if first == "partitions":
        return tuple(dict.fromkeys(p.kind for p in campaign.partitions))
    if first == "partition":
        name, setting = rest
        value = getattr(campaign.get_partition(name), setting)
        # One number for this partition, a list for the other that has concentrations.
        return value[0] if (name, setting) == ("quantity_skew", "concentration") else value
    for method in campaign.tune.plugin_methods:
        if key.rpartition(".")[0] == f"tune.{method.name}":
            return next(param.values for param in method.params if param.name == rest[1])
    if _is_refused(campaign, key):
        return None
    value = campaign
    for name in (first, *rest):
        value = getattr(value, name)
    return campaign.tune.all_methods if key == "tune.methods" else value


def _is_refused(campaign: Campaign, key: str) -> bool:
    """Whether a file of this campaign may not say this."""
    tune = campaign.tune
    return (
        (key == "tune.budget" and tune.sampler in WITHOUT_BUDGET)
        or (key in WARM and tune.sampler != "warm")
        or (key == "tune.prior" and not tune.prior)
        or (key == "model" and bool(campaign.models))
    )


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's too; only DEL is allowed in the one and not in the other.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Iterable):
        return f"[{', '.join(_format_value(v) for v in value)}]"
    return repr(value)
