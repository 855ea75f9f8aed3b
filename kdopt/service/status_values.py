"""A campaign's status at one moment: plain values without a store, and their JSON.

``kdopt status --json`` writes one object:

=================  ===============================================================
``schema``         2; raised when a field is renamed, removed or changes its meaning
``time``           when it was read, UTC, ISO 8601
``campaign``       name
``trials``         planned trials; = ``complete`` + ``failed`` + ``left``
``blocked``        of ``left``, those that can never start
``done``           whether nothing can be done any more
``per_minute``     trials that end per minute, recently
``eta_s``          seconds until all is done, or null; ``eta_unknown`` then says why
``eta_guessed``    whether other stages' times were taken for a stage that none is known of
``stages``         list of ``StageStatus``
``partitions``     list of ``PartitionStatus``
``workers``        list of ``WorkerStatus``, those in trouble first
``failures``       list of ``FailureGroup``, the most frequent first
``notes``          list of texts: what somebody should do something about
=================  ===============================================================

The fields of the four lists, with their meanings and units, are those of the classes below, so a
change here is a change of what programs read. Times that end in ``_s`` are in seconds.

Schema 2: ``params`` of a worker was called ``cell`` in schema 1.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from kdopt.campaign.names import StageName
from kdopt.campaign.studies import Params

STATUS_SCHEMA = 2
"""Version of what is written; fields may be added within one."""

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
        running: Trials that workers have begun.
        waiting: Trials that nobody has begun, also those that a worker has claimed.
        failed: Trials with a reason instead of a result.
        per_minute: Trials that end per minute, recently; 0 when the stage is not at work.
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
        running: Trials that workers have begun.
        waiting: Trials that nobody has begun, also those that a worker has claimed.
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
    """A worker and the trial that it runs; those that hold none leave no trace in the store.

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
        running_s: Seconds since the trial was begun.
        last_sign_s: Seconds since the worker's last sign of life.
        lease_left_s: Seconds until the lease lapses, negative when it has.
        at_once: Trials that it runs at once, this one included: several of a study on a GPU.
        claimed: Further trials that it claimed and has not begun: short ones run in turn.
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
    at_once: int = 1
    claimed: int = 0


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
        per_minute: Trials that end per minute, recently, over all stages.
        eta_s: Seconds until all that can be done is done; ``None`` when that is unknown.
        eta_unknown: Why it is unknown; empty when it is known or nothing is left.
        stages: Counts and pace per stage, in the order of the stages.
        partitions: Counts per partition.
        workers: Who works on what; those in trouble first.
        failures: Reasons of failures, the most frequent first.
        eta_guessed: Of some stage no trial has ended, and other stages' times were taken for it.
        notes: What somebody should do something about, a sentence each.
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
    eta_guessed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether there is work that nobody does."""
        at_work = any(worker.state in ("alive", "silent") for worker in self.workers)
        return not self.done and not at_work and self.per_minute == 0

    @property
    def done(self) -> bool:
        """Whether nothing can be done any more."""
        return self.left == self.blocked


def list_json_values(status: Status, time: datetime | None = None) -> dict[str, object]:
    """Plain values for ``json.dumps``.

    Args:
        status: The status.
        time: When it was read; ``None`` for now.
    """
    time = time or datetime.now(UTC)
    return {
        "schema": STATUS_SCHEMA,
        "time": time.isoformat(timespec="milliseconds"),
        "done": status.done,
        **asdict(status),
    }


def format_json(status: Status, indent: int | None = 2) -> str:
    """The whole status as one JSON object; on one line without ``indent``."""
    return json.dumps(list_json_values(status), indent=indent, ensure_ascii=True)
