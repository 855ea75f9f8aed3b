"""Trial rows of the stages ``combine`` and ``federate`` that follow simple rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS, FEDAVG
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import Campaign, TransferSettings
from kdopt.campaign.stage_settings import CombineSettings, FederateSettings
from kdopt.campaign.stages import plan_combine, plan_federate
from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import Outcome, RoundScore, Scores, TrialRow
from tests.analysis.synthetic import FIVE, make_campaign, outcome, pretrain_rows

ROUNDS = 10
ALL_ALGORITHMS = FederateSettings(
    rounds=ROUNDS,
    targets=(0.5, 0.75, 0.95),
    relative_targets=(0.9, 1.0),
    algorithms=tuple(ALGORITHM_FACTS),
    own_starts=("pretrained", "random"),
)


def many_campaign(**changes: Any) -> Campaign:
    """Both stages on all partitions; targets that both, one and none of the curves reach."""
    settings: dict[str, Any] = {
        "participants": 4,
        "partitions": tuple(PartitionSettings(name) for name in FIVE),
        "stages": ("combine", "federate"),
        "transfer": TransferSettings(0, 50, 0),
        "combine": CombineSettings(),
        "federate": FederateSettings(
            rounds=ROUNDS, targets=(0.5, 0.75, 0.95), relative_targets=(0.9, 1.0)
        ),
    }
    return make_campaign(**settings | changes)


def many_rows(campaign: Campaign) -> list[TrialRow]:
    """Every row, complete, of the stages that the campaign has."""
    rows = pretrain_rows(campaign)
    for stage, plans, result in (
        ("combine", plan_combine(campaign), combine_outcome),
        ("federate", plan_federate(campaign), federate_outcome),
    ):
        if stage in campaign.stages:
            rows += [
                row_of(plan, number, result(campaign, plan.partition, cell))
                for plan in plans
                for number, cell in enumerate(plan.cells)
            ]
    return rows


def row_of(plan: StudyPlan, number: int, result: Outcome | None) -> TrialRow:
    """One row of a planned cell: complete with a result, else waiting."""
    state: Any = "COMPLETE" if result else "WAITING"
    cell = dict(plan.cells[number])
    method = None if plan.algorithm in (None, FEDAVG) else plan.algorithm
    where = (plan.name, plan.partition, plan.stage, None, None, number)
    return TrialRow(*where, state, cell, result, method=method)


def combine_accuracy(campaign: Campaign, partition: str, cell: Any) -> float:
    """Weights help by 2 pp on the two label-skewed partitions and harm by 1 pp elsewhere."""
    start = {"worst": 0.5, "best": 0.7, "untrained": 0.6}[cell["start"]]
    helps = partition in ("label_dirichlet", "label_chunks")
    weight = (0.02 if helps else -0.01) if cell["weighting"] != "equal" else 0.0
    return start + weight + 0.004 * cell["replicate"]


def combine_outcome(campaign: Campaign, partition: str, cell: Any) -> Outcome:
    """A trial of the stage ``combine``."""
    accuracy = combine_accuracy(campaign, partition, cell)
    participant = {"worst": 0, "best": campaign.participants - 1}.get(str(cell["start"]))
    made = outcome(100 * (accuracy - 0.4), 100 * (accuracy - 0.4), 0.4)
    if participant is None:
        made = replace(made, test_before=None, validation_before=None, test_gain=None)
    return replace(made, value=accuracy, participant=participant)


def federate_accuracy(initial_model: str, number: int, replicate: int) -> float:
    """Random weights reach 0.72 or so, consolidated ones 0.82."""
    begin, end = (0.1, 0.72) if initial_model == "random" else (0.55, 0.82)
    return begin + (end - begin) * (number / ROUNDS) ** 0.5 + 0.01 * replicate


def federate_outcome(campaign: Campaign, partition: str, cell: Any) -> Outcome:
    """A trial of the stage ``federate``."""
    initial, replicate = str(cell["initial_model"]), int(cell["replicate"])
    accuracies = [
        federate_accuracy(initial, number, replicate)
        for number in range(campaign.federate.rounds + 1)
    ]
    last = Scores(accuracies[-1], (accuracies[-1], None), 1.0)
    return replace(
        outcome(0.0, 0.0, accuracies[0]),
        value=accuracies[-1],
        validation=last,
        test=last,
        rounds=tuple(RoundScore(a + 0.001, a) for a in accuracies),
        round_bytes=2_000_000,
        start_bytes=3_000_000 if initial == "consolidated" else 0,
    )
