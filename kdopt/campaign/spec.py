"""Campaign files: TOML in, frozen settings out, every problem of a file reported at once.

The rules are those of ``kdopt.campaign.settings``. This is the only module that hands them to
pydantic; the rest of kdopt sees a :class:`kdopt.campaign.settings.Campaign`.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kdopt.campaign.data_settings import DATA_RULE, DATASET_RULE
from kdopt.campaign.federated_algorithms import ALGORITHM_TABLES
from kdopt.campaign.fields import (
    SettingField,
    Settings,
    describe_attributes,
    describe_kind,
    list_fields,
)
from kdopt.campaign.method_spaces import SPACES, BudgetSpace
from kdopt.campaign.partition_settings import OWN, PARTITIONS, PartitionSettings
from kdopt.campaign.plugin_methods import NO_PLUGINS, PluginMethod, PluginNames, take_plugin_methods
from kdopt.campaign.record import SettingLine
from kdopt.campaign.rules import list_misfits, list_public_sets, list_unused_keys
from kdopt.campaign.settings import (
    NO_PUBLIC_SETS,
    Campaign,
    CampaignFile,
    TrainSettings,
    TransferSettings,
)
from kdopt.errors import SpecError
from kdopt.files import read_text
from kdopt.shown import shorten

_FILE = TypeAdapter(CampaignFile)

LARGEST_FILE = 1_000_000
"""Bytes of a campaign file; those with every setting have some thousands."""

MOST_PROBLEMS = 100
"""Problems that are worded; a file has more of them only if it is no campaign file."""

TOO_DEEP = "its tables or lists are too deep; no setting has any"

LISTED = "as many as are listed"
NOT_HELD_OUT = "no stage uses a public set, so none is held out"


@dataclass(frozen=True)
class Spec:
    """A campaign file that was read: its meaning, and where each of its values comes from."""

    campaign: Campaign
    settings: tuple[SettingLine, ...]


class SettingEntry(NamedTuple):
    """One setting as the reference of the campaign file lists it.

    Attributes:
        key: Dotted key.
        rule: Its type and bounds in words.
        default: As text; "-" where it must be given, depends on others, or is to be left out.
        source: Where the default comes from; empty where it must be given.
        description: What it means.
    """

    key: str
    rule: str
    default: str
    source: str
    description: str


def load_spec(path: Path, plugins: PluginNames = NO_PLUGINS) -> Spec:
    """Read and check a campaign file.

    Args:
        path: The file.
        plugins: What plugins offer.

    Raises:
        SpecError: The file cannot be read, is not TOML, or breaks a rule; the message lists every
            problem with its key, value, rule and fix.
    """
    try:
        text = read_text(path, LARGEST_FILE)
    except OSError as error:
        reason = f"{error.strerror or error}; give the path of a campaign file (TOML)"
        raise SpecError(str(path), [f"cannot be read: {reason}"]) from error
    except ValueError as error:
        raise SpecError(str(path), [f"cannot be read: {error}"]) from error
    return parse_spec(text, str(path), plugins)


def parse_spec(text: str, source: str = "spec", plugins: PluginNames = NO_PLUGINS) -> Spec:
    """Check the text of a campaign file; see :func:`load_spec`."""
    try:
        raw = tomllib.loads(text)
    except RecursionError as error:
        raise SpecError(source, [TOO_DEEP]) from error
    except ValueError as error:
        raise SpecError(source, [f"is not valid TOML: {error}; fix that line"]) from error
    return check_tables(raw, source, plugins)


def check_tables(raw: dict[str, Any], source: str, plugins: PluginNames = NO_PLUGINS) -> Spec:
    """Check the tables of a campaign file; see :func:`load_spec`."""
    try:
        if isinstance(raw.get("model"), list):
            raw["models"] = raw.pop("model")
        methods, problems = tuple[PluginMethod, ...](), list[str]()
        plain = dict(raw)
        if isinstance(raw.get("tune"), dict):
            plain["tune"], methods, problems = take_plugin_methods(raw["tune"], plugins)
        # As JSON: there strict mode takes lists for tuples and whole numbers for floats, which TOML
        # cannot tell apart. JSON has no dates: they become tables, as no setting takes a date.
        text = json.dumps(plain, default=lambda date: {"date": str(date)})
    except RecursionError as error:
        raise SpecError(source, [TOO_DEEP]) from error
    except ValueError as error:  # a number too long to convert
        raise SpecError(source, [f"is not valid TOML: {error}; fix that line"]) from error
    problems += [*list_unused_keys(raw), *_list_unknown_data(raw, plugins)]
    try:
        file = _FILE.validate_json(text)
    except ValidationError as error:
        raise SpecError(source, sorted(problems + _list_problems(error))) from error
    file = replace(file, tune=replace(file.tune, plugin_methods=methods))
    if problems := problems or [*_list_empty_texts(raw), *list_misfits(file, raw)]:
        raise SpecError(source, problems)
    unused = [f"partition.{name}" for name in PARTITIONS if name not in file.partitions]
    unused += [f"tune.{name}" for name in SPACES if name not in file.tune.methods]
    unused += [f"federate.{n}" for n in ALGORITHM_TABLES if n not in file.federate.algorithms]
    if file.tune.search == BudgetSpace():
        unused.append("tune.search")
    campaign = _resolve_defaults(file, raw)
    # As they are in force: what no stage uses is not held out, whatever its default.
    in_force = replace(file, transfer=campaign.transfer, participants=campaign.participants)
    lines = list(_list_lines(in_force, raw, unused))
    lines += _list_plugin_lines(methods, raw)
    if campaign.transfer != file.transfer:
        lines = [
            line._replace(source=NOT_HELD_OUT) if line.key.startswith("transfer.") else line
            for line in lines
        ]
    if file.participant:
        lines = [
            line._replace(source=LISTED) if line.key == "participants" else line for line in lines
        ]
    return Spec(campaign, tuple(lines))


def _list_empty_texts(value: object, key: str = "") -> Iterator[str]:
    """Texts without a letter: an empty path would be taken as the folder that one is in."""
    if isinstance(value, str) and not value.strip():
        yield (
            f"{key} = '{value}': an empty text is no value; give one ('.' is the current folder), "
            "or leave it out"
        )
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _list_empty_texts(below, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from _list_empty_texts(below, f"{key}[{i}]")


def _list_unknown_data(raw: Mapping[str, Any], plugins: PluginNames) -> Iterator[str]:
    table = raw.get("data")
    name = table.get("name") if isinstance(table, dict) else None
    if isinstance(name, str) and DATASET_RULE.holds(name) and not plugins.has_dataset(name):
        yield (
            f"data.name = '{name}': {DATA_RULE}, which comes with an installed package or a file "
            "that you give with --plugin; change it to such a value"
        )


def _list_plugin_lines(
    methods: Sequence[PluginMethod], raw: Mapping[str, Any]
) -> Iterator[SettingLine]:
    """The values of plugins' methods."""
    for method in methods:
        said = raw["tune"].get(method.name, {})
        for param in method.params:
            source = "spec" if param.name in said else "default: the plugin's"
            key = f"tune.{method.name}.{param.name}"
            yield SettingLine(key, format_setting_value(param.values), source)


