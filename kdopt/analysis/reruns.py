"""A trial that ran again beside its record: what differs, and whether the machine does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from kdopt.analysis.paired_test import unpack_bits
from kdopt.campaign.names import StageName
from kdopt.outcome import WHERE_IT_RAN, Outcome, TrialRow

Unit = Literal["pp", "nats", "epochs", "images", "other"]
UNITS: tuple[Unit, ...] = ("pp", "nats", "epochs", "images", "other")


class Deviation(NamedTuple):
    """A value that is not the one on record.

    Attributes:
        key: What it is, such as ``test.accuracy``.
        recorded: The value on record.
        found: The value now; ``None`` where there is none.
        unit: What its size is counted in: percentage points, nats, epochs, or images of which one
            run was right and the other was wrong. What is no measure counts 1 in ``other``.
        size: How much it differs, > 0.
    """

    key: str
    recorded: object
    found: object
    unit: Unit
    size: float


class CheckedTrial(NamedTuple):
    """A trial that ran again.

    Attributes:
        row: Its record.
        deviations: What differs; empty when every recorded value is the same.
        machine: How machine or versions differ from those of the record; empty when they do not.
        error: Why it has no result now; empty when it has one.
    """

    row: TrialRow
    deviations: tuple[Deviation, ...]
    machine: str
    error: str = ""

    @property
    def equal(self) -> bool:
        """Whether every recorded value came out again."""
        return not self.deviations and not self.error


class StageCheck(NamedTuple):
    """The trials of one stage that ran again.

    Attributes:
        stage: The stage.
        checked: How many.
        equal: Of these, how many gave every recorded value again.
        largest: The largest difference by unit, 0 where nothing differs.
    """

    stage: StageName
    checked: int
    equal: int
    largest: Mapping[Unit, float]

    @property
    def differing(self) -> int:
        """How many gave another value, or none."""
        return self.checked - self.equal


def compare_outcomes(recorded: Outcome, found: Outcome) -> tuple[Deviation, ...]:
    """Every recorded value of a trial beside that of another run of it.

    Times and versions are left out, and so is what the record lacks, as those of older versions
    lack the single images. A learning curve counts where both runs recorded one.
    """
    if not found.curve:
        recorded = replace(recorded, curve=())
    before, after = (dict(_flatten_outcome(outcome)) for outcome in (recorded, found))
    return tuple(
        Deviation(key, value, after.get(key), *_measure_deviation(key, value, after.get(key)))
        for key, value in before.items()
        if value is not None and not _is_same(value, after.get(key))
    )


def _is_same(recorded: object, found: object) -> bool:
    # The loss of a teacher that was not scored is NaN, which is unlike itself.
    both = recorded, found
    return recorded == found or all(isinstance(v, float) and math.isnan(v) for v in both)


def compare_machines(recorded: Outcome, found: Outcome) -> str:
    """How machine and versions of two runs differ, for people; empty when nothing known differs."""
    there, here = (
        {"device": o.device, "precision": o.precision, **o.versions} for o in (recorded, found)
    )
    known = [key for key in there if key in here]
    texts = [f"{key} {there[key]} (now {here[key]})" for key in known if there[key] != here[key]]
    if not texts and here.get("deterministic") == "no":
        texts = ["deterministic = false, so no run on this GPU is like another"]
    return ", ".join(texts)


def sum_up_checks(trials: Sequence[CheckedTrial]) -> list[StageCheck]:
    """A line per stage, in the order in which the stages come."""
    stages = dict.fromkeys(trial.row.stage for trial in trials)
    return [_sum_up_stage(stage, [t for t in trials if t.row.stage == stage]) for stage in stages]


def _sum_up_stage(stage: StageName, trials: Sequence[CheckedTrial]) -> StageCheck:
    sizes = [(d.unit, d.size) for trial in trials for d in trial.deviations]
    largest = {unit: max((s for u, s in sizes if u == unit), default=0.0) for unit in UNITS}
    return StageCheck(stage, len(trials), sum(trial.equal for trial in trials), largest)


def _flatten_outcome(outcome: Outcome) -> Iterator[tuple[str, object]]:
    values = {k: v for k, v in outcome.to_json().items() if k not in WHERE_IT_RAN}
    return _flatten_values("", values)


def _flatten_values(key: str, value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        yield key, value
        return
    for name, item in items:
        yield from _flatten_values(f"{key}.{name}" if key else str(name), item)


def _measure_deviation(key: str, recorded: Any, found: Any) -> tuple[Unit, float]:
    names = key.split(".")
    if names[-1] == "right" and found is not None and len(recorded) == len(found):
        return "images", float(np.count_nonzero(unpack_bits(recorded) != unpack_bits(found)))
    unit, scale = _find_unit(names)
    if names[0] == "curve":  # of accuracies, or of minus losses
        unit, scale = ("pp", 100.0) if recorded >= 0 else ("nats", 1.0)
    if unit == "other" or found is None:
        return "other", 1.0
    size = scale * abs(recorded - found)
    return unit, math.inf if math.isnan(size) else size


def _find_unit(names: Sequence[str]) -> tuple[Unit, float]:
    """What a value is counted in, and how many of these make 1 of it."""
    name = names[-1]
    if name.endswith("accuracy") or "rounds" in names:
        return "pp", 100.0
    if name.endswith("gain") or name in ("learning", "forgetting"):
        return "pp", 1.0
    if name == "loss":
        return "nats", 1.0
    return ("epochs", 1.0) if name in ("epochs", "best_epoch") else ("other", 1.0)
