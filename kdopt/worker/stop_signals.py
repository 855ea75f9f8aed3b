"""Stop signals: a worker remembers them and is cut off only within a trial; others are at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


class Stopped(BaseException):
    """Raised inside a running trial by Ctrl-C, SIGTERM or the time limit; not an error.

    It is no :class:`Exception`, so that code that records a trial's own faults lets it through.
    """


class StopSignal:
    """SIGINT, SIGTERM and the end of the time limit.

    They raise :class:`Stopped` inside a running trial only: anywhere else they could cut a database
    call in two.

    Attributes:
        asked: Whether this process was told to stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self._raise = False

    @contextmanager
    def listening(self, time_limit_s: float | None = None) -> Iterator[None]:
        """Handle the signals within the block, and raise one after ``time_limit_s`` seconds."""
        # Python delivers signals to the main thread only; a worker in another one (in tests, in
        # somebody's notebook) leaves them alone.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if time_limit_s is not None:
            numbers.append(signal.SIGALRM)
        kept = {s: signal.signal(s, self._handle_signal) for s in numbers}
        if time_limit_s is not None:
            signal.setitimer(signal.ITIMER_REAL, time_limit_s)
        try:
            yield
        finally:
            if time_limit_s is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in kept.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within the block a signal raises :class:`Stopped`, also one that came before."""
        self._raise = True
        try:
            if self.asked:  # between taking the trial and this block
                raise Stopped
            yield
        finally:
            self._raise = False

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Within :meth:`interrupting`: a signal waits until the block is done."""
        kept, self._raise = self._raise, False
        try:
            yield
        finally:
            self._raise = kept
        if kept and self.asked:
            self._raise = False
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond a signal."""
        # Short sleeps rather than an Event: setting an Event in a signal handler can deadlock.
        end = time.monotonic() + seconds
        while not self.asked and time.monotonic() < end:
            time.sleep(0.05)

    def _handle_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._raise:
            # Once only: a second Ctrl-C must not cut off giving the trial back.
            self._raise = False
            raise Stopped


@contextmanager
def postpone_ctrl_c() -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM wait for its end, for what must not be cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    # A signal that is ignored, or ends this process there and then, is left alone.
    kept = {int(n): now for n in numbers if callable(now := signal.getsignal(n))}
    # Each handler is put back whichever moment a signal comes at, also between two of these lines.
    with ExitStack() as stack:
        for number, handler in kept.items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, lambda n, _frame: came.append(n))
        yield
    for number in came:
        kept[number](number, None)


@contextmanager
def treat_sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM raises :class:`KeyboardInterrupt`, so ``finally`` runs for it too.

    By default it would end the process there and then: its workers would go on unseen, and a
    terminal would stay without its cursor.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Python lets the main thread alone set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
