"""What runs the trials of each stage.

``kdopt.campaign.stages`` plans the studies of a stage; here ``run_STAGE(context, plan, params,
inputs)`` computes one outcome and is a pure function of its arguments. It knows neither Optuna nor
SQL. A stage whose trials take long gets a :class:`Journal` too, so that you can watch it and
another worker can resume it when its worker is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kdopt.campaign.names import StageName
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.train.fit import DivergedError
from kdopt.trials.combine import run_combine
from kdopt.trials.compare import run_compare
from kdopt.trials.context import Context
from kdopt.trials.control import run_control
from kdopt.trials.federate import run_federate
from kdopt.trials.interfaces import Inputs, Journal
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune, run_tune_together

logger = logging.getLogger(__name__)

RunTrial = Callable[[Context, StudyPlan, Params, Inputs], Outcome]
RunTogether = Callable[
    [Context, StudyPlan, Sequence[Params], Inputs], list[Outcome | DivergedError]
]
RunLongTrial = Callable[[Context, StudyPlan, Params, Inputs, Journal], Outcome]


@dataclass(frozen=True)
class Runner:
    """What runs a stage's trials: one of ``run`` and ``long_run`` is given.

    Attributes:
        run: From the parameters of a trial to its outcome.
        long_run: The same with a journal, for trials that take minutes or hours. They start first,
            so that no worker is left alone with one at the end.
        run_together: What ``run`` does for several trials at once, where it can.
    """

    run: RunTrial | None = None
    long_run: RunLongTrial | None = None
    run_together: RunTogether | None = None

    def compute(
        self, context: Context, plan: StudyPlan, params: Params, inputs: Inputs, journal: Journal
    ) -> Outcome:
        """Run one trial."""
        if self.long_run is not None:
            return self.long_run(context, plan, params, inputs, journal)
        assert self.run is not None
        return self.run(context, plan, params, inputs)

    def compute_together(
        self, context: Context, plan: StudyPlan, cells: Sequence[Params], inputs: Inputs
    ) -> list[Outcome | DivergedError]:
        """Run several trials at once, or in turn where memory is too small."""
        assert self.run_together is not None
        try:
            return self.run_together(context, plan, cells, inputs)
        except torch.OutOfMemoryError:
            logger.warning(
                "%s: the device has no memory for %d trials at once; they run one by one",
                plan.name,
                len(cells),
            )
            context.run_one_by_one()
            return [self.run_together(context, plan, [params], inputs)[0] for params in cells]


RUNNERS: dict[StageName, Runner] = {
    "pretrain": Runner(run_pretrain),
    "control": Runner(run_control),
    "tune": Runner(run_tune, run_together=run_tune_together),
    "compare": Runner(run_compare),
    "combine": Runner(run_combine),
    "federate": Runner(long_run=run_federate),
}
