"""How fast trials end, and when the rest will be done. Numbers in, numbers out.

Both follow from two means over what happened of late: how many trials ran at once, and how long
each took. Trials that still run count for the time they took so far, so long trials that began
together do not make the rate jump when they end together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

RECENT_S = 300.0
"""The pace is taken over this many seconds before now ..."""

LEAST = 20
"""... or over the last so many trials, where fewer ended meanwhile ..."""

AT_MOST_S = 86_400.0
"""... but never over trials that ended longer ago than this."""

PAUSE_S = 90.0
"""A longer gap in which nothing ran is no part of the time: the campaign was not at work."""


class Span(NamedTuple):
    """When a trial ran, in seconds before now; ``ended_ago_s`` is 0 while it runs."""

    began_ago_s: float
    ended_ago_s: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How fast trials of one kind end.

    Attributes:
        at_once: How many ran at a time, on average, > 0.
        each_s: Seconds that one takes, on average, > 0.
    """

    at_once: float
    each_s: float

    @property
    def per_minute(self) -> float:
        """Trials that end in a minute."""
        return 60 * self.at_once / self.each_s


@dataclass(frozen=True)
class Queue:
    """Trials of one kind that are still to do.

    Attributes:
        waiting: Trials that nobody has begun.
        running_s: For each one that runs, the seconds since it began.
        each_s: Seconds that one takes.
    """

    waiting: int
    running_s: Sequence[float]
    each_s: float

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return self.waiting + len(self.running_s)

    @property
    def remaining_s(self) -> list[float]:
        """What those that run still need; 0 for one that takes longer than others did."""
        return [max(0.0, self.each_s - age) for age in self.running_s]


def pace(ended: Sequence[Span], running: Sequence[Span]) -> Pace | None:
    """The pace of trials of one kind, or ``None`` when there is nothing to tell it from.

    Args:
        ended: All that ended within :data:`RECENT_S`, and the last :data:`LEAST` at least.
        running: Those that run now.
    """
    if not ended:
        return None
    # With fewer than LEAST these are all there are, so nothing is missing from any window.
    oldest = max(s.began_ago_s if len(ended) < LEAST else s.ended_ago_s for s in ended)
    many = at_once([*ended, *running], max(oldest, RECENT_S))
    each_s = sum(s.began_ago_s - s.ended_ago_s for s in ended) / len(ended)
    return Pace(many, each_s) if many > 0 and each_s > 0 else None


def at_once(spans: Iterable[Span], since_s: float) -> float:
    """How many trials ran at a time, on average, since ``since_s`` ago; 0 when none did."""
    clipped = [
        Span(min(s.began_ago_s, since_s), s.ended_ago_s) for s in spans if s.ended_ago_s < since_s
    ]
    busy_s = _busy_s(clipped)
    return sum(s.began_ago_s - s.ended_ago_s for s in clipped) / busy_s if busy_s > 0 else 0.0


def time_left_s(queues: Sequence[Queue], many: float) -> float | None:
    """Seconds until all queues are empty, or ``None`` when the last trials are overdue.

    Args:
        queues: What is left; none of them empty.
        many: How many trials run at a time, of whatever kind, > 0.
    """
    remaining = [r for queue in queues for r in queue.remaining_s]
    work_s = sum(queue.waiting * queue.each_s for queue in queues) + sum(remaining)
    if work_s <= 0:
        return None
    # The last trials leave workers idle, and none ends before its own time.
    lanes = min(many, sum(queue.left for queue in queues))
    return max(work_s / lanes, *remaining, 0.0)


def _busy_s(spans: Iterable[Span]) -> float:
    """Length of the union of spans and now, with the short gaps and without the long ones."""
    merged: list[Span] = []
    for span in sorted([*spans, Span(0.0)], reverse=True):
        if merged and span.began_ago_s >= merged[-1].ended_ago_s:
            merged[-1] = Span(merged[-1].began_ago_s, min(merged[-1].ended_ago_s, span.ended_ago_s))
        else:
            merged.append(span)
    gaps = [earlier.ended_ago_s - later.began_ago_s for earlier, later in pairwise(merged)]
    covered = sum(s.began_ago_s - s.ended_ago_s for s in merged)
    return covered + sum(gap for gap in gaps if gap <= PAUSE_S)
