"""What a step towards the teacher's weights gives where initial weights are shared.

``scripts/levers.py`` prints it; ``scripts/lever_trials.py`` measured it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from scripts.lever_tables import (
    CHOICES,
    LINE,
    Choices,
    Found,
    Ways,
    compute_gains,
    print_differences,
    print_gains,
    read_found,
)

TEACHER = Path(__file__).with_name("lever_teacher.json")
"""What was found: students around trained ones, up to the teacher."""

OF_TEACHER = """
## A step towards the teacher from shared initial weights

The same, of {pairs} whose participants all began with the
same random weights (`studies/fashion-shared.toml` and `studies/cifar10-shared.toml`, 1,200
images for four of them; the best cell is of 8 on Fashion-MNIST and of 6 on CIFAR-10).

- *steps*: besides the line, `w0 + s (w1 - w0) + r (wT - w0)` with s of 0, 0.5 and 1, r of 0.1,
  0.25, 0.5 and 0.75
- *the teacher*: its own weights, s of 0 and r of 1, are a candidate as well
- *all steps*: r of 1 too, so the teacher is among them
- *measured*: batch norm's statistics of all but the teacher itself are the mean over the student's
  own images; the teacher counts with its own and with these
- *no trial*: s of 0 only, between the untouched student and the teacher
"""
OF_NOT_AHEAD = "\nThe same differences, of {pairs} whose teacher is not ahead on validation:\n"

STEPS = tuple(f"{s} {r}" for s in ("1", "0.5", "0") for r in ("0.1", "0.25", "0.5", "0.75"))
ALL_STEPS = (*STEPS, *(f"{s} 1" for s in ("1", "0.5")))
ITSELF = ("0 1",)
_LINE = [("interpolated", LINE)]
_MEASURED = [("measured", LINE), ("teacher measured", ("0 0",))]
_ITSELF = [("teacher", ITSELF), ("teacher measured", ITSELF)]
TEACHER_WAYS: Ways = {
    "line": _LINE,
    "line and steps": [*_LINE, ("teacher", STEPS)],
    "line or the teacher": [*_LINE, ("teacher", ITSELF)],
    "line and all steps": [*_LINE, ("teacher", (*ALL_STEPS, *ITSELF))],
    "line, measured": _MEASURED,
    "line and steps, measured": [*_MEASURED, ("teacher measured", STEPS)],
    "line or the teacher, measured": [*_MEASURED, *_ITSELF],
    "line and all steps, measured": [*_MEASURED, ("teacher measured", ALL_STEPS), *_ITSELF],
}
TEACHER_DIFFERENCES = (
    ("line and steps", "line"),
    ("line or the teacher", "line"),
    ("line and all steps", "line or the teacher"),
    ("line and steps, measured", "line, measured"),
    ("line or the teacher, measured", "line, measured"),
    ("line and all steps, measured", "line or the teacher, measured"),
)
TEACHER_CHOICES: Choices = {
    "no trial": ("start",),
    **{name: ("start", *students) for name, students in CHOICES.items()},
}


def print_teacher(file: Path = TEACHER) -> None:
    """The same, towards the teacher from shared initial weights; then where it is not ahead."""
    found = read_found(file)
    print_gains(found, OF_TEACHER, TEACHER_WAYS, TEACHER_DIFFERENCES, TEACHER_CHOICES)
    behind = [r["start"]["teacher"]["0 1"][0] <= r["untouched"][0] for r in found.records]
    others = Found(
        found.pairs[behind].reset_index(drop=True),
        found.data[behind],
        list(itertools.compress(found.records, behind)),
    )
    print(OF_NOT_AHEAD.format(pairs=others.count()))
    gains = compute_gains(others, TEACHER_WAYS, TEACHER_CHOICES)
    print_differences(others, gains, TEACHER_DIFFERENCES, TEACHER_CHOICES)
