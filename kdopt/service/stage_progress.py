"""Counts, pace and ETA of a campaign's stages, and counts of its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kdopt.campaign.names import StageName
from kdopt.service.pace import PAUSE_S, RECENT_S, Pace, Queue, Span, at_once, pace, time_left_s
from kdopt.service.status_values import PartitionStatus, StageStatus
from kdopt.store.rows import StudyState


@dataclass(frozen=True)
class Recent:
    """What happened of late, per stage.

    Attributes:
        ended: Trials that ended.
        running: Trials that run in a worker that is not known to be lost.
    """

    ended: Mapping[StageName, Sequence[Span]] = field(default_factory=dict)
    running: Mapping[StageName, Sequence[Span]] = field(default_factory=dict)

    def pace(self, stage: StageName) -> Pace | None:
        """How fast the stage's trials end, if that can be told."""
        return pace(self.ended.get(stage, ()), self.running.get(stage, ()))

    def at_work(self, stage: StageName) -> bool:
        """Whether the stage runs, or ran a moment ago: between two trials nothing does."""
        return bool(self.running.get(stage)) or any(
            span.ended_ago_s <= PAUSE_S for span in self.ended.get(stage, ())
        )

    def at_once(self) -> float:
        """How many trials ran at a time of late, of all stages; 0 when none did."""
        spans = [s for kind in (self.ended, self.running) for some in kind.values() for s in some]
        return at_once(spans, RECENT_S)


class Eta(NamedTuple):
    """Seconds until all is done, or why that is unknown; neither when nothing is left."""

    seconds: float | None
    unknown: str = ""


def count_stages(
    states: Sequence[StudyState], recent: Recent, blocked: Mapping[StageName, int]
) -> tuple[StageStatus, ...]:
    """Sum the studies of each stage, in planning order.

    Args:
        states: The studies.
        recent: What happened of late.
        blocked: Waiting trials of each stage that can never start.
    """
    by_stage: dict[StageName, list[StudyState]] = {}
    for state in states:
        by_stage.setdefault(state.name.stage, []).append(state)
    return tuple(
        _stage(stage, group, recent, blocked.get(stage, 0)) for stage, group in by_stage.items()
    )


def count_partitions(states: Sequence[StudyState]) -> tuple[PartitionStatus, ...]:
    """Sum the studies of each partition, and count its pairs that have nothing left to do."""
    by_partition: dict[str, list[StudyState]] = {}
    for state in states:
        by_partition.setdefault(state.name.partition, []).append(state)
    return tuple(_partition(name, group) for name, group in by_partition.items())


def campaign_eta(
    stages: Sequence[StageStatus], recent: Recent, blocked: Mapping[StageName, int]
) -> Eta:
    """When the whole campaign will be done: its work over the workers of late.

    Stages take turns on the same workers, so their own ETAs neither add up nor stand side by side.
    """
    open_stages = [s for s in stages if s.left > blocked.get(s.stage, 0)]
    if not open_stages:
        return Eta(None)
    if not any(recent.at_work(s.stage) for s in open_stages):
        return Eta(None, "no worker is at work")
    queues = []
    for stage in open_stages:
        known = recent.pace(stage.stage)
        if known is None:
            return Eta(None, f"no trial of {stage.stage} has ended lately")
        queues.append(_queue(stage, recent, blocked.get(stage.stage, 0), known))
    many = recent.at_once()
    seconds = time_left_s(queues, many) if many > 0 else None
    return Eta(seconds, "" if seconds is not None else "the last trials take longer than others")


def _stage(
    name: StageName, group: Sequence[StudyState], recent: Recent, blocked: int
) -> StageStatus:
    counted = StageStatus(
        stage=name,
        studies=len(group),
        studies_complete=sum(s.complete == s.total for s in group),
        trials=sum(s.total for s in group),
        complete=sum(s.complete for s in group),
        running=sum(s.running for s in group),
        waiting=sum(s.waiting for s in group),
        failed=sum(s.failed for s in group),
        per_minute=0.0,
        eta_s=None,
    )
    known = recent.pace(name) if recent.at_work(name) else None
    if known is None:
        return counted
    queue = _queue(counted, recent, blocked, known)
    left_s = time_left_s([queue], known.at_once) if queue.left else None
    return replace(counted, per_minute=known.per_minute, eta_s=left_s)


def _queue(stage: StageStatus, recent: Recent, blocked: int, known: Pace) -> Queue:
    ages = [span.began_ago_s for span in recent.running.get(stage.stage, ())]
    # What lost workers hold will be begun anew.
    lost = max(0, stage.running - len(ages))
    return Queue(stage.waiting - blocked + lost, ages, known.each_s)


def _partition(name: str, group: Sequence[StudyState]) -> PartitionStatus:
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
        trials=sum(s.total for s in group),
        complete=sum(s.complete for s in group),
        running=sum(s.running for s in group),
        waiting=sum(s.waiting for s in group),
        failed=sum(s.failed for s in group),
    )
