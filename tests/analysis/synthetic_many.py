"""Trial rows of the stages with many teachers, made from accuracies that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kdopt.analysis.combining import TABLE_II
from kdopt.campaign.names import study_name
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import Campaign, TransferSettings
from kdopt.campaign.stages import plan_combine
from kdopt.outcome import Outcome, RoundScore, Scores, TrialRow
from tests.analysis.synthetic import FIVE, accuracy_of, make_campaign, outcome

ROUND_BYTES, START_BYTES = 8_000_000, 12_000_000
Accuracy = Callable[[str, str, str, str, int], float]
"""(partition, transfer set, start, weighting, replicate) -> test accuracy in percent."""
Curve = Callable[[str, str, int], Sequence[float]]
"""(partition, initial model, replicate) -> test accuracies in percent, from round 0 on."""


def many_campaign(**changes: Any) -> Campaign:
    """A campaign of the paper's section V; ``combine_...`` and ``federate_...`` change settings."""
    settings: dict[str, Any] = {
        "participants": 4,
        "partitions": tuple(PartitionSettings(name) for name in FIVE),
        "stages": ("combine", "federate"),
        "transfer": TransferSettings(0, 500, 0),
    }
    stages: dict[str, dict[str, Any]] = {"combine": {}, "federate": {"rounds": 10}}
    for key in [key for key in changes if key.startswith(("combine_", "federate_"))]:
        stage, name = key.split("_", 1)
        stages[stage][name] = changes.pop(key)
    campaign = make_campaign(**settings | changes)
    return replace(
        campaign,
        combine=replace(campaign.combine, **stages["combine"]),
        federate=replace(campaign.federate, **stages["federate"]),
    )


def paper_accuracy(
    partition: str, transfer_set: str, start: str, weighting: str, replicate: int
) -> float:
    """Table II, its weighted column for every adaptive weighting."""
    found = TABLE_II[partition, transfer_set, start]
    return found.unweighted if weighting == "equal" else found.weighted


def combine_row(
    campaign: Campaign,
    partition: str,
    way: tuple[str, str, str],
    accuracy: float | None,
    replicate: int = 0,
    number: int = 0,
) -> TrialRow:
    """One row; the way is (transfer set, start, weighting) and the accuracy percent."""
    cell = dict(zip(("transfer_set", "start", "weighting"), way, strict=True))
    result = None
    if accuracy is not None:
        student = {"worst": 0, "best": campaign.participants - 1}.get(cell["start"])
        before = 0.1 if student is None else accuracy_of(student)
        gain = accuracy - 100 * before
        result = replace(outcome(gain + 0.5, gain, before), participant=student)
        if student is None:
            result = replace(result, test_gain=None, validation_gain=None, test_before=None)
    return _row(campaign, partition, "combine", {**cell, "replicate": replicate}, number, result)


def combine_rows(campaign: Campaign, accuracy: Accuracy = paper_accuracy) -> list[TrialRow]:
    """Every row of the stage, complete."""
    rows = []
    for plan in plan_combine(campaign):
        for number, cell in enumerate(plan.cells):
            way = (str(cell["transfer_set"]), str(cell["start"]), str(cell["weighting"]))
            replicate = int(cell["replicate"])
            value = accuracy(plan.partition, *way, replicate)
            rows.append(combine_row(campaign, plan.partition, way, value, replicate, number))
    return rows


def federate_row(
    campaign: Campaign,
    partition: str,
    initial: str,
    curve: Sequence[float],
    replicate: int = 0,
    per_class: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    algorithm: str | None = None,
) -> TrialRow:
    """One row from its test accuracies (percent) by round.

    Args:
        campaign: Its campaign.
        partition: Its partition.
        initial: ``random`` or ``consolidated``.
        curve: From round 0 on; validation is half a point above.
        replicate: Its replicate.
        per_class: Class accuracies (shares) before the first and after the last round; without,
            five classes around the accuracy.
        algorithm: Its algorithm, where it is not federated averaging.
    """
    rounds = tuple(RoundScore((value + 0.5) / 100, value / 100) for value in curve)
    first, last = per_class or (_around(curve[0]), _around(curve[-1]))
    number = 2 * replicate + (initial == "consolidated")
    result = replace(
        outcome(0, 0),
        test=Scores(curve[-1] / 100, tuple(last), 1.0),
        test_before=Scores(curve[0] / 100, tuple(first), 1.0),
        rounds=rounds,
        round_bytes=ROUND_BYTES,
        start_bytes=START_BYTES if initial == "consolidated" else 0,
    )
    cell = {"initial_model": initial, "replicate": replicate}
    row = _row(campaign, partition, "federate", cell, number, result)
    return replace(
        row,
        study=study_name(campaign.name, partition, "federate", method=algorithm),
        method=algorithm,
    )


def federate_rows(campaign: Campaign, curve: Curve) -> list[TrialRow]:
    """Every row of the stage, complete."""
    return [
        federate_row(campaign, part.name, initial, curve(part.name, initial, replicate), replicate)
        for part in campaign.partitions
        for replicate in range(campaign.replicates)
        for initial in campaign.federate.initial_models
    ]


def _around(accuracy: float) -> tuple[float, ...]:
    return tuple(accuracy / 100 + shift for shift in (-0.02, -0.01, 0.0, 0.01, 0.02))


def _row(
    campaign: Campaign,
    partition: str,
    stage: Any,
    cell: dict[str, Any],
    number: int,
    result: Outcome | None,
) -> TrialRow:
    state: Any = "COMPLETE" if result else "WAITING"
    name = study_name(campaign.name, partition, stage)
    return TrialRow(name, partition, stage, None, None, number, state, cell, result)
