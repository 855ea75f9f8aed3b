"""How far a campaign is: counts, what runs, what failed, how long it will take. Numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdopt.plan import StageName
from kdopt.store import rows
from kdopt.store.open import Store
from kdopt.store.rows import Failure, Running, StudyState

RATE_WINDOW_S = 60.0
"""The rate is taken over this many seconds before now."""


@dataclass(frozen=True)
class StageStatus:
    """The trials of one stage, by state."""

    stage: StageName
    studies: int
    studies_complete: int
    trials: int
    complete: int
    running: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class Status:
    """A campaign now.

    Attributes:
        campaign: Its name.
        stages: Counts per stage.
        running: Trials that workers hold.
        failures: Failed trials with their reasons.
        per_minute: Trials completed in the last minute.
        eta_s: Seconds until the rest is done at that rate; ``None`` when nothing moved.
    """

    campaign: str
    stages: tuple[StageStatus, ...]
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    per_minute: float
    eta_s: float | None

    @property
    def trials(self) -> int:
        """All planned trials."""
        return sum(s.trials for s in self.stages)

    @property
    def complete(self) -> int:
        """Trials with a result."""
        return sum(s.complete for s in self.stages)

    @property
    def failed(self) -> int:
        """Trials that cannot be done."""
        return sum(s.failed for s in self.stages)

    @property
    def left(self) -> int:
        """Trials still to do."""
        return self.trials - self.complete - self.failed


def read_status(store: Store, campaign: str) -> Status:
    """Ask the store how far a campaign is."""
    stages = count_stages(rows.read_states(store, campaign))
    per_minute = rows.finished_since(store, campaign, RATE_WINDOW_S) * 60 / RATE_WINDOW_S
    left = sum(s.waiting + s.running for s in stages)
    return Status(
        campaign=campaign,
        stages=stages,
        running=tuple(rows.read_running(store, campaign)),
        failures=tuple(rows.read_failures(store, campaign)),
        per_minute=per_minute,
        eta_s=60 * left / per_minute if per_minute and left else None,
    )


def count_stages(states: Sequence[StudyState]) -> tuple[StageStatus, ...]:
    """Sum the studies of each stage, in planning order."""
    by_stage: dict[StageName, list[StudyState]] = {}
    for state in states:
        by_stage.setdefault(state.name.stage, []).append(state)
    return tuple(
        StageStatus(
            stage=stage,
            studies=len(group),
            studies_complete=sum(s.complete == s.total for s in group),
            trials=sum(s.total for s in group),
            complete=sum(s.complete for s in group),
            running=sum(s.running for s in group),
            waiting=sum(s.waiting for s in group),
            failed=sum(s.failed for s in group),
        )
        for stage, group in by_stage.items()
    )


def eta(status: Status) -> str:
    """The ETA of a whole campaign for people."""
    return duration(status.eta_s) if status.eta_s is not None else "unknown"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(59.4), duration(61), duration(7322)
    ('59 s', '1 min 1 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
