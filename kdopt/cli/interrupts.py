"""Ctrl-C before there is anything to stop. Imports next to nothing, so that it is there first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

STOPPED_EARLY = "stopped before anything was done"


@contextmanager
def leave_at_ctrl_c() -> Iterator[None]:
    """End the process at Ctrl-C within the block, which only imports.

    A KeyboardInterrupt in the middle of an import becomes whatever the library makes of it, often
    a traceback that says the library is broken.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, f"{STOPPED_EARLY}\n".encode())
        os._exit(INTERRUPTED)

    # A process in the background ignores it.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, leave)
    except ValueError:  # Python lets the main thread alone set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
