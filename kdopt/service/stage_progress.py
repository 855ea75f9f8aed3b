"""How far stages and partitions are, how fast trials end, and when the rest will be done.

Numbers in, numbers out: no store. Pace and ETA follow from two means over recent trials: how many
ran at once, and how long each took. Trials that still run count for the time they took so far, so
long trials that began together do not make the rate jump when they end together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from kdopt.campaign.names import StageName
from kdopt.service.status_values import PartitionStatus, StageStatus
from kdopt.store.queries import StudyCounts

RECENT_S = 300.0
"""The pace is taken over this many seconds before now ..."""

LEAST = 20
"""... or over the last so many trials, where fewer ended meanwhile ..."""

AT_MOST_S = 86_400.0
"""... but never over trials that ended longer ago than this."""

LEAST_S = 0.05
"""Trials that took less trained nothing."""

PAUSE_S = 90.0
"""A longer gap in which nothing ran is no part of the time: the campaign was not at work."""

BETWEEN_TRIALS_S = 5.0
"""Workers that hold no trial for longer are not at work: they have ended."""


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


@dataclass(frozen=True)
class RecentTrials:
    """Trials that ended recently or run now, per stage.

    Attributes:
        ended: Trials that ended.
        running: Trials that run in a worker that is not known to be lost.
        since_s: Seconds since these workers began. What ended before says how long a trial takes,
            but not how many run at a time.
    """

    ended: Mapping[StageName, Sequence[Span]] = field(default_factory=dict)
    running: Mapping[StageName, Sequence[Span]] = field(default_factory=dict)
    since_s: float = math.inf

    def measure_pace(self, stage: StageName) -> Pace | None:
        """How fast the stage's trials end, if that can be told."""
        ended, running = self.ended.get(stage, ()), self.running.get(stage, ())
        now = [span for span in ended if span.ended_ago_s < self.since_s]
        if now or not ended:
            return measure_pace(now, running)
        each_s = _measure_mean_s(ended)
        many = self.count_at_once()
        return Pace(many, each_s) if many > 0 and each_s > 0 else None

    def is_at_work(self, stage: StageName) -> bool:
        """Whether the stage runs, or ran a moment ago: between two trials nothing does."""
        latest_s = min(BETWEEN_TRIALS_S, self.since_s)
        return bool(self.running.get(stage)) or any(
            span.ended_ago_s <= latest_s for span in self.ended.get(stage, ())
        )

    def count_at_once(self) -> float:
        """How many trials of all stages ran at a time recently; 0 when none did."""
        spans = [s for kind in (self.ended, self.running) for some in kind.values() for s in some]
        return count_at_once(spans, min(RECENT_S, self.since_s))


class Eta(NamedTuple):
    """Seconds until all is done, or why that is unknown; neither when nothing is left.

    ``guessed``: of some stage no trial has ended yet.
    """

    seconds: float | None
    unknown: str = ""
    guessed: bool = False


def count_stages(
    states: Sequence[StudyCounts], recent: RecentTrials, blocked: Mapping[StageName, int]
) -> tuple[StageStatus, ...]:
    """Sum the studies of each stage, in planning order.

    Args:
        states: The studies.
        recent: Trials that ended recently or run now.
        blocked: Waiting trials of each stage that can never start.
    """
    by_stage: dict[StageName, list[StudyCounts]] = {}
    for state in states:
        by_stage.setdefault(state.name.stage, []).append(state)
    return tuple(
        _count_stage(stage, group, recent, blocked.get(stage, 0))
        for stage, group in by_stage.items()
    )


def count_partitions(states: Sequence[StudyCounts]) -> tuple[PartitionStatus, ...]:
    """Sum the studies of each partition, and count its pairs that have nothing left to do."""
    by_partition: dict[str, list[StudyCounts]] = {}
    for state in states:
        by_partition.setdefault(state.name.partition, []).append(state)
    return tuple(_count_partition(name, group) for name, group in by_partition.items())


def estimate_campaign_eta(
    stages: Sequence[StageStatus],
    recent: RecentTrials,
    blocked: Mapping[StageName, int],
    read_epochs: Callable[[], Mapping[StageName, int]] = dict,
) -> Eta:
    """Estimate when the whole campaign will be done: its work over the recent number of workers.

    Stages take turns on the same workers, so this is neither the sum nor the maximum of the
    stages' own ETAs.

    Args:
        stages: Their counts.
        recent: Trials that ended recently or run now.
        blocked: Waiting trials of each stage that can never start.
        read_epochs: Gives the epochs that a trial of each stage trains at most. Called only where
            they are needed: of a stage without ended trials the time is guessed by them.
    """
    open_stages = [s for s in stages if s.left > blocked.get(s.stage, 0)]
    if not open_stages:
        return Eta(None)
    if not any(recent.is_at_work(s.stage) for s in open_stages):
        return Eta(None, "no worker is at work")
    paces = {s.stage: recent.measure_pace(s.stage) for s in stages}
    known = {stage: pace.each_s for stage, pace in paces.items() if pace is not None}
    unknown = [s.stage for s in open_stages if s.stage not in known]
    each_s = known | (_guess_times(unknown, known, read_epochs()) if unknown and known else {})
    queues = []
    for stage in open_stages:
        if stage.stage not in each_s:
            return Eta(None, f"no trial of {stage.stage} has ended lately")
        many_blocked = blocked.get(stage.stage, 0)
        queues.append(_make_queue(stage, recent, many_blocked, each_s[stage.stage]))
    many = recent.count_at_once()
    seconds = estimate_time_left_s(queues, many) if many > 0 else None
    if seconds is None:
        return Eta(None, "the last trials take longer than others")
    return Eta(seconds, guessed=bool(unknown))


