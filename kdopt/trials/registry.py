"""What runs the trials of each stage."""

from __future__ import annotations

from kdopt.campaign.names import StageName
from kdopt.trials.base import Runner
from kdopt.trials.combine import run_combine
from kdopt.trials.compare import run_compare
from kdopt.trials.federate import run_federate
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune

RUNNERS: dict[StageName, Runner] = {
    "pretrain": Runner(run_pretrain),
    "tune": Runner(run_tune),
    "compare": Runner(run_compare),
    "combine": Runner(run_combine),
    "federate": Runner(long_run=run_federate),
}
