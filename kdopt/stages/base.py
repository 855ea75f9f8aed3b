"""What every stage is: which studies it needs planned, and how one of its cells is run.

A stage is one module with two functions. ``studies(campaign)`` says what to plan and imports
nothing heavy; ``run(context, plan, cell, inputs)`` computes one outcome and is a pure function of
its arguments. A stage knows neither Optuna nor SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdopt.plan import Campaign, Cell, Outcome, StudyPlan

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