def list_settings() -> Iterator[SettingEntry]:
    """Every setting of a campaign file, in the order of ``kdopt spec``."""
    return _list_entries(CampaignFile, "")


def _list_entries(settings: type[Settings], prefix: str) -> Iterator[SettingEntry]:
    descriptions = describe_attributes(settings)
    for field in list_fields(settings):
        key = prefix + field.name
        table = field.table or field.rows
        if table is not None:
            yield from _list_entries(table, f"{key}.")
            continue
        required = field.default is MISSING
        hidden = required or field.source.depends
        yield SettingEntry(
            key,
            describe_kind(field.kind, field.marks),
            "-" if hidden else format_setting_value(field.default),
            "" if required else field.source.text,
            descriptions[field.name],
        )


def _resolve_defaults(file: CampaignFile, raw: Mapping[str, Any]) -> Campaign:
    """Fill in the defaults that depend on other settings, and leave out what nothing uses."""
    tune = file.tune
    if tune.sampler == "warm" and "budget" not in raw["tune"]:
        tune = replace(tune, budget=8)
    values = {f.name: getattr(file, f.name) for f in fields(Campaign)}
    if file.participant:
        values["participants"] = len(file.participant)
    return Campaign(
        **{
            **values,
            "partitions": tuple(
                replace(settings, name=f"{name}-{draw}", family=name) if draw > 1 else settings
                for name in file.partitions
                for settings in [_resolve_partition(file, raw, name)]
                for draw in range(1, file.draws + 1)
            ),
            "distill": TrainSettings(**vars(file.distill)),
            "tune": tune,
            "transfer": _resolve_transfer(file, raw),
        }
    )


