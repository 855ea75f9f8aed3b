"""Say on stderr what a command does: before each step, or once a step has taken a while."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer

Say = Callable[[str], None]
"""Takes what is being done now, such as ``reading the images``."""


SLOW_S = 0.7
"""Seconds of silence after which somebody at a terminal is told what is being done."""


@contextmanager
def say_if_slow(step: str) -> Iterator[None]:
    """Say what is done within the block once it has taken a while, if somebody looks on."""
    if not _is_watched():
        yield
        return
    # A thread: the block may be one long call that lets no signal through.
    timer = Timer(SLOW_S, _print_step, [step])
    timer.daemon = True
    with suppress(RuntimeError):  # no more threads can be started here; it is done in silence
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()  # so that what comes next begins on a line of its own


def _is_watched() -> bool:
    # A shell that completes a command shows nothing else.
    completing = "_KDOPT_COMPLETE" in os.environ
    return sys.stderr is not None and sys.stderr.isatty() and not completing


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
