"""Say on stderr what a command does, before each step that may take seconds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes what is being done now, such as ``reading the images``."""


def announce_steps(quiet: bool = False) -> Say:
    """How a command says its steps: a line each, or nothing.

    What takes long within a step, such as decoding a large folder, is logged by the library; with
    this it is shown too.
    """
    if quiet:
        return say_nothing
    logging.getLogger("kdopt.data").setLevel(logging.INFO)
    return _print_step


def say_nothing(_step: str) -> None:
    """Keep a step to oneself."""


def _print_step(step: str) -> None:
    print(f"{step} ...", file=sys.stderr, flush=True)