def _resolve_partition(file: CampaignFile, raw: Mapping[str, Any], name: str) -> PartitionSettings:
    if name == OWN:
        return PartitionSettings(OWN)
    values = asdict(getattr(file.partition, name))
    if "min_size" not in raw.get("partition", {}).get(name, {}):
        values["min_size"] = file.pretrain.batch_size
    if isinstance(values.get("concentration"), float):
        values["concentration"] = (values["concentration"],)
    return PartitionSettings(name, **values)


def _resolve_transfer(file: CampaignFile, raw: Mapping[str, Any]) -> TransferSettings:
    """The public sets to hold out: none where no stage uses one, or their images would be missed.

    A file with stage ``compare`` that names sizes has its way, also where it compares on the
    student's data only: so a campaign of an older version, which held them out, can go on.
    """
    asked = "compare" in file.stages and "transfer" in raw
    return file.transfer if asked or list_public_sets(file) else NO_PUBLIC_SETS


def _list_lines(
    table: Settings, raw: Mapping[str, Any], skip: Sequence[str] = (), prefix: str = ""
) -> Iterator[SettingLine]:
    """Every setting, its value, and whether the file, the paper or a default said so."""
    for field in list_fields(type(table)):
        value = getattr(table, field.name)
        key = prefix + field.name
        if key == "tune.methods":
            value = table.all_methods  # type: ignore[attr-defined]
        if isinstance(value, Settings):
            if key not in skip:
                yield from _list_lines(value, raw.get(field.name, {}), skip, f"{key}.")
        elif field.rows is not None:
            for index, row in enumerate(value):
                yield from _list_lines(row, raw[field.name][index], skip, f"{key}[{index}].")
        elif field.name in raw:
            yield SettingLine(key, format_setting_value(value), "spec")
        else:
            shown = "-" if field.source.depends else format_setting_value(value)
            yield SettingLine(key, shown, field.source.text)


def format_setting_value(value: object) -> str:
    """A setting's value for people; ``-`` where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(format_setting_value(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list_problems(error: ValidationError) -> list[str]:
    """One line per problem; a list that is short only because of its bad items is none."""
    errors = error.errors(include_url=False)
    with_bad_items = {e["loc"][:-1] for e in errors if e["loc"] and isinstance(e["loc"][-1], int)}
    return [
        _describe_problem(e)
        for e in errors[:MOST_PROBLEMS]
        if e["type"] != "too_short" or e["loc"] not in with_bad_items
    ]


_RULES = {"dataclass_type": "must be a table", "tuple_type": "must be a list"}
"""Rules that pydantic words in terms of Python rather than of TOML."""


def _describe_problem(error: ErrorDetails) -> str:
    """One pydantic error as a line: key, value, rule, fix."""
    names = [part for part in error["loc"] if isinstance(part, str)]
    indices = [part for part in error["loc"] if isinstance(part, int)]
    key = shorten(".".join(names), 200) + "".join(f"[{index}]" for index in indices)
    known = _fields_of_table(names[:-1])
    field = known.get(names[-1]) if names else None
    if error["type"] in ("unexpected_keyword_argument", "not_in_files"):
        return f"{key}: unknown key; {_suggest_key(names[-1], list(known))}"
    if error["type"] == "missing":
        return f"{key}: missing; add it{_show_kind(field)}"
    rule = _RULES.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
    rule = rule[:1].lower() + rule[1:]
    found = repr(error["input"])
    shown = found if len(found) <= 100 else f"{found[:100]}..."
    return f"{key} = {shown}: {rule}; {_suggest_fix(field)}"


def _fields_of_table(names: Sequence[str]) -> dict[str, SettingField]:
    """The fields of a table of the file; none where there is no such table."""
    table: type[Settings] | None = CampaignFile
    for name in names:
        known = {f.name: f for f in list_fields(table)} if table else {}
        table = (known[name].table or known[name].rows) if name in known else None
    return {f.name: f for f in list_fields(table)} if table else {}


def _suggest_key(key: str, known: Sequence[str]) -> str:
    if key.startswith("plugin"):
        return "a campaign file names no code to run; remove it, and give --plugin FILE yourself"
    close = difflib.get_close_matches(key[:100], known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}remove it or use one of: {', '.join(known)}"


def _show_kind(field: SettingField | None) -> str:
    if field is None:
        return ""
    if field.table is not None:
        return " as a table of the file"
    choices = get_args(field.kind)
    return f", one of {', '.join(map(repr, choices))}" if choices else f" ({field.kind.__name__})"


def _suggest_fix(field: SettingField | None) -> str:
    if field is None or field.default is MISSING:
        return "change it to such a value"
    if field.table is not None or field.default is None or field.source.depends:
        return "change it, or leave it out"
    return f"change it, or leave it out for the default ({format_setting_value(field.default)})"
