"""What a field of the settings says about itself: its bounds, its rule, the source of its default.

The marks stand in ``Annotated[...]`` beside the field's type. Pydantic obeys them when a campaign
file is read (``kdopt.campaign.spec``), and the reference of the campaign file is made from them.
None of them needs pydantic, so commands that read no campaign file do not import it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval, Len

from kdopt.campaign.names import CAMPAIGN_NAME


class Settings:
    """Base of all settings: what pydantic is to do with a table of a campaign file.

    Attributes:
        listed_last: Fields that ``kdopt spec`` lists after the others, in this order. The order of
            the fields themselves is that of the records in stores, and stays.
    """

    listed_last: ClassVar[tuple[str, ...]] = ()
    __pydantic_config__: ClassVar[dict[str, object]] = {
        "strict": True,
        "extra": "forbid",
        "allow_inf_nan": False,
    }


@dataclass(frozen=True)
class Source:
    """Where a default comes from; ``kdopt spec`` and reports show it beside the value.

    Attributes:
        text: The paper, published code, or kdopt.
        depends: The default depends on other settings, so it is shown as "-".
    """

    text: str
    depends: bool = False


@dataclass(frozen=True)
class Rule:
    """A check that bounds cannot express.

    Attributes:
        text: The rule in words.
        holds: Whether a value obeys it.
    """

    text: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """The schema of the field with this check after it."""
        check = {"type": "no-info", "function": self._check_rule}
        return {"type": "function-after", "function": check, "schema": handler(source)}

    def _check_rule(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.text)
        return value


class MaybeInfinite:
    """Marks a number that may be infinite or none at all (NaN)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """A schema that takes any number."""
        return {"type": "float", "strict": True, "allow_inf_nan": True}


class MoreWork:
    """Marks a field that only adds trials or reports: it changes no trial's result."""


class NotInFiles:
    """Marks a field that code sets and no campaign file may."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """A schema that refuses every value: TOML has no null."""
        return {
            "type": "custom-error",
            "schema": {"type": "none"},
            "custom_error_type": "not_in_files",
            "custom_error_message": "unknown key",
        }


PAPER_III = Source("paper, section III")
PROXYFL = Source("default: ProxyFL's published code (the paper's value is lost)")
KDOPT = Source("default: kdopt")
MORE_WORK = MoreWork()

DISTINCT = Rule("each value may be listed once only", lambda v: len(set(v)) == len(v))
NAME_RULE = Rule(
    "a name has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter or digit",
    lambda v: CAMPAIGN_NAME.match(v) is not None,
)

SHA256_RULE = Rule(
    "a sha256 has 64 digits of 0-9 and a-f",
    lambda v: re.fullmatch("[0-9a-f]{64}", v) is not None,
)

# Upper bounds are far above what anybody needs: beyond them are slips, and numbers on which
# arithmetic fails.
Size = Annotated[int, Interval(ge=1, le=1_000_000_000)]
SizeOrZero = Annotated[int, Interval(ge=0, le=1_000_000_000)]
Count = Annotated[int, Interval(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Interval(ge=0, le=1_000_000)]
BatchSize = Annotated[int, Interval(ge=2, le=1_000_000)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
Concentration = Annotated[float, Interval(ge=1e-3, le=1e6)]
Temperature = Annotated[
    float,
    Interval(gt=0, le=1000),
    Rule("at least 1e-6: logits are divided by it in float32", lambda v: v >= 1e-6),
]
Fraction = Annotated[float, Interval(ge=0, le=1)]
PositiveFraction = Annotated[float, Interval(gt=0, le=1)]


@dataclass(frozen=True)
class SettingField:
    """One field of a settings class.

    Attributes:
        name: Its name, the key in the file.
        kind: Its type, without marks.
        marks: Its marks.
        default: Its default; ``dataclasses.MISSING`` where it must be given.
    """

    name: str
    kind: Any
    marks: tuple[object, ...]
    default: Any

    @property
    def source(self) -> Source:
        """Where its default comes from."""
        return next((mark for mark in self.marks if isinstance(mark, Source)), KDOPT)

    @property
    def table(self) -> type[Settings] | None:
        """The settings class, if it is a table of the file."""
        return _find_settings(self.kind)

    @property
    def rows(self) -> type[Settings] | None:
        """The settings class of each item, if it is a list of tables of the file."""
        return _find_settings(get_args(self.kind)[0]) if get_origin(self.kind) is tuple else None


def _find_settings(kind: Any) -> type[Settings] | None:
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def list_fields(settings: type[Settings]) -> list[SettingField]:
    """The fields of a settings class that a campaign file may say, in the order to list them."""
    hints = get_type_hints(settings, include_extras=True)
    found = []
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        kind, marks = _split_marks(hints[field.name])
        if any(isinstance(mark, NotInFiles) for mark in marks):
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(SettingField(field.name, kind, marks, default))
    last = settings.listed_last
    return sorted(found, key=lambda f: last.index(f.name) + 1 if f.name in last else 0)


def describe_attributes(settings: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say about each attribute."""
    texts: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        section = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE):
            texts[name] = " ".join(text.split())
    return texts


def describe_kind(kind: Any, marks: tuple[object, ...] = ()) -> str:
    """A type and its marks in words.

    >>> describe_kind(Annotated[int, Interval(ge=1)])
    'whole number, >= 1'
    >>> describe_kind(tuple[PositiveFraction, ...], (DISTINCT,))
    'list of: number, > 0 and <= 1; each value may be listed once only'
    """
    if get_origin(kind) is Annotated:
        kind, own = _split_marks(kind)
        marks = (*own, *marks)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return describe_kind(next(arg for arg in args if arg is not type(None)), marks)
    if origin is Literal:
        words = "one of " + ", ".join(f'"{arg}"' for arg in args)
    elif origin is tuple:
        words = f"list of: {describe_kind(args[0])}"
    else:
        words = {bool: "true or false", int: "whole number", float: "number"}.get(kind, "text")
    return words + "".join(_describe_marks(marks))


def _describe_marks(marks: tuple[object, ...]) -> Iterator[str]:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    for mark in marks:
        if isinstance(mark, Interval):
            bounds = [(s, getattr(mark, key)) for key, s in signs.items()]
            yield ", " + " and ".join(
                f"{s} {format(bound, '.15g') if isinstance(bound, float) else bound}"
                for s, bound in bounds
                if bound is not None
            )
        elif isinstance(mark, Len):
            yield "; not empty"
        elif isinstance(mark, Rule):
            yield f"; {mark.text}"


def _split_marks(hint: Any) -> tuple[Any, tuple[object, ...]]:
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, *marks = get_args(hint)
    return kind, tuple(marks)
