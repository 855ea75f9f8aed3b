"""Every trial with all that it recorded, as one tidy table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdopt.outcome import Outcome, TrialRow

TRIAL_COLUMNS = ("study", "partition", "stage", "teacher", "student", "number", "state")
SCORES = ("validation", "test", "validation_before", "test_before")
SCORE_PARTS = ("accuracy", "per_class", "loss")
OUTCOME_COLUMNS = (
    "value", "validation_gain", "test_gain", "learning", "forgetting", "epochs", "best_epoch",
    "line_position", "last_validation_accuracy", "last_test_accuracy", "seconds", "device",
    "precision", "checkpoint", "round_bytes", "start_bytes",
)  # fmt: skip
SET_OF = {
    "value": "validation",
    "last_validation_accuracy": "validation",
    "last_test_accuracy": "test",
}
"""Numbers that nobody knows where a teacher given by its logits was not scored on a set."""


def tabulate_trials(rows: Sequence[TrialRow]) -> dict[str, list[Any]]:
    """Every trial in every state with all that it recorded: one list per column.

    The tidy table of a campaign, sorted by study name and trial number: what a trial is about,
    its parameters by name, its outcome, and the reason of a failed one. What does not apply is
    ``None``. Gains, learning and forgetting are pp, accuracies are shares in [0, 1]; a score has
    three columns such as ``test_before_accuracy``, ``test_before_loss`` and
    ``test_before_per_class`` (a list in class order). ``started_from`` is the participant that a
    stage chose itself, the two ``rounds_...`` columns are lists with an entry per round, and there
    is a column ``version_...`` per package.
    """
    ordered = sorted(rows, key=lambda row: (row.study, row.number))
    outcomes = [row.outcome for row in ordered]
    columns: dict[str, list[Any]] = {
        key: [getattr(row, key) for row in ordered] for key in TRIAL_COLUMNS
    }
    if any(row.algorithm for row in ordered):
        columns["algorithm"] = [row.algorithm for row in ordered]
    for key in sorted({key for row in ordered for key in row.params}):
        # The student of a control is a parameter, that of a pair belongs to its study.
        known = columns.get(key, [None] * len(ordered))
        columns[key] = [
            row.params.get(key) if value is None else value
            for row, value in zip(ordered, known, strict=True)
        ]
    for key in OUTCOME_COLUMNS:
        columns[key] = [_read_known(o, key) if o else None for o in outcomes]
    columns["started_from"] = [o.participant if o else None for o in outcomes]
    for key in SCORES:
        scores = [getattr(o, key) if o else None for o in outcomes]
        for part in SCORE_PARTS:
            columns[f"{key}_{part}"] = [
                getattr(s, part) if s and s.images != 0 else None for s in scores
            ]
    for key in ("validation_accuracy", "test_accuracy"):
        columns[f"rounds_{key}"] = [
            tuple(getattr(score, key) for score in o.rounds) if o and o.rounds else None
            for o in outcomes
        ]
    for package in sorted({package for o in outcomes if o for package in o.versions}):
        columns[f"version_{package}"] = [o.versions.get(package) if o else None for o in outcomes]
    columns["error"] = [row.error for row in ordered]
    return columns


def _read_known(outcome: Outcome, key: str) -> Any:
    scores = getattr(outcome, SET_OF[key]) if key in SET_OF else None
    return None if scores and scores.images == 0 else getattr(outcome, key)
