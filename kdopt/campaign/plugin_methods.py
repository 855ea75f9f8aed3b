"""Methods of plugins as a campaign knows them: names and values, and nothing that runs.

A plugin declares the search space of its method (``kdopt.plugins``). What a campaign searches of it
is kept with the campaign, so that whatever plans, counts or reports needs no code of the plugin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

from annotated_types import Interval, Len

from kdopt.campaign.fields import DISTINCT, Rule
from kdopt.campaign.method_spaces import TUNED_METHODS

Value = Annotated[float, Interval(ge=-1e9, le=1e9)]

RESERVED = ("index", "search", "kd")
"""Names that would be those of something else in stores and campaign files."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")

METHOD_RULE = Rule(
    "a method of a plugin has 1 to 40 letters a-z, digits or '_', begins with a letter, and is "
    "none of kdopt's own",
    lambda v: _NAME.match(v) is not None and v not in (*TUNED_METHODS, *RESERVED),
)
PARAM_RULE = Rule(
    "a parameter has 1 to 40 letters a-z, digits or '_', and no name that kdopt has for something "
    "else",
    lambda v: (
        _NAME.match(v) is not None
        and v
        not in (
            *("participant", "student", "replicate", "method", "transfer_set", "start"),
            *("weighting", "initial_model", "learning_rate", "epochs", "batch_size"),
        )
    ),
)


@dataclass(frozen=True)
class PluginParam:
    """One parameter of a plugin's method.

    Attributes:
        name: As the loss takes it.
        values: What a grid tries; other samplers search from the least to the greatest.
        published: Its value in the setting that is always tried.
        log: Search on a logarithmic scale.
    """

    name: Annotated[str, PARAM_RULE]
    values: Annotated[tuple[Value, ...], Len(1), DISTINCT]
    published: Value
    log: bool = False


@dataclass(frozen=True)
class PluginMethod:
    """A plugin's method, and what a campaign searches of it."""

    name: Annotated[str, METHOD_RULE]
    params: Annotated[tuple[PluginParam, ...], Len(1)]


class PluginNames(NamedTuple):
    """What plugins offer, to check the names in a campaign file.

    Attributes:
        find_method: Gives a method by its name, with the values that it declares.
        has_dataset: Whether there is a data set of that name.
    """

    find_method: Callable[[str], PluginMethod | None]
    has_dataset: Callable[[str], bool]


NO_PLUGINS = PluginNames(lambda _: None, lambda _: False)


def take_plugin_methods(
    tune: Mapping[str, object], plugins: PluginNames
) -> tuple[dict[str, object], tuple[PluginMethod, ...], list[str]]:
    """Take what is plugins' out of the table ``[tune]`` of a campaign file.

    Args:
        tune: The table as it was read.
        plugins: What plugins offer.

    Returns:
        The rest of the table, the methods with the values that the file says, and what is wrong
        with them.
    """
    rest, methods, problems = dict(tune), [], []
    names = tune.get("methods")
    if not isinstance(names, list):
        return rest, (), []
    for name in dict.fromkeys(n for n in names if isinstance(n, str) and n not in TUNED_METHODS):
        table = rest.pop(name, {}) if METHOD_RULE.holds(name) else {}
        method = plugins.find_method(name) if METHOD_RULE.holds(name) else None
        if method is None:
            known = ", ".join(map(repr, TUNED_METHODS))
            problems.append(
                f"tune.methods[{names.index(name)}] = {name[:100]!r}: there is no such method; use "
                f"{known}, one of an installed package or of a file given by --plugin, or leave it "
                "out"
            )
            continue
        if names.count(name) > 1:
            problems.append(f"tune.methods: '{name}' may be listed once only; drop the others")
        filled, faults = _fill_values(method, table)
        methods.append(filled)
        problems += faults
    kept = [name for name in names if not isinstance(name, str) or name in TUNED_METHODS]
    rest["methods"] = kept
    return rest, tuple(methods), problems


def _fill_values(method: PluginMethod, table: object) -> tuple[PluginMethod, list[str]]:
    """A method with the values of its table ``[tune.NAME]``, and what is wrong with them."""
    key = f"tune.{method.name}"
    if not isinstance(table, dict):
        return method, [f"{key}: must be a table; write [{key}]"]
    known = {param.name: param for param in method.params}
    problems = [
        f"{key}.{name[:100]}: unknown key; remove it or use one of: {', '.join(known)}"
        for name in table
        if name not in known
    ]
    for name in known.keys() & table.keys():
        values = table[name]
        rule = _find_broken_rule(values, known[name].log)
        if rule is None:
            known[name] = replace(known[name], values=tuple(float(v) for v in values))
        else:
            problems.append(f"{key}.{name} = {str(values)[:100]}: {rule}; change it to such a list")
    return replace(method, params=tuple(known.values())), problems


def _find_broken_rule(values: Any, log: bool) -> str | None:
    numbers = isinstance(values, list) and all(
        type(v) in (int, float) and -1e9 <= v <= 1e9 for v in values
    )
    if not numbers or not values:
        return "must be a list of one or more numbers from -1e9 to 1e9"
    if not DISTINCT.holds(values):
        return DISTINCT.text
    if log and min(values) <= 0:
        return "is searched on a logarithmic scale, so each must be above 0"
    return None
