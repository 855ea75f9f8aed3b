"""Look at a campaign again and again until it is done: in place on a terminal, else as text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from kdopt.cli.interrupts import INTERRUPTED
from kdopt.cli.status_view import (
    list_hints,
    print_status,
    render_plain_text,
    render_status,
)
from kdopt.cli.tables import make_console
from kdopt.errors import StoreError
from kdopt.service.status import read_status
from kdopt.service.status_values import STATUS_SCHEMA, Status, format_json
from kdopt.store.database import Store
from kdopt.typed import duration
from kdopt.worker.stop_signals import treat_sigterm_as_ctrl_c

GIVE_UP_S = 600.0
"""Seconds without an answer after which the store is taken to be gone for good."""

WATCHING_SHARE = 0.1
"""Share of the time that may be spent on asking, so that a slow store is not made slower."""

DONE, CANNOT_BE_DONE = 0, 1


@dataclass(frozen=True)
class Look:
    """The last answer of the store, and what was wrong since.

    Attributes:
        status: The last answer.
        at: When it was given, for people.
        clock: The same by :func:`time.monotonic`.
        fault: Why the store does not answer now; empty when it does.
        hints: How to go on, where nobody works.
    """

    status: Status
    at: datetime
    clock: float
    fault: str = ""
    hints: tuple[str, ...] = ()


def watch_campaign(store: Store, campaign: str, every_s: float, as_json: bool = False) -> int:
    """Show a campaign's status until nothing is left to do.

    Args:
        store: The store; a database that restarts meanwhile is noted and waited for.
        campaign: The campaign.
        every_s: Seconds between two looks.
        as_json: One JSON object per line instead, for machines.

    Returns:
        The exit code: 0 when all is done, 1 when what is left can never start, 130 after Ctrl-C
        or SIGTERM.

    Raises:
        StoreError: The store did not answer the first time, or not for :data:`GIVE_UP_S`.
    """
    # A view should say at once that the database is away, rather than stand still.
    store.patience_s = 0.0
    console = make_console()
    looks = _Looks(store, campaign, every_s)
    try:
        with treat_sigterm_as_ctrl_c():
            if as_json:
                _print_each(looks, lambda look: _format_json(look, campaign))
            elif console.is_terminal and not console.is_dumb_terminal:
                _redraw_screen(looks, console)
            else:
                _print_each(looks, lambda look: _format_text(look) + "\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    return CANNOT_BE_DONE if looks.last.status.left else DONE


class _Looks:
    """Asks the store every so often; iterating over it ends when the campaign is done."""

    def __init__(self, store: Store, campaign: str, every_s: float) -> None:
        self._store, self._campaign, self.every_s = store, campaign, every_s
        self.last = self._ask_store()

    def __iter__(self) -> Iterator[Look]:
        yield self.last
        while not self.last.status.done:
            time.sleep(self._pause_s)
            self._look_again()
            yield self.last

    def _look_again(self) -> None:
        try:
            self.last = self._ask_store()
        except StoreError as error:
            if time.monotonic() - self.last.clock > GIVE_UP_S:
                raise
            self.last = replace(self.last, fault=str(error), hints=())

    def _ask_store(self) -> Look:
        began = time.monotonic()
        status = read_status(self._store, self._campaign)
        took_s = time.monotonic() - began
        self._pause_s = max(self.every_s, took_s / WATCHING_SHARE)
        hints = tuple(list_hints(status, self._store))
        return Look(status, datetime.now(UTC).astimezone(), time.monotonic(), hints=hints)


def _print_each(looks: _Looks, text_of: Callable[[Look], str]) -> None:
    for look in looks:
        print(text_of(look), flush=True)


def _redraw_screen(looks: _Looks, console: Console) -> None:
    """Redraw in place, on a screen of its own; the last look stays on the ordinary one."""
    shown = Live(
        get_renderable=lambda: _render_screen(looks.last, console, looks.every_s),
        console=console,
        screen=True,
        # Redrawn by a thread, so that a new window size and a silent store show by themselves.
        refresh_per_second=2,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        with shown:
            for _ in looks:
                shown.refresh()
    finally:
        print_status(looks.last.status, _list_notes(looks.last, looks.every_s))


def _render_screen(look: Look, console: Console, every_s: float) -> RenderableType:
    top = Text(
        f"{datetime.now().astimezone():%H:%M:%S}  every {duration(every_s)}, Ctrl-C ends",
        style="dim",
        no_wrap=True,
        overflow="ellipsis",
    )
    height = console.height - 1
    return Group(top, render_status(look.status, console, height, _list_notes(look, every_s)))


def _list_notes(look: Look, every_s: float) -> list[str]:
    age_s = time.monotonic() - look.clock
    if look.fault or age_s > 2 * every_s + 5:
        since = f"no answer from the store for {duration(age_s)}; the last is of {look.at:%H:%M:%S}"
        return [f"{since} ({look.fault})" if look.fault else since]
    return list(look.hints)


def _format_text(look: Look) -> str:
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}\n" + render_plain_text(
        look.status, _list_notes(look, 0.0) if look.fault else look.hints
    )


def _format_json(look: Look, campaign: str) -> str:
    if not look.fault:
        return format_json(look.status, indent=None)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    error = {"schema": STATUS_SCHEMA, "time": now, "campaign": campaign, "error": look.fault}
    return json.dumps(error)
