"""Wait for what other processes do, with a deadline that only a fault misses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kdopt.store import queries
from kdopt.store.database import Store

Found = TypeVar("Found")


def wait_until(happens: Callable[[], Found], timeout_s: float = 600.0) -> Found:
    """Ask again and again until the answer is true; that answer."""
    end = time.monotonic() + timeout_s
    while not (found := happens()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def count_complete(store: Store) -> int:
    """Complete trials of the campaign ``tiny``."""
    return sum(s.complete for s in queries.read_study_counts(store, "tiny"))


def wait_for(store: Store, complete: int) -> None:
    """Wait until so many trials of the campaign ``tiny`` are complete."""
    wait_until(lambda: count_complete(store) >= complete)
