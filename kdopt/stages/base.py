"""What every stage is: which studies it needs planned, and how one of its cells is run.

A stage is one module with two functions. ``studies(campaign)`` says what to plan and imports
nothing heavy; ``run(context, plan, cell, inputs)`` computes one outcome and is a pure function of
its arguments. A stage knows neither Optuna nor SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdopt.names import study_name
from kdopt.outcome import Outcome
from kdopt.plan import Campaign, Cell, Param, StageName, StudyPlan

if TYPE_CHECKING:
    from kdopt.stages.context import Context

Inputs = Mapping[int, Outcome]
"""The pre-training outcome of each participant of the study's partition."""


@dataclass(frozen=True)
class Stage:
    """One kind of work.

    Attributes:
        studies: The studies of a campaign, in planning order.
        run: One cell to one outcome.
    """

    studies: Callable[[Campaign], Sequence[StudyPlan]]
    run: Callable[[Context, StudyPlan, Cell, Inputs], Outcome]


def pair_studies(
    campaign: Campaign,
    stage: StageName,
    params: Mapping[str, Param],
    cells: tuple[Cell, ...],
    open_trials: int = 0,
) -> list[StudyPlan]:
    """One study per partition and ordered pair, all alike; none if the campaign lacks the stage.

    Args:
        campaign: Its stages, partitions and pairs.
        stage: The stage.
        params: The parameters of every study.
        cells: The cells of every study.
        open_trials: The open trials of every study.
    """
    if stage not in campaign.stages:
        return []
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, stage, teacher, student),
            campaign=campaign.name,
            partition=partition.name,
            stage=stage,
            objective="gain (pp)",
            params=params,
            cells=cells,
            teacher=teacher,
            student=student,
            open_trials=open_trials,
            needs=(teacher, student),
        )
        for partition in campaign.partitions
        for teacher, student in campaign.pairs
    ]
