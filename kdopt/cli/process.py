"""What every command begins and ends with: safe streams, and an end without a traceback."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from kdopt.cli.limits import NO_MORE_PROCESSES
from kdopt.files import find_tight_limit
from kdopt.shown import (
    LONGEST_MESSAGE,
    clean_text,
    hide_secrets,
    list_hideable,
    list_secrets,
    shorten,
)

CLOSED_PIPE = 1
"""Exit code when nobody reads the output any more."""

PLACES = ("KDOPT_STORE", "KDOPT_OTHER_STORE", "KDOPT_ARTIFACTS", "KDOPT_OTHER_ARTIFACTS")
"""Environment variables whose values may hold a password."""


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Within the block, objects that hold each other stay in memory.

    For commands that read a whole campaign and end: in its millions of rows there are none, and to
    look for them again and again takes a sixth of a report's time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class GuardedStream:
    """stdout or stderr without secrets, escape codes and what its encoding lacks.

    All that is printed goes through here, also what typer, drivers and loggers say. Rich, which
    must write escape codes, passes it by: see :func:`kdopt.cli.tables.make_console`.

    Args:
        stream: Where texts go.
        secrets: What is never shown.
        is_log: It holds messages: long lines are shortened, and what cannot be written is dropped.
    """

    def __init__(self, stream: TextIO, secrets: Iterable[str], is_log: bool = False) -> None:
        self.rich_proxied_file = stream
        self._secrets = list(secrets)
        self._is_log = is_log

    def write(self, text: str) -> int:
        """Write a text that was made safe."""
        safe = hide_secrets(clean_text(text), self._secrets)
        if self._is_log:
            safe = "\n".join(map(shorten, safe.split("\n")))
        with suppress(*([OSError] if self._is_log else [])):
            self.rich_proxied_file.write(safe)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what was written."""
        with suppress(*([OSError] if self._is_log else [])):
            self.rich_proxied_file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def guard_streams(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Within the block, stdout and stderr are guarded.

    Args:
        arguments: Of the command line; their secrets are not shown.
        environment: Likewise, its :data:`PLACES`.
    """
    given = [*arguments, *(environment.get(name, "") for name in PLACES)]
    # An option may carry its value (--store=URL), a campaign its store (NAME@URL).
    texts = [t for text in given for t in (text, text.partition("=")[2], text.partition("@")[2])]
    secrets = list_hideable(secret for text in texts for secret in list_secrets(text))
    kept = sys.stdout, sys.stderr
    out, log = (_open_stream(stream) for stream in kept)
    sys.stdout = GuardedStream(out, secrets)
    sys.stderr = GuardedStream(log, secrets, is_log=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def print_error(text: str) -> None:
    """Print why a command gave up, in at most a page."""
    print(f"kdopt: error: {shorten(text, LONGEST_MESSAGE)}", file=sys.stderr)


def explain_os_error(error: OSError) -> str:
    """What the system said no to, as a message."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.ENOENT and not _is_there():
        return "the folder that you are in was removed; change to another one"
    fix = find_tight_limit(error.errno or 0)
    if error.errno == errno.EAGAIN:
        fix = NO_MORE_PROCESSES
    if error.filename is None:
        other = "free some space" if error.errno == errno.ENOSPC else "run the same command again"
        return f"reading or writing failed: {reason}; {fix or other}"
    name = os.fsdecode(error.filename) if not isinstance(error.filename, int) else "a file"
    return f"{shorten(name, 300)}: {reason}; {fix or 'check the path and its permissions'}"


def _is_there() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def finish_output(code: int) -> int:
    """Hand over what was printed; returns the exit code, which says if nobody took it.

    Outside of :func:`guard_streams`: it and typer hide that something could not be written, and
    Python, which tries once more when it ends, would end with 120.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _forget_output(sys.stdout)
        code = CLOSED_PIPE
        if error.errno != errno.EPIPE:
            with suppress(OSError):
                print_error(
                    f"the output cannot be written: {error.strerror}; free space or change it"
                )
            code = 2
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        # Messages that nobody takes change no exit code.
        _forget_output(sys.stderr)
    return code


def _forget_output(stream: TextIO) -> None:
    """Let Python write the rest nowhere, as it tries once more when it ends and would complain."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _open_stream(stream: TextIO | None) -> TextIO:
    """A stream that can be written to, whatever its encoding lacks and also if it was closed."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        with suppress(OSError):  # it also hands over what was written before
            stream.reconfigure(errors="replace")
    return stream
