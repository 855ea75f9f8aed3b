"""What is known of a campaign at one moment: plain values, no store.

``kdopt status --json`` writes these classes field by field (see ``status_json``), so a change
here is a change of what machines read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kdopt.campaign.names import StageName
from kdopt.campaign.studies import Params

WorkerState = Literal["alive", "silent", "lapsed", "gone"]


@dataclass(frozen=True)
class StageStatus:
    """The trials of one stage, by state.

    Attributes:
        stage: Stage name.
        studies: Its studies.
        studies_complete: Those whose trials all have a result.
        trials: Planned trials.
        complete: Trials with a result.
        running: Trials that workers hold.
        waiting: Trials that nobody has begun.
        failed: Trials with a reason instead of a result.
        per_minute: Trials that end per minute of late; 0 when the stage is not at work.
        eta_s: Seconds until the stage is done at this pace; ``None`` when that is unknown.
    """

    stage: StageName
    studies: int
    studies_complete: int
    trials: int
    complete: int
    running: int
    waiting: int
    failed: int
    per_minute: float = 0.0
    eta_s: float | None = None

    @property
    def left(self) -> int:
        """Trials still to do."""
        return self.waiting + self.running


@dataclass(frozen=True)
class PartitionStatus:
    """One partition, over all stages.

    Attributes:
        partition: Partition name.
        pairs: Teacher-student pairs that are studied.
        pairs_finished: Those of them with nothing left to do.
        trials: Planned trials.
        complete: Trials with a result.
        running: Trials that workers hold.
        waiting: Trials that nobody has begun.
        failed: Trials with a reason instead of a result.
    """

    partition: str
    pairs: int
    pairs_finished: int
    trials: int
    complete: int
    running: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class WorkerStatus:
    """A worker and the trial that it holds; those that hold none leave no trace in the store.

    Attributes:
        host: Its machine.
        pid: Its process number there; ``None`` when the lease does not say.
        device: Where it computes; ``None`` when the lease does not say.
        state: ``alive``; ``silent`` (missed three signs of life); ``lapsed`` (its lease
            is over, any worker takes the trial back); ``gone`` (its process on this machine has
            ended without giving the trial back).
        study: The study it works on.
        number: The trial's number within the study.
        params: The trial's parameters; empty while the sampler chooses them.
        attempt: 1 for the first run of this trial, more after a worker was lost.
        step: The last step that the trial reported, if it reports any.
        running_s: Seconds since the trial was claimed.
        last_sign_s: Seconds since the worker's last sign of life.
        lease_left_s: Seconds until the lease lapses, negative when it has.
    """

    host: str
    pid: int | None
    device: str | None
    state: WorkerState
    study: str
    number: int
    params: Params
    attempt: int
    step: int | None
    running_s: float
    last_sign_s: float
    lease_left_s: float


@dataclass(frozen=True)
class FailureGroup:
    """Trials that failed for the same reason, numbers in its text aside.

    Attributes:
        reason: The first line of the reason; where numbers differ, ``N`` stands for them.
        count: Trials.
        example: The whole reason of one of them.
        study: That one's study.
        number: That one's number within the study.
    """

    reason: str
    count: int
    example: str
    study: str
    number: int


@dataclass(frozen=True)
class Status:
    """A campaign now.

    Attributes:
        campaign: Its name.
        trials: All planned trials.
        complete: Trials with a result.
        failed: Trials that cannot be done.
        left: Trials still to do, those that cannot start included.
        blocked: Waiting trials that can never start, since a participant that they need could
            not be pre-trained.
        per_minute: Trials that end per minute of late, over all stages.
        eta_s: Seconds until all that can be done is done; ``None`` when that is unknown.
        eta_unknown: Why it is unknown; empty when it is known or nothing is left.
        stages: Counts and pace per stage, in the order of the stages.
        partitions: Counts per partition.
        workers: Who works on what; those in trouble first.
        failures: Reasons of failures, the most frequent first.
    """

    campaign: str
    trials: int
    complete: int
    failed: int
    left: int
    blocked: int
    per_minute: float
    eta_s: float | None
    eta_unknown: str
    stages: tuple[StageStatus, ...]
    partitions: tuple[PartitionStatus, ...]
    workers: tuple[WorkerStatus, ...]
    failures: tuple[FailureGroup, ...]

    @property
    def done(self) -> bool:
        """Whether nothing can be done any more."""
        return self.left == self.blocked
