"""Plain values, such as JSON has, made into the types that they are declared as, or refused.

For what a store keeps. A key that a class does not have is a newer version's, and is passed over.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval, Len

from kdopt.shown import format_count

MOST_DIGITS = 300
"""Of a whole number: with more, to compare it with a float or to make it one fails."""

SHOWN_CHARACTERS = 60
"""Characters of a refused value that a message shows."""


class PlainValueError(ValueError):
    """A value is not what its key asks for; says key, value and rule."""


def load_json(text: object) -> Any:
    """The value of a JSON text of others: of a row, of a file's header.

    Raises:
        ValueError: It is no text or no JSON, it is nested too deep, or has a number that no float
            can hold.
    """
    if not isinstance(text, str | bytes):
        raise ValueError(f"{describe_value(text)} is no JSON text")
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _parse_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {format_count(len(digits), 'digit')}")
    return int(digits)


def read_plain(kind: Any, value: Any, key: str = "") -> Any:
    """Make a value of a declared type.

    Args:
        kind: A dataclass, a named tuple, a tuple or mapping of one type, a choice, a number, a
            text, or any of these with bounds (``Annotated``) or ``None``.
        value: What :func:`load_json` gave.
        key: Where it stands, for messages.

    Raises:
        PlainValueError: It is no such value.
    """
    origin = get_origin(kind)
    if origin is not None:
        return _read_special(origin, get_args(kind), value, key)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return _read_fields(kind, value, key)
    return _read_leaf(kind, value, key)


def describe_value(value: object) -> str:
    """A foreign value as a message shows it: on one line, printable, and not all of a long one."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _read_special(origin: Any, kinds: tuple[object, ...], value: Any, key: str) -> Any:
    if origin is Annotated:
        found = read_plain(kinds[0], value, key)
        for mark in kinds[1:]:
            _check_mark(mark, found, key)
        return found
    if origin in (Union, types.UnionType):
        inner = next(k for k in kinds if k is not type(None))
        return None if value is None else read_plain(inner, value, key)
    if origin is tuple:
        return _read_tuple(kinds, value, key)
    if origin is not Literal:
        return _read_mapping(kinds[1], value, key)
    if value not in kinds:
        raise _make_refusal(key, value, f"must be one of {', '.join(map(repr, kinds))}")
    return value


def _read_fields(kind: Any, value: Any, key: str) -> Any:
    named = not dataclasses.is_dataclass(kind)
    if named and isinstance(value, list):
        value = dict(zip(kind._fields, value, strict=False))
    if not isinstance(value, dict):
        raise _make_refusal(key, value, "must be a table")
    hints, defaults = _list_fields(kind)
    missing = sorted(hints.keys() - defaults.keys() - value.keys())
    if missing:
        raise PlainValueError(f"{_join_keys(key, missing[0])}: missing")
    found = {}
    for name, item in value.items():
        # A default may lie beyond the bounds of what is given: none of a list of one or more.
        if name in hints and not (name in defaults and _is_same(item, defaults[name])):
            found[name] = read_plain(hints[name], item, _join_keys(key, name))
    return kind(**found)


@functools.cache
def _list_fields(kind: Any) -> tuple[dict[str, object], dict[str, object]]:
    """The types of a class's fields, and the defaults of those that have one."""
    hints = get_type_hints(kind, include_extras=True)
    if not dataclasses.is_dataclass(kind):
        return hints, dict(kind._field_defaults)
    fields, none = dataclasses.fields(kind), dataclasses.MISSING
    made = {f.name: f.default_factory() for f in fields if f.default_factory is not none}
    given = {f.name: f.default for f in fields if f.default is not none}
    return {f.name: hints[f.name] for f in fields}, made | given


def _is_same(item: Any, default: Any) -> bool:
    if isinstance(item, list):
        item = tuple(item)
    return type(item) is type(default) and bool(item == default)


def _read_tuple(kinds: tuple[object, ...], value: Any, key: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise _make_refusal(key, value, "must be a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _make_refusal(key, value, f"must be a list of {len(kinds)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(read_plain(k, item, f"{key}[{i}]") for i, (k, item) in enumerate(pairs))


def _read_mapping(kind: Any, value: Any, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _make_refusal(key, value, "must be a table")
    return {name: read_plain(kind, item, _join_keys(key, name)) for name, item in value.items()}


def _read_leaf(kind: Any, value: Any, key: str) -> Any:
    # True is an int to Python, and no number to people.
    if kind is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise _make_refusal(key, value, "must be a finite number")
        return value
    if kind in (int, str, bool) and type(value) is kind:
        return value
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    raise _make_refusal(key, value, f"must be {names[kind]}")


def _check_mark(mark: object, value: Any, key: str) -> None:
    if isinstance(mark, Len) and len(value) < mark.min_length:
        raise _make_refusal(key, value, f"must have {mark.min_length} or more")
    if isinstance(mark, Interval) and value is not None:
        bounds = {">=": mark.ge, ">": mark.gt, "<=": mark.le, "<": mark.lt}
        for sign, bound in bounds.items():
            if bound is not None and not _is_within(sign, value, bound):
                raise _make_refusal(key, value, f"must be {sign} {bound}")
    rule = getattr(mark, "holds", None)
    if rule is not None and not rule(value):
        raise _make_refusal(key, value, str(getattr(mark, "text", "breaks a rule")))


def _is_within(sign: str, value: Any, bound: Any) -> bool:
    at_least = value > bound if sign in (">", "<=") else value >= bound
    return bool(at_least if sign in (">", ">=") else not at_least)


def _make_refusal(key: str, value: object, rule: str) -> PlainValueError:
    return PlainValueError(f"{key or 'the value'} = {describe_value(value)}: {rule}")


def _join_keys(key: str, name: str) -> str:
    shown = name if name.isidentifier() else describe_value(name)
    return f"{key}.{shown}" if key else shown
