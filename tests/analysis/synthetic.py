"""Trial rows of a campaign whose gain surfaces are known in closed form."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.names import study_name
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS, Campaign, TrainSettings, TransferSettings
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS, TuneSettings
from kdopt.outcome import Outcome, Scores, TrialRow

TEMPERATURES = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
ALPHAS = (0.1, 0.25, 0.5, 0.75, 0.9)
Gain = Callable[[float, float, float], float]
"""(accuracy gap in pp, temperature, alpha) -> gain in pp."""


def make_campaign(**changes: Any) -> Campaign:
    """A small grid campaign; ``tune_...`` changes go to its tune settings."""
    tune = TuneSettings((0.5, 1.0, 2.0), (0.1, 0.5, 0.9), "grid", 9)
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
        "stages": ("tune",),
        "transfer": NO_PUBLIC_SETS,
        "control": False,  # its own tests have it
        "pretrain": TrainSettings(
            epochs=5, patience=2, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
        ),
        "distill": TrainSettings(
            epochs=5, patience=2, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
        ),
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


IMAGES = 2000


@cache
def first_right(accuracy: float) -> str:
    """The record of a model that is right on the first images: the better one knows them all."""
    right = np.arange(IMAGES) < round(accuracy * IMAGES)
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def outcome(validation_gain: float, test_gain: float, before: float = 0.5) -> Outcome:
    """The outcome of a trial with these gains (pp) of a student of accuracy ``before``."""

    def scores(gain: float) -> Scores:
        accuracy = before + gain / 100
        return Scores(accuracy, (accuracy, None), 1.0, IMAGES, first_right(accuracy))

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


FIVE = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
MethodGain = Callable[[str, str, str, float], float]
"""(partition, transfer set, method, accuracy gap in pp) -> gain in pp."""


def paper_gain(partition: str, transfer_set: str, method: str, gap: float) -> float:
    """Gains that agree with the claims C1 to C4 of the paper."""
    size = {"public_unlabeled_small": 0.6, "public_labeled": 0.6}.get(transfer_set, 1.0)
    if method == "dml":
        return -8.0 * size if "unlabeled" in transfer_set else 1.5 * size
    lag = {"label_dirichlet": 1.0, "specialized": 4.0}.get(partition, 0.0)
    return size * gap / 3 - (lag if method == "dp_kd" else 0.0)


def compare_campaign(**changes: Any) -> Campaign:
    """A campaign with both stages, five partitions and every method on every transfer set."""
    settings: dict[str, Any] = {
        "participants": 4,
        "partitions": tuple(PartitionSettings(name) for name in FIVE),
        "stages": ("tune", "compare"),
        "transfer": TransferSettings(50, 500, 50),
    }
    return make_campaign(**settings | changes)


def compare_row(
    campaign: Campaign,
    pair: tuple[int, int],
    cell: tuple[str, str, int],
    number: int,
    result: Outcome | None,
    partition: str = "uniform",
) -> TrialRow:
    """One row of the comparison; the cell is (method, transfer set, replicate)."""
    values = dict(zip(("method", "transfer_set", "replicate"), cell, strict=True))
    state: Any = "COMPLETE" if result else "WAITING"
    name = study_name(campaign.name, partition, "compare", *pair)
    return TrialRow(name, partition, "compare", *pair, number, state, values, result)


def compare_rows(
    campaign: Campaign, gain: MethodGain = paper_gain, jitter: float = 0.2
) -> list[TrialRow]:
    """Every row of the comparison; ``jitter`` (pp) tells pairs and replicates apart."""
    rows = []
    for part in campaign.partitions:
        for teacher, student in campaign.pairs:
            gap = 100 * (accuracy_of(teacher) - accuracy_of(student))
            for number, (transfer_set, method, replicate) in enumerate(
                product(TRANSFER_SETS, METHODS, range(campaign.replicates))
            ):
                exact = gain(part.name, transfer_set, method, gap)
                shift = math.sin(3 * teacher + 5 * student + 7 * number)
                value = exact + jitter * shift
                result = outcome(value + 0.3, value, accuracy_of(student))
                result = replace(
                    result, learning=max(0.0, value) + 1, forgetting=max(0.0, -value) + 1
                )
                cell = (method, transfer_set, replicate)
                row = compare_row(campaign, (teacher, student), cell, number, result, part.name)
                rows.append(row)
    return rows


def large_campaign() -> Campaign:
    """Two partitions, ten participants, the paper's 55 cells."""
    return make_campaign(
        name="synthetic",
        participants=10,
        partitions=(PartitionSettings("uniform"), PartitionSettings("label_dirichlet")),
        tune_temperatures=TEMPERATURES,
        tune_alphas=ALPHAS,
    )
