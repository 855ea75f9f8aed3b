"""How the trials of a stage are run.

A stage has two halves. ``kdopt.campaign.stages`` plans its studies and imports nothing heavy; here
``run_STAGE(context, plan, params, inputs)`` computes one outcome and is a pure function of its
arguments. It knows neither Optuna nor SQL. A stage whose trials take long is given a
:class:`Journal` too, so that you can watch it and, when its worker is lost, another one resumes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.trials.context import Context

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


Run = Callable[[Context, StudyPlan, Params, Inputs], Outcome]
LongRun = Callable[[Context, StudyPlan, Params, Inputs, Journal], Outcome]


@dataclass(frozen=True)
class Runner:
    """What runs a stage's trials: one of ``run`` and ``long_run`` is given.

    Attributes:
        run: From the parameters of a trial to its outcome.
        long_run: The same with a journal, for trials that take minutes or hours. They are started
            first, so that no worker is left alone with one at the end.
    """

    run: Run | None = None
    long_run: LongRun | None = None

    def compute(
        self, context: Context, plan: StudyPlan, params: Params, inputs: Inputs, journal: Journal
    ) -> Outcome:
        """Run one cell."""
        if self.long_run is not None:
            return self.long_run(context, plan, params, inputs, journal)
        assert self.run is not None
        return self.run(context, plan, params, inputs)
