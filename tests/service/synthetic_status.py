"""A campaign's status of any size, made by hand."""

from __future__ import annotations

from kdopt.campaign.names import StageName
from kdopt.service.status_values import (
    FailureGroup,
    PartitionStatus,
    StageStatus,
    Status,
    WorkerState,
    WorkerStatus,
)

STAGES: tuple[StageName, ...] = ("pretrain", "tune", "compare", "combine", "federate")
STATES: tuple[WorkerState, ...] = ("gone", "lapsed", "silent", "alive")


def make_status(
    stages: int = 5, partitions: int = 5, workers: int = 4, failures: int = 2, left: int = 9
) -> Status:
    """Five trials of each stage complete, one failed per reason, the rest waiting."""
    lines = tuple(
        StageStatus(s, 90, 3, 5 + left, 5, 0, left, 0, 12.5, 60.0 * left) for s in STAGES[:stages]
    )
    return Status(
        campaign="tiny",
        trials=stages * (5 + left) + failures,
        complete=5 * stages,
        failed=failures,
        left=stages * left,
        blocked=0,
        per_minute=12.5 * stages,
        eta_s=3600.0 if left else None,
        eta_unknown="",
        stages=lines,
        partitions=tuple(
            PartitionStatus(f"partition{n}", 90, n, 700, 600, 1, 99, 0) for n in range(partitions)
        ),
        workers=tuple(
            WorkerStatus(
                host=f"node{n}",
                pid=1000 + n,
                device="cpu",
                state=STATES[min(n, 3)],
                study="tiny/uniform/tune/t00-s01",
                number=n,
                params={"temperature": 2.5, "alpha": 0.75, "replicate": 0},
                attempt=1 + n % 2,
                step=None,
                running_s=61.0,
                last_sign_s=7.0,
                lease_left_s=83.0,
            )
            for n in range(workers)
        ),
        failures=tuple(
            FailureGroup(f"reason {n}", 1, f"reason {n}", "tiny/uniform/tune/t01-s00", n)
            for n in range(failures)
        ),
    )
