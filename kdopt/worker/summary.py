"""What a worker did, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kdopt.trials.cache import CacheUse


@dataclass
class WorkerSummary:
    """What a worker did.

    Attributes:
        complete: Trials with a result.
        failed: Trials that failed.
        given_back: Trials given back unfinished, as it was told to stop.
        lost: Results dropped, since another worker had the trial by then.
        stopped: Whether it was told to stop.
        blocked: Studies left whose participants could not be pre-trained.
        caches: How often what was asked for was in memory, by cache.
        seconds: Where the time went.
    """

    complete: int = 0
    failed: int = 0
    given_back: int = 0
    lost: int = 0
    stopped: bool = False
    blocked: list[str] = field(default_factory=list)
    caches: dict[str, CacheUse] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Adds up seconds by what a worker was doing.

    Attributes:
        seconds: Wall time by name, in the order of first use.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Count the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)
