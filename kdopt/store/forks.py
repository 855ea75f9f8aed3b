"""What a fork does to open databases: the copy takes none of its parent's connections along.

A connection may not be in two processes. On PostgreSQL they read each other's answers. SQLite keeps
its locks by process and takes those of the parent for the copy's own: so the file is closed under
a copy that still writes it, and what it wrote is gone.

``multiprocessing`` forks on Linux before Python 3.14, and so do programs that call kdopt. So all
connections are given up before a fork, and each process makes new ones when it needs them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator

from sqlalchemy.engine import Engine

from kdopt.errors import StoreError

FORK_WAIT_S = 30.0
"""How long a fork waits for connections that other threads have in use."""


class _Connections:
    """The engines of this process, and which of its threads use a connection now."""

    def __init__(self) -> None:
        self.engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self.changed = threading.Condition()
        self.threads: Counter[int] = Counter()
        self.are_torn = False

    def give_up(self) -> None:
        """Close what nobody uses; from here to the fork nobody begins to."""
        self.changed.acquire()
        mine = threading.get_ident()
        self.changed.wait_for(lambda: not set(self.threads) - {mine}, FORK_WAIT_S)
        for engine in self.engines:
            engine.dispose()

    def go_on(self) -> None:
        """In the parent."""
        self.changed.release()

    def begin_anew(self) -> None:
        """In the copy, which has none of the other threads."""
        self.are_torn = self.are_torn or bool(self.threads)
        self.changed, self.threads = threading.Condition(), Counter()
        for engine in self.engines:
            engine.dispose(close=False)  # what is left is the parent's


_HERE = _Connections()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_HERE.give_up, after_in_parent=_HERE.go_on, after_in_child=_HERE.begin_anew
    )


def keep_to_process(engine: Engine) -> Engine:
    """Have an engine give up its connections before a fork."""
    with _HERE.changed:
        _HERE.engines.add(engine)
    return engine


@contextlib.contextmanager
def use_connection() -> Iterator[None]:
    """No fork happens within the block, in which this thread uses a connection.

    Raises:
        StoreError: This process is a copy that was made while one was in use all the same.
    """
    if _HERE.are_torn:
        raise StoreError(
            "this process was forked in the middle of a query of its parent, and databases cannot "
            "be told apart from the parent's here; start it by "
            "multiprocessing.get_context('spawn'), or fork when no thread uses a store"
        )
    me = threading.get_ident()
    with _HERE.changed:
        _HERE.threads[me] += 1
    try:
        yield
    finally:
        with _HERE.changed:
            _HERE.threads[me] -= 1
            if _HERE.threads[me] <= 0:  # below 0 in a copy that was made within the block
                del _HERE.threads[me]
            _HERE.changed.notify_all()
