"""Campaign files: TOML in, frozen plain values out, every problem of a file reported at once.

``kdopt.campaign.schema`` holds the rules; the rest of kdopt sees
:class:`kdopt.campaign.plan.Campaign` only.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from kdopt.campaign.record import SettingLine
from kdopt.campaign.schema import KDOPT, CampaignTable, PartitionTables, Source
from kdopt.campaign.settings import (
    Campaign,
    DataSettings,
    PartitionSettings,
    TrainSettings,
    TransferSettings,
)
from kdopt.campaign.stage_settings import (
    CombineSettings,
    CompareSettings,
    FederateSettings,
    TuneSettings,
)
from kdopt.errors import SpecError


@dataclass(frozen=True)
class Spec:
    """A campaign file that was read: its meaning, and where each of its values comes from."""

    campaign: Campaign
    settings: tuple[SettingLine, ...]


def load_spec(path: Path) -> Spec:
    """Read and check a campaign file.

    Raises:
        SpecError: The file cannot be read, is not TOML, or breaks the schema; the message lists
            every problem with its key, value, rule and fix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            str(path), [f"cannot be read: {reason}; give the path of a campaign file (TOML)"]
        ) from error
    return parse_spec(text, str(path))


def parse_spec(text: str, source: str = "spec") -> Spec:
    """Check the text of a campaign file; see :func:`load_spec`."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # a TOMLDecodeError, or a number too long to convert
        raise SpecError(source, [f"is not valid TOML: {error}; mend that line"]) from error
    try:
        # Strict mode refuses lists for tuples and ints for floats, which TOML cannot say
        # otherwise; `_plain` makes exactly those two conversions.
        table = CampaignTable.model_validate(_plain(raw, CampaignTable))
    except ValidationError as error:
        raise SpecError(source, _problems(error)) from error
    if problems := _missing_sets(table) + _own_teacher(table):
        raise SpecError(source, problems)
    return Spec(_campaign(table), tuple(_setting_lines(table, "", set())))


def _plain(value: Any, model: type[BaseModel]) -> Any:
    """Lists to tuples, tables to their models' shape, whole numbers to floats where floats go."""
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for key, item in value.items():
        field = model.model_fields.get(key)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            out[key] = _plain(item, inner)
        elif isinstance(item, list):
            out[key] = tuple(_number(v, field) for v in item)
        else:
            out[key] = _number(item, field)
    return out


def _number(value: Any, field: FieldInfo | None) -> Any:
    wants_float = field is not None and "float" in str(field.annotation)
    if wants_float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return float("inf")  # which the rules of the field refuse by name
    return value


def _campaign(table: CampaignTable) -> Campaign:
    partitions = []
    for name in table.partitions:
        values = getattr(table.partition, name).model_dump()
        if values["min_size"] is None:
            values["min_size"] = table.pretrain.batch_size
        if isinstance(values.get("concentration"), float):
            values["concentration"] = (values["concentration"],)
        partitions.append(PartitionSettings(name=name, **values))
    tune = table.tune.model_dump()
    tune["budget"] = tune["budget"] or (8 if tune["sampler"] == "warm" else 20)
    tune = {key: value for key, value in tune.items() if value is not None}
    return Campaign(
        stages=table.stages,
        transfer=TransferSettings(**table.transfer.model_dump())
        if _uses_public_sets(table)
        else TransferSettings(),
        compare=CompareSettings(**table.compare.model_dump()),
        combine=CombineSettings(**table.combine.model_dump()),
        federate=FederateSettings(**table.federate.model_dump()),
        name=table.name,
        seed=table.seed,
        participants=table.participants,
        replicates=table.replicates,
        precision=table.precision,
        select_on=table.select_on,
        model=table.model,
        data=DataSettings(**table.data.model_dump()),
        partitions=tuple(partitions),
        pretrain=TrainSettings(**table.pretrain.model_dump()),
        distill=TrainSettings(**table.distill.model_dump()),
        tune=TuneSettings(**tune),
    )


