"""What Hypothesis makes of specs, rows and artifacts: good ones, and good ones with one fault.

The suite tries a few, always the same. To look for more, say how many:
``EXAMPLES=1000 pytest tests/hostile/test_generated_rows.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kdopt.campaign.spec import list_settings

_MANY = os.environ.get("EXAMPLES")
FEW = settings(
    max_examples=int(_MANY or 40),
    deadline=None,  # no test may depend on speed
    derandomize=_MANY is None,  # a suite that fails now and then is believed by nobody
    database=None,
    suppress_health_check=list(HealthCheck),
)

ODD_TEXTS = st.sampled_from(
    [
        "", " ", "/", "..", "a/b", "\x00", "\x1b[2J", "\u202eabc", "\u200b", "\ud7ff", "\U0001f600",
        "=1+1", "[red]", "<script>", "\\input{x}", "%s", "{0}", "${HOME}", "~", "x" * 3000, "null",
        "NaN", "Infinity", "-0", "1e999", "0x10", "9" * 400, "true", "tiny", "uniform", "vanilla",
        "COMPLETE", "WAITING", "RUNNING", "PRUNED", "FINITE", "NAN", "INF_POS", "0000-00-00",
        "9999-12-31 23:59:59.999999", "2026-02-30 00:00:00.000000", "2026-11-27T20:00:00+01:00",
    ]
)  # fmt: skip
TEXTS = ODD_TEXTS | st.text(st.characters(codec="utf-8"), max_size=20)
ROW_INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 1, 2, 10**7, 2**53])
INTEGERS = ROW_INTEGERS | st.sampled_from([2**64, 10**299, -(10**399), 10**3999])
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1e-40, 1e300, 0.5])
VALUES = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
JUNK = [
    "", "{", "null", "[]", "{}", "3", '"x"', "NaN", "[1, 2", '{"a": 1, "a": 2}', "9" * 5000, "\x00",
    "\ufeff{}", '{"a": 1e999}', '"\\ud800"', "[" * 50_000 + "]" * 50_000,
]  # fmt: skip


def list_paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a JSON value stand in it."""
    inner: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value[:3])
    for key, below in inner:
        yield (*path, key)
        yield from list_paths(below, (*path, key))


def replace_at(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], object]) -> Any:
    """A copy of a JSON value in which one place was changed."""
    copy = inner = json.loads(json.dumps(value))
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return copy


@st.composite
def spoil_json(draw: st.DrawFn, text: str) -> str:
    """A JSON text with one value replaced, one taken out, or no JSON any more."""
    value = json.loads(text)
    paths = list(list_paths(value))
    how = draw(st.sampled_from(["replace", "replace", "drop", "junk"] if paths else ["junk"]))
    if how == "junk":
        return draw(st.sampled_from(JUNK) | JSON.map(json.dumps))
    path = draw(st.sampled_from(paths))
    if how == "drop":
        return json.dumps(replace_at(value, path, lambda inner, key: inner.pop(key)))
    new = draw(JSON)
    return json.dumps(replace_at(value, path, lambda inner, key: inner.__setitem__(key, new)))


@st.composite
def spoil_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file that was cut off, or in which some bytes are others."""
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content)))]
    spoiled = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        spoiled[draw(st.integers(0, len(spoiled) - 1))] = draw(st.integers(0, 255))
    return bytes(spoiled)


def format_toml(value: object) -> str:
    """A value as TOML has it; what TOML lacks as a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(format_toml, value))}]"
    return json.dumps(str(value)).replace("\x7f", "\\u007f")


TOML_VALUES = st.one_of(
    VALUES.map(format_toml),
    st.lists(VALUES, max_size=4).map(format_toml),
    st.sampled_from(
        [
            "1979-05-27",
            "07:32:00",
            "1979-05-27T07:32:00Z",
            "0xFF",
            "0o7",
            "1_000",
            "+inf",
            "-nan",
            "{}",
            "{a = 1}",
            "[[1]]",
            "'''x'''",
            '"""\nx"""',
            "[]",
            "[[]]",
            "{a = {b = {c = 1}}}",
        ]
    ),
)
KEYS = sorted(entry.key for entry in list_settings())


@st.composite
def make_specs(draw: st.DrawFn) -> str:
    """A campaign file in which some keys, mostly known ones, have some value."""
    tables: dict[str, dict[str, str]] = {"": {"name": '"generated"'}, "data": {"name": '"digits"'}}
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True)):
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = draw(TOML_VALUES)
    if draw(st.integers(0, 9)) == 0:
        tables[""][format_toml(draw(TEXTS))] = "1"
    lines = []
    for table, entries in tables.items():
        lines += [f"[{table}]"] if table else []
        lines += [f"{name} = {value}" for name, value in entries.items()]
    return "\n".join(lines) + "\n"
