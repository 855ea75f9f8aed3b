"""What was probably meant by a command or an option that does not exist: one name, the closest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any

import typer

SHORTEST = 2
"""Letters of a name's beginning that say which name is meant."""


def find_closest(typed: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; ``None`` when nothing is like it.

    The only one that begins with what was typed, or else the most similar one.
    """
    names = sorted(known)
    begun = [name for name in names if name.startswith(typed)]
    if len(begun) == 1 and len(typed.lstrip("-")) >= SHORTEST:
        return begun[0]
    return next(iter(get_close_matches(typed, names, n=1)), None)


def suggest_one_name(command: Any) -> None:
    """Let a command answer an unknown option, or a group an unknown command, with one name."""
    command.parse_args = partial(_parse_arguments, command, command.parse_args)
    is_group = isinstance(command, typer.core.TyperGroup)
    if is_group:
        command.suggest_commands = False
        command.resolve_command = partial(_find_command, command, command.resolve_command)


def _parse_arguments(
    command: Any, parse: Callable[..., list[str]], ctx: Any, arguments: list[str]
) -> list[str]:
    try:
        return parse(ctx, arguments)
    except Exception as error:
        # Typer's own class for it is private; nothing else names an option and what is like it.
        if hasattr(error, "possibilities") and hasattr(error, "option_name"):
            options = [name for param in command.get_params(ctx) for name in param.opts]
            typed = error.option_name
            error.possibilities = None
            _add_question(error, find_closest(typed, [o for o in options if o.startswith("--")]))
        raise


def _find_command(
    group: Any, resolve: Callable[..., Any], ctx: Any, arguments: list[str]
) -> tuple[str | None, Any, list[str]]:
    try:
        found: tuple[str | None, Any, list[str]] = resolve(ctx, arguments)
    except Exception as error:
        if hasattr(error, "message") and arguments[0] not in group.commands:
            _add_question(error, find_closest(arguments[0], group.commands))
        raise
    return found


def _add_question(error: Any, name: str | None) -> None:
    if name is not None:
        error.message = f"{error.message.removesuffix('.')}. Did you mean '{name}'?"
