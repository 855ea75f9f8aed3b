"""Trial rows as tidy pandas frames, in an order that does not depend on who ran what when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from kdopt.outcome import Outcome, TrialRow
from kdopt.plan import ParamValue

TRIAL_COLUMNS = (
    "partition",
    "teacher",
    "student",
    "temperature",
    "alpha",
    "replicate",
    "validation_gain",
    "test_gain",
    "learning",
    "forgetting",
    "validation_accuracy",
    "test_accuracy",
    "epochs",
    "best_epoch",
    "seconds",
    "device",
    "precision",
    "number",
)
PARTICIPANT_COLUMNS = (
    "partition",
    "participant",
    "validation_accuracy",
    "test_accuracy",
    "epochs",
    "best_epoch",
    "seconds",
    "device",
    "precision",
)


def trials_frame(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """One line per COMPLETE tune trial.

    Gains, learning and forgetting are pp; accuracies are shares in [0, 1]; an absent number is
    NaN. Lines are sorted by partition, pair, cell and trial number.
    """
    lines = [_trial_line(row, row.outcome) for row in rows if row.outcome and _is_done(row, "tune")]
    order = ["partition", "teacher", "student", "temperature", "alpha", "replicate", "number"]
    return _frame(lines, TRIAL_COLUMNS, order)


def participants_frame(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """One line per pre-trained participant; accuracies are shares in [0, 1]."""
    lines = [
        {
            "partition": row.partition,
            "participant": int(row.cell["participant"]),
            **_common(row.outcome),
        }
        for row in rows
        if row.outcome and _is_done(row, "pretrain")
    ]
    return _frame(lines, PARTICIPANT_COLUMNS, ["partition", "participant"])


def number_or_nan(value: ParamValue | None) -> float:
    """A parameter or measure as a float; NaN where there is none."""
    return math.nan if value is None else float(value)


def _is_done(row: TrialRow, stage: str) -> bool:
    return row.stage == stage and row.state == "COMPLETE"


def _trial_line(row: TrialRow, outcome: Outcome) -> dict[str, Any]:
    return {
        "partition": row.partition,
        "teacher": row.teacher,
        "student": row.student,
        "temperature": number_or_nan(row.cell.get("temperature")),
        "alpha": number_or_nan(row.cell.get("alpha")),
        "replicate": int(row.cell.get("replicate", 0)),
        "validation_gain": number_or_nan(outcome.validation_gain),
        "test_gain": number_or_nan(outcome.test_gain),
        "learning": number_or_nan(outcome.learning),
        "forgetting": number_or_nan(outcome.forgetting),
        "number": row.number,
        **_common(outcome),
    }


def _common(outcome: Outcome) -> dict[str, Any]:
    return {
        "validation_accuracy": outcome.validation.accuracy,
        "test_accuracy": outcome.test.accuracy,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": outcome.seconds,
        "device": outcome.device,
        "precision": outcome.precision,
    }


def _frame(
    lines: Iterable[Mapping[str, Any]], columns: Sequence[str], order: list[str]
) -> pd.DataFrame:
    frame = pd.DataFrame(list(lines), columns=list(columns))
    return frame.sort_values(order, kind="stable", ignore_index=True)
