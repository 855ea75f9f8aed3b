"""Numbers that people type: in plain digits, in every option of every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from kdopt.cli.app import LazyCommands
from kdopt.data.splits import unpack_splits
from kdopt.errors import KdoptError
from kdopt.store.location import parse_location
from tests.hostile.commands import refused

ODD = ["1_0", "\u0663", "\uff11", "1\u00b2", "\u2460", "1\u00a0000"]
"""Ten with an underscore, three in Arabic, one of full width, 1 squared, 1 circled, a thousand."""


def list_number_options(command: Any, path: list[str]) -> Iterator[tuple[list[str], str]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from list_number_options(below, [*path, name])
    types = get_type_hints(command.callback) if command.callback else {}
    for param in command.params:
        kind = types.get(param.name)
        if {kind, *get_args(kind)} & {int, float}:
            yield path, param.opts[0]


COMMANDS = LazyCommands()
OPTIONS = [
    (path, option)
    for name in COMMANDS
    for path, option in list_number_options(COMMANDS[name], [name])
]


def test_there_are_such_options() -> None:
    assert len(OPTIONS) > 15 and (["launch", "local"], "--workers") in OPTIONS


def test_every_option_takes_plain_digits_alone(here: Path) -> None:
    for path, option in OPTIONS:
        for odd in ODD:
            said = refused(*path, f"{option}={odd}")
            assert f"{option}: '" in said and "write it in the digits 0 to 9" in said, (path, said)


@pytest.mark.parametrize("odd", ODD)
def test_so_do_features_of_a_pair(here: Path, odd: str) -> None:
    said = refused("recommend", "--feature", f"student_accuracy={odd}")
    assert "feature student_accuracy" in said and "write it in the digits 0 to 9" in said


@pytest.mark.parametrize("odd", [*ODD, "-1", "+1", " 1", "1 ", "65536", "9" * 5000])
def test_so_does_the_port_of_a_store(odd: str) -> None:
    with pytest.raises(KdoptError, match=r"URL (cannot be read|has no port)"):
        parse_location(f"postgresql://host:{odd}/x")


@pytest.mark.parametrize(
    "key", ["train.\u0660\u0660", "train.0_0", "train.00\n", "train." + "9" * 5000]
)
def test_so_do_the_names_of_splits(key: str) -> None:
    with pytest.raises(KdoptError, match=r"missing|unknown"):
        unpack_splits({key: None, "validation": None, "public": None})  # type: ignore[dict-item]
