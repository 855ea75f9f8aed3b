"""What the stages with one study per partition left behind: their finished trials, in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params
from kdopt.outcome import Outcome, TrialRow


class Run(NamedTuple):
    """One complete trial.

    Attributes:
        partition: Its partition.
        params: Its parameters, the replicate included.
        outcome: Its result.
    """

    partition: str
    params: Params
    outcome: Outcome

    @property
    def replicate(self) -> int:
        """Its replicate, counted from 0."""
        return int(self.params.get("replicate", 0))


def runs(rows: Sequence[TrialRow], stage: StageName) -> list[Run]:
    """The complete trials of a stage by partition and trial number; of a repeated cell, the first.

    Args:
        rows: Trials of a campaign, in any state and order.
        stage: ``combine`` or ``federate``.
    """
    found: dict[tuple[object, ...], Run] = {}
    for row in sorted(rows, key=lambda row: (row.partition, row.number)):
        if row.stage == stage and row.state == "COMPLETE" and row.outcome is not None:
            key = (row.partition, *sorted(row.params.items()))
            found.setdefault(key, Run(row.partition, row.params, row.outcome))
    return list(found.values())


def partitions_in_order(names: Iterable[str], campaign: Campaign) -> list[str]:
    """Each name once: the campaign's partitions in its order, then others by name."""
    met = set(names)
    planned = [p.name for p in campaign.partitions if p.name in met]
    return [*planned, *sorted(met - set(planned))]


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are known; NaN without any. Their order does not matter."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
