"""Trials of the stages that have studies per partition, not per pair: combine and federate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kdopt.campaign.studies import Params
from kdopt.outcome import Outcome, TrialRow


class PartitionRun(NamedTuple):
    """One complete trial of a stage with one study per partition.

    Attributes:
        partition: Its partition.
        params: Its parameters, the replicate included.
        outcome: Its result.
        algorithm: Of stage ``federate``: what it ran.
    """

    partition: str
    params: Params
    outcome: Outcome
    algorithm: str | None = None

    @property
    def replicate(self) -> int:
        """Its replicate, counted from 0."""
        return int(self.params.get("replicate", 0))


def list_partition_runs(rows: Iterable[TrialRow]) -> list[PartitionRun]:
    """The complete trials of a stage by partition and number; of repeated params, the first.

    Args:
        rows: Trials of stage ``combine`` or ``federate``, in any state and order.
    """
    found: dict[tuple[object, ...], PartitionRun] = {}
    for row in sorted(rows, key=lambda row: (row.partition, row.number)):
        if row.state == "COMPLETE" and row.outcome is not None:
            key = (row.partition, row.algorithm, *sorted(row.params.items()))
            # A trial that was planned twice counts once, or its cell would weigh double.
            found.setdefault(
                key, PartitionRun(row.partition, row.params, row.outcome, row.algorithm)
            )
    return list(found.values())
