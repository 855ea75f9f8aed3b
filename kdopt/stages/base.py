"""What every stage is: which studies it needs planned, and how one of its cells is run.

A stage is one module with two functions. ``studies(campaign)`` says what to plan and imports
nothing heavy; ``run(context, plan, cell, inputs)`` computes one outcome and is a pure function of
its arguments. A stage knows neither Optuna nor SQL. A stage whose trials take long is given a
:class:`Journal` too, so that it can be watched and, when its worker is lost, gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kdopt.names import study_name
from kdopt.outcome import Outcome
from kdopt.plan import Campaign, Cell, Param, StageName, StudyPlan

if TYPE_CHECKING:
    from kdopt.stages.context import Context

Inputs = Mapping[int, Outcome]
"""The pre-training outcome of each participant of the study's partition."""


class Journal(Protocol):
    """What a long trial tells while it runs. It must compute the same whatever it is answered."""

    def saved(self) -> bytes | None:
        """The last state that this trial saved, in this worker or in one that was lost."""
        ...

    def save(self, step: int, state: bytes) -> None:
        """Keep a state to go on from; it replaces the one before."""
        ...

    def report(self, values: Mapping[int, float]) -> None:
        """Show the objective at these steps; a step told twice shows the newer value."""
        ...


Run = Callable[["Context", StudyPlan, Cell, Inputs], Outcome]
LongRun = Callable[["Context", StudyPlan, Cell, Inputs, Journal], Outcome]


@dataclass(frozen=True)
class Stage:
    """One kind of work: one of ``run`` and ``long_run`` is given.

    Attributes:
        studies: The studies of a campaign, in planning order.
        run: One cell to one outcome.
        long_run: The same with a journal, for trials that take minutes or hours. They are started
            first, so that no worker is left alone with one at the end.
    """

    studies: Callable[[Campaign], Sequence[StudyPlan]]
    run: Run | None = None
    long_run: LongRun | None = None

    def compute(
        self, context: Context, plan: StudyPlan, cell: Cell, inputs: Inputs, journal: Journal
    ) -> Outcome:
        """Run one cell."""
        if self.long_run is not None:
            return self.long_run(context, plan, cell, inputs, journal)
        assert self.run is not None
        return self.run(context, plan, cell, inputs)


def partition_studies(
    campaign: Campaign,
    stage: StageName,
    params: Mapping[str, Param],
    cells: tuple[Cell, ...],
    *,
    needs_all: bool,
) -> list[StudyPlan]:
    """One study per partition, all alike; none if the campaign lacks the stage.

    Args:
        campaign: Its stages and partitions.
        stage: The stage.
        params: The parameters of every study.
        cells: The cells of every study.
        needs_all: Whether all participants must be pre-trained first.
    """
    if stage not in campaign.stages:
        return []
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, stage),
            campaign=campaign.name,
            partition=partition.name,
            stage=stage,
            objective="validation accuracy",
            params=params,
            cells=cells,
            needs=tuple(range(campaign.participants)) if needs_all else (),
        )
        for partition in campaign.partitions
    ]


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