def _missing_sets(table: CampaignTable) -> list[str]:
    """Stages left without anything to train on; sets without images are skipped elsewhere."""
    problems = []
    federate, combine = table.federate, table.combine
    name = federate.transfer_set
    if "federate" in table.stages and "consolidated" in federate.initial_models:
        if name == "student" and federate.start == "untrained":
            problems.append(
                "federate.start = 'untrained': such a student has no data of its own; "
                "start from 'best' or 'worst', or give federate.transfer_set a public set"
            )
        if name != "student" and not getattr(table.transfer, name):
            problems.append(
                f"federate.transfer_set = '{name}': this set has no images; "
                f"give transfer.{name} some, or use another set"
            )
    own = "student" in combine.transfer_sets and set(combine.starts) != {"untrained"}
    public = [s for s in combine.transfer_sets if s != "student"]
    if (
        "combine" in table.stages
        and not own
        and not any(getattr(table.transfer, s) for s in public)
    ):
        problems.append(
            f"combine.transfer_sets = {', '.join(combine.transfer_sets)}: with the starts "
            f"{', '.join(combine.starts)} none of them has images (an untrained student has none "
            "of its own); give a public set some in [transfer], or add 'best' or 'worst' to starts "
            "and 'student' to transfer_sets"
        )
    return problems


def _own_teacher(table: CampaignTable) -> list[str]:
    if table.tune.prior is None or table.name not in table.tune.prior:
        return []
    return [
        f"tune.prior = {', '.join(table.tune.prior)}: '{table.name}' is this campaign, whose pairs "
        "teach each other anyway; name finished campaigns, or leave it out"
    ]


def _uses_public_sets(table: CampaignTable) -> bool:
    """Whether images must be taken out for everybody; they are missed where nothing uses them."""
    used = [*table.combine.transfer_sets] if "combine" in table.stages else []
    if "federate" in table.stages and "consolidated" in table.federate.initial_models:
        used.append(table.federate.transfer_set)
    return "compare" in table.stages or any(name != "student" for name in used)


def _setting_lines(table: BaseModel, prefix: str, unused: set[str]) -> Iterator[SettingLine]:
    """Every setting, its value, and whether the file, the paper or a default said so."""
    for key, field in type(table).model_fields.items():
        value = getattr(table, key)
        if isinstance(value, PartitionTables):
            unused = set(type(value).model_fields) - set(getattr(table, "partitions", ()))
        if isinstance(value, BaseModel):
            if key not in unused:
                yield from _setting_lines(value, f"{prefix}{key}.", unused)
            continue
        sources = [m.text for m in field.metadata if isinstance(m, Source)]
        given = key in table.model_fields_set
        source = "spec" if given else (sources[0] if sources else KDOPT)
        yield SettingLine(prefix + key, _show(value), source)


def _show(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_show(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _problems(error: ValidationError) -> list[str]:
    """One line per problem; a list that is short only because of its bad items is none."""
    errors = error.errors()
    with_bad_items = {e["loc"][:-1] for e in errors if isinstance(e["loc"][-1], int)}
    return sorted(
        _problem(e) for e in errors if e["type"] != "too_short" or e["loc"] not in with_bad_items
    )


_RULES = {"model_type": "must be a table", "tuple_type": "must be a list"}
"""Rules that pydantic words in terms of Python rather than of TOML."""


def _problem(error: Any) -> str:
    """One pydantic error as a line: key, value, rule, fix."""
    names = [p for p in error["loc"] if isinstance(p, str)]
    places = [p for p in error["loc"] if isinstance(p, int)]
    key = ".".join(names) + "".join(f"[{p}]" for p in places)
    parent = _table_at(names[:-1])
    field = parent.model_fields.get(names[-1]) if parent and names else None
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_known_keys(names[-1], parent)}"
    if error["type"] == "missing":
        return f"{key}: missing; add it{_example(field)}"
    rule = _RULES.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
    rule = rule[:1].lower() + rule[1:]
    found = error["input"]
    shown = list(found) if isinstance(found, tuple) else found
    return f"{key} = {shown!r}: {rule}; {_fix(field)}"


def _table_at(names: list[str]) -> type[BaseModel] | None:
    table: type[BaseModel] = CampaignTable
    for name in names:
        field = table.model_fields.get(name)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        table = inner
    return table


def _known_keys(key: str, parent: type[BaseModel] | None) -> str:
    known = list(parent.model_fields) if parent else []
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}remove it or use one of: {', '.join(known)}"


def _example(field: FieldInfo | None) -> str:
    if field is not None and "Literal" in str(field.annotation):
        return f", one of {str(field.annotation).partition('[')[2].rstrip(']')}"
    if field is not None and isinstance(field.annotation, type):
        if issubclass(field.annotation, BaseModel):
            return " as a table of the file"
        return f" ({field.annotation.__name__})"
    return ""


def _fix(field: FieldInfo | None) -> str:
    if field is None or field.is_required():
        return "change it to such a value"
    if field.default is None:
        return "change it, or leave it out"
    return f"change it, or leave it out for the default ({_show(field.default)})"
