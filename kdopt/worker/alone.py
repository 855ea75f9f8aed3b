"""One worker in a process at a time.

What trains here draws from torch's global generator, and a lease tells two workers apart by their
process. So two at once in threads of one process would change each other's results, and could
write into each other's trials.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kdopt.errors import KdoptError

# Held by a thread, which may take it again: kdopt.tune holds it around its worker. A forked worker
# is a copy of the thread that has it.
_AT_WORK = threading.RLock()


@contextmanager
def working_alone() -> Iterator[None]:
    """Let no other thread of this process train within the block.

    Raises:
        KdoptError: Another one is training.
    """
    if not _AT_WORK.acquire(blocking=False):
        raise KdoptError(
            "another thread of this process is training, and a process runs one worker at a time; "
            "wait for it, or use another process"
        )
    try:
        yield
    finally:
        _AT_WORK.release()
