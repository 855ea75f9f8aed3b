"""One worker in a process at a time.

What trains here draws from torch's global generator, and a lease tells two workers apart by their
process. So two at once in threads of one process would change each other's results, and could
write into each other's trials.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kdopt.errors import KdoptError


class _Turn:
    def __init__(self) -> None:
        # Held by a thread, which may take it again: kdopt.tune holds it around its worker. A
        # forked worker is a copy of the thread that has it.
        self.lock = threading.RLock()

    def forget_other_threads(self) -> None:
        """In a copy of this process, which has the thread that forked and none of the others."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = threading.RLock()


_TURN = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_TURN.forget_other_threads)


@contextmanager
def working_alone() -> Iterator[None]:
    """Let no other thread of this process train within the block.

    Raises:
        KdoptError: Another one is training.
    """
    lock = _TURN.lock
    if not lock.acquire(blocking=False):
        raise KdoptError(
            "another thread of this process is training, and a process runs one worker at a time; "
            "wait for it, or use another process"
        )
    try:
        yield
    finally:
        lock.release()