def _guess_times(
    unknown: Iterable[StageName], known: Mapping[StageName, float], epochs: Mapping[StageName, int]
) -> dict[StageName, float]:
    """Seconds of a trial of stages of which none has ended: as long per epoch as the most alike."""
    # Models that were taken from another campaign cost nothing, and say nothing.
    measured = [s for s, each_s in known.items() if s in epochs and each_s >= LEAST_S]
    guessed = {}
    for stage in unknown:
        if measured and stage in epochs:
            like = min(measured, key=lambda other: abs(epochs[other] - epochs[stage]))
            guessed[stage] = known[like] * epochs[stage] / epochs[like]
    return guessed


def measure_pace(ended: Sequence[Span], running: Sequence[Span]) -> Pace | None:
    """Measure the pace of trials of one kind, or ``None`` when there is nothing to measure.

    Args:
        ended: All that ended within :data:`RECENT_S`, and the last :data:`LEAST` at least.
        running: Those that run now.
    """
    if not ended:
        return None
    # With fewer than LEAST these are all there are, so nothing is missing from any window.
    oldest = max(s.began_ago_s if len(ended) < LEAST else s.ended_ago_s for s in ended)
    many = count_at_once([*ended, *running], max(oldest, RECENT_S))
    each_s = _measure_mean_s(ended)
    return Pace(many, each_s) if many > 0 and each_s > 0 else None


def count_at_once(spans: Iterable[Span], since_s: float) -> float:
    """How many trials ran at a time, on average, since ``since_s`` ago; 0 when none did."""
    clipped = [
        Span(min(s.began_ago_s, since_s), s.ended_ago_s) for s in spans if s.ended_ago_s < since_s
    ]
    busy_s = _measure_busy_s(clipped)
    return sum(s.began_ago_s - s.ended_ago_s for s in clipped) / busy_s if busy_s > 0 else 0.0


def estimate_time_left_s(queues: Sequence[Queue], many: float) -> float | None:
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
    n_busy = min(many, sum(queue.left for queue in queues))
    return max(work_s / n_busy, *remaining, 0.0)


def _count_stage(
    name: StageName, group: Sequence[StudyCounts], recent: RecentTrials, blocked: int
) -> StageStatus:
    counted = StageStatus(
        stage=name,
        studies=len(group),
        studies_complete=sum(s.complete == s.total for s in group),
        **_count_states(group),
    )
    known = recent.measure_pace(name) if recent.is_at_work(name) else None
    if known is None:
        return counted
    queue = _make_queue(counted, recent, blocked, known.each_s)
    left_s = estimate_time_left_s([queue], known.at_once) if queue.left else None
    return replace(counted, per_minute=known.per_minute, eta_s=left_s)


def _make_queue(stage: StageStatus, recent: RecentTrials, blocked: int, each_s: float) -> Queue:
    ages = [span.began_ago_s for span in recent.running.get(stage.stage, ())]
    # Trials of lost workers start again from the beginning.
    lost = max(0, stage.running - len(ages))
    likely_s = _count_overdue(each_s, len(recent.ended.get(stage.stage, ())), ages)
    return Queue(stage.waiting - blocked + lost, ages, likely_s)


def _count_overdue(each_s: float, n_ended: int, ages_s: Sequence[float]) -> float:
    """Seconds that a trial takes, those counted that already run for longer than others took.

    Where participants have different models, a pair's trials may all have ended before those of a
    slower student begin: what waits then takes longer than what ended.
    """
    overdue_s = [age_s for age_s in ages_s if age_s > each_s]
    if not n_ended:
        return each_s
    return (n_ended * each_s + sum(overdue_s)) / (n_ended + len(overdue_s))


def _count_partition(name: str, group: Sequence[StudyCounts]) -> PartitionStatus:
    open_pairs: dict[tuple[int | None, int | None], bool] = {}
    for state in group:
        if state.name.teacher is not None:
            pair = (state.name.teacher, state.name.student)
            left = state.waiting + state.running > 0
            open_pairs[pair] = open_pairs.get(pair, False) or left
    return PartitionStatus(
        partition=name,
        pairs=len(open_pairs),
        pairs_finished=sum(not left for left in open_pairs.values()),
        **_count_states(group),
    )


def _count_states(group: Sequence[StudyCounts]) -> dict[str, int]:
    """The trials of several studies, in all and by state."""
    names = ("complete", "running", "waiting", "failed")
    counts = {name: sum(getattr(state, name) for state in group) for name in names}
    return {"trials": sum(counts.values()), **counts}


def _measure_mean_s(spans: Sequence[Span]) -> float:
    return sum(span.began_ago_s - span.ended_ago_s for span in spans) / len(spans)


def _measure_busy_s(spans: Iterable[Span]) -> float:
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
