"""Trial rows of a campaign whose gain surfaces are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from kdopt.names import study_name
from kdopt.plan import (
    Campaign,
    DataSettings,
    Outcome,
    PartitionSettings,
    Scores,
    TrainSettings,
    TrialRow,
    TuneSettings,
)

TEMPERATURES = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
ALPHAS = (0.1, 0.25, 0.5, 0.75, 0.9)
Gain = Callable[[float, float, float], float]
"""(accuracy gap in pp, temperature, alpha) -> gain in pp."""


def make_campaign(**changes: Any) -> Campaign:
    """A small grid campaign; ``tune_...`` changes go to its tune settings."""
    tune = TuneSettings((0.5, 1.0, 2.0), (0.1, 0.5, 0.9), "grid", 9, 1.0, 0.5, True)
    for key in [key for key in changes if key.startswith("tune_")]:
        tune = replace(tune, **{key.removeprefix("tune_"): changes.pop(key)})
    settings: dict[str, Any] = {
        "name": "toy",
        "seed": 7,
        "participants": 3,
        "replicates": 1,
        "precision": "fp32",
        "select_on": "validation",
        "model": "tiny",
        "data": DataSettings("digits"),
        "partitions": (PartitionSettings("uniform"),),
        "pretrain": TrainSettings(5, 2, 1e-3, 1e-4, 32),
        "distill": TrainSettings(5, 2, 1e-3, 1e-4, 32),
        "tune": tune,
    }
    return Campaign(**settings | changes)


def accuracy_of(participant: int) -> float:
    """Test accuracy of a participant: 0.40, 0.43, 0.46, ..."""
    return 0.40 + 0.03 * participant


def validation_surface(gap: float, temperature: float, alpha: float) -> float:
    """A hill whose top moves to greater T and alpha for stronger teachers; sunk for weak ones."""
    best_alpha = min(0.9, max(0.1, 0.5 + gap / 40))
    best_log = gap / 18
    height = 2.0 + gap / 5
    return height - 1.5 * (math.log(temperature) - best_log) ** 2 - 6 * (alpha - best_alpha) ** 2


def test_surface(gap: float, temperature: float, alpha: float) -> float:
    """Another hill than validation's: its top lies at greater alpha."""
    return validation_surface(gap, temperature, alpha) - 0.3 + 1.2 * (alpha - 0.5)


test_surface.__test__ = False  # type: ignore[attr-defined]


def outcome(validation_gain: float, test_gain: float, before: float = 0.5) -> Outcome:
    """The outcome of a trial with these gains (pp) of a student of accuracy ``before``."""

    def scores(gain: float) -> Scores:
        accuracy = before + gain / 100
        return Scores(accuracy, (accuracy, None), 1.0)

    return Outcome(
        value=validation_gain,
        validation=scores(validation_gain),
        test=scores(test_gain),
        epochs=5,
        best_epoch=3,
        last_validation_accuracy=before,
        last_test_accuracy=before,
        seconds=1.5,
        device="cpu",
        precision="fp32",
        versions={"kdopt": "0.1.0", "torch": "2.6"},
        validation_before=scores(0),
        test_before=scores(0),
        validation_gain=validation_gain,
        test_gain=test_gain,
        learning=max(0.0, test_gain),
        forgetting=max(0.0, -test_gain),
    )


def tune_row(
    campaign: Campaign,
    pair: tuple[int, int],
    cell: dict[str, float],
    number: int = 0,
    result: Outcome | None = None,
    error: str | None = None,
    partition: str = "uniform",
) -> TrialRow:
    """One tune row: complete with a result, failed with an error, else waiting."""
    state: Any = "COMPLETE" if result else "FAIL" if error is not None else "WAITING"
    name = study_name(campaign.name, partition, "tune", *pair)
    return TrialRow(name, partition, "tune", *pair, number, state, cell, result, error)


def pretrain_rows(campaign: Campaign) -> list[TrialRow]:
    """Every participant of every partition, complete."""
    return [
        TrialRow(
            study_name(campaign.name, part.name, "pretrain"),
            part.name,
            "pretrain",
            None,
            None,
            participant,
            "COMPLETE",
            {"participant": participant},
            replace(
                outcome(0, 0, accuracy_of(participant)),
                validation_gain=None,
                test_gain=None,
                learning=None,
                forgetting=None,
                validation_before=None,
                test_before=None,
            ),
        )
        for part in campaign.partitions
        for participant in range(campaign.participants)
    ]


def make_rows(
    campaign: Campaign, validation: Gain = validation_surface, test: Gain = test_surface
) -> list[TrialRow]:
    """Every row of a complete grid campaign; later partitions gain half a pp less."""
    rows = pretrain_rows(campaign)
    for lag, part in enumerate(campaign.partitions):
        for teacher, student in campaign.pairs:
            gap = 100 * (accuracy_of(teacher) - accuracy_of(student))
            for number, (t, a, r) in enumerate(cells(campaign)):
                result = outcome(
                    validation(gap, t, a) - 0.5 * lag,
                    test(gap, t, a) - 0.5 * lag,
                    accuracy_of(student),
                )
                cell = {"temperature": t, "alpha": a, "replicate": r}
                rows.append(
                    tune_row(
                        campaign, (teacher, student), cell, number, result, partition=part.name
                    )
                )
    return rows


def cells(campaign: Campaign) -> Sequence[tuple[float, float, int]]:
    """The grid of a campaign with its replicates."""
    tune = campaign.tune
    return list(product(tune.temperatures, tune.alphas, range(campaign.replicates)))


def large_campaign() -> Campaign:
    """Two partitions, ten participants, the paper's 55 cells."""
    return make_campaign(
        name="synthetic",
        participants=10,
        partitions=(PartitionSettings("uniform"), PartitionSettings("label_dirichlet")),
        tune_temperatures=TEMPERATURES,
        tune_alphas=ALPHAS,
    )
