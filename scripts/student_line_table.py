"""The tables of ``scripts/student_line.py``: what is chosen on validation gains on test."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.paired_test import Rates, rate_lead, unpack_right
from kdopt.analysis.stats import Estimate, estimate_mean
from kdopt.analysis.verdicts import ERROR_RATE
from kdopt.outcome import Pair, Scores
from kdopt.report.format import format_pipe_line
from kdopt.train.student_line import TRAINED

Way = Literal["interpolated", "measured"]
"""Where a student's batch norm statistics are from."""

NO_LINE = (TRAINED,)
LINE = (0.25, 0.5, 0.75, TRAINED, 1.25)
"""The places that the documentation proposes, and the trained student."""

LINES: Mapping[str, tuple[float, ...]] = {
    "0.5": (0.5, TRAINED),
    "0.25, 0.5, 0.75": (0.25, 0.5, 0.75, TRAINED),
    "0.25, 0.5, 0.75, 1.25": LINE,
    "0.25, 0.5, 0.75, 1.25, 1.5": (*LINE, 1.5),
}

CONTROL = "control"


class Tried(NamedTuple):
    """A student that was scored.

    Attributes:
        validation: Its accuracy, in [0, 1].
        test: The same on test.
        right: Which validation images it classifies rightly, as ``Scores.right``.
        place: Where on its line it is; 0 is the untouched student.
    """

    validation: float
    test: float
    right: str
    place: float = TRAINED


class MeasuredPair(NamedTuple):
    """What was trained and scored of one pair.

    Attributes:
        campaign: The campaign's name.
        data: Its data set.
        kind: How its partition was drawn.
        pair: Which pair.
        images: Number of validation images.
        untouched: The student before.
        lines: What was trained, the control and cells by name: students by way and place.
        grid: The trained student of every cell, as the store has it.
        choices: Cells by name: of each choice in :data:`CHOICES`, those it tries.
        same: Whether all came out as they were recorded.
    """

    campaign: str
    data: str
    kind: str
    pair: Pair
    images: int
    untouched: Tried
    lines: Mapping[str, Mapping[str, Mapping[float, Tried]]]
    grid: Sequence[Tried]
    choices: Mapping[str, Sequence[str]]
    same: bool


class Kept(NamedTuple):
    """What a choice comes to: gains over the untouched student in pp, and the place chosen."""

    validation: float
    test: float
    place: float


CHOICES: Mapping[str, tuple[str, bool]] = {
    "the control alone": ("", True),
    "vanilla": ("vanilla", False),
    "vanilla, control": ("vanilla", True),
    "list of 1, control": ("list 1", True),
    "list of 2, control": ("list 2", True),
    "list of 4, control": ("list 4", True),
    "best of the grid, control": ("best", True),
}
"""Which cells are tried, and whether the control is a candidate, too."""


def read_pairs(files: Iterable[Path]) -> list[MeasuredPair]:
    """What ``measure`` wrote, a pair's lines put together; a line that was cut off is left out."""
    lines = [line for file in files for line in file.read_text("utf-8").splitlines(keepends=True)]
    pairs: dict[tuple[str, Pair], MeasuredPair] = {}
    for new in (_read_pair(json.loads(line)) for line in lines if line.endswith("\n")):
        known = pairs.setdefault((new.campaign, new.pair), new)
        both = {**known.lines, **new.lines}
        pairs[new.campaign, new.pair] = new._replace(lines=both, same=known.same and new.same)
    return list(pairs.values())


def _read_pair(record: Mapping[str, Any]) -> MeasuredPair:
    listed = record["listed"]
    return MeasuredPair(
        record["campaign"],
        record["data"],
        record["kind"],
        Pair(*(record[key] for key in Pair._fields)),
        record["images"],
        Tried(*record["untouched"], place=0.0),
        {
            name: {
                way: {float(p): Tried(*scores, float(p)) for p, scores in line[way].items()}
                for way in ("interpolated", "measured")
            }
            for name, line in record["lines"].items()
        },
        [Tried(*scores) for scores in record["grid"].values()],
        {
            "": [],
            "vanilla": [record["vanilla"]],
            "best": [record["best"]],
            **{f"list {n}": listed[:n] for n in (1, 2, 4)},
        },
        all(line["same"] for line in record["lines"].values()),
    )


def list_line(
    pair: MeasuredPair, name: str, places: Sequence[float], way: Way = "interpolated"
) -> list[Tried]:
    """The students of one line, the trained one and those nearest to it first."""
    found = pair.lines[name][way]
    order = sorted(places, key=lambda place: (abs(place - TRAINED), place))
    return [found[place] for place in order if place in found]


def choose_student(
    pair: MeasuredPair, choice: str, places: Sequence[float], way: Way = "interpolated"
) -> Kept:
    """The best on validation of a choice's students and the untouched one, the first of equals."""
    cells, with_control = CHOICES[choice]
    names = [*([CONTROL] if with_control else []), *pair.choices[cells]]
    students = [t for name in names for t in list_line(pair, name, places, way)]
    return _keep(pair, max([pair.untouched, *students], key=lambda t: t.validation))


def follow_verdict(pair: MeasuredPair, choice: str, places: Sequence[float]) -> Kept:
    """What kdopt's verdict leads to, each place counted as one more thing that was tried.

    For the best of the grid all cells count; the line is that of the best cell only.
    """
    cells, _ = CHOICES[choice]
    trained = list_line(pair, CONTROL, places)
    distilled = [t for name in pair.choices[cells] for t in list_line(pair, name, places)]
    control = max(trained, key=lambda t: t.validation)
    chosen = max(distilled, key=lambda t: t.validation)
    if cells == "best":
        distilled += pair.grid
    untouched = _unpack(pair, [pair.untouched])[:, 0]
    if rate_lead(untouched, _unpack(pair, [*trained, *distilled])) >= ERROR_RATE:
        return _keep(pair, pair.untouched)
    over_control = rate_lead(_unpack(pair, [control])[:, 0], _unpack(pair, distilled))
    helps = control.validation > pair.untouched.validation
    return _keep(pair, control if over_control >= ERROR_RATE and helps else chosen)


def _unpack(pair: MeasuredPair, students: Sequence[Tried]) -> Rates:
    bits = [unpack_right(Scores(t.validation, (), 0.0, pair.images, t.right)) for t in students]
    return np.stack(bits, axis=1).astype(np.float32)


def _keep(pair: MeasuredPair, student: Tried) -> Kept:
    before = pair.untouched
    return Kept(
        100 * (student.validation - before.validation),
        100 * (student.test - before.test),
        student.place,
    )


Measure = Callable[[MeasuredPair, str], float]
"""A number of a pair and one of :data:`CHOICES`."""


def format_tables(pairs: Sequence[MeasuredPair]) -> str:
    """All tables as Markdown. What was not measured of a pair, or of all, is left out."""
    data = {name: [p for p in pairs if p.data == name] for name in sorted({p.data for p in pairs})}
    groups = {"all": pairs, **data}
    kinds = {
        f"{name}, {kind}": [p for p in group if p.kind == kind]
        for name, group in data.items()
        for kind in sorted({p.kind for p in group})
    }
    same = sum(pair.same for pair in pairs)

    def compare(places: Sequence[float]) -> Measure:
        return lambda p, c: choose_student(p, c, places).test - choose_student(p, c, NO_LINE).test

    def exceed(places: Sequence[float]) -> Measure:
        return lambda p, c: measure_surplus(choose_student(p, c, places))

    def measure_again(places: Sequence[float]) -> Measure:
        return lambda p, c: (
            choose_student(p, c, places, "measured").test - choose_student(p, c, places).test
        )

    gains: dict[str, Measure] = {
        "no line": lambda p, c: choose_student(p, c, NO_LINE).test,
        "with the line": lambda p, c: choose_student(p, c, LINE).test,
        "difference": compare(LINE),
    }
    statistics = {"no line": measure_again(NO_LINE), "with the line": measure_again(LINE)}
    curse: dict[str, Measure] = {
        "validation, no line": lambda p, c: choose_student(p, c, NO_LINE).validation,
        "validation, line": lambda p, c: choose_student(p, c, LINE).validation,
        "validation - test, no line": exceed(NO_LINE),
        "validation - test, line": exceed(LINE),
        "difference": lambda p, c: exceed(LINE)(p, c) - exceed(NO_LINE)(p, c),
    }
    verdicts: dict[str, Measure] = {
        "no line": lambda p, c: follow_verdict(p, c, NO_LINE).test,
        "with the line": lambda p, c: follow_verdict(p, c, LINE).test,
        "difference": lambda p, c: (
            follow_verdict(p, c, LINE).test - follow_verdict(p, c, NO_LINE).test
        ),
        "% changed, no line": lambda p, c: 100.0 * (follow_verdict(p, c, NO_LINE).place > 0),
        "% changed, line": lambda p, c: 100.0 * (follow_verdict(p, c, LINE).place > 0),
    }
    chosen: dict[str, Measure] = {
        f"{place:g}": lambda p, c, at=place: 100.0 * (choose_student(p, c, LINE).place == at)  # type: ignore[misc]
        for place in (0.0, *LINE)
    }
    by_places = {name: compare(places) for name, places in LINES.items()}
    taught = [choice for choice, (cells, control) in CHOICES.items() if cells and control]
    pp = "pp (95 %)"
    return "\n\n".join(
        [
            f"All trials of {same} of {len(pairs)} pairs came out as they are recorded.",
            _tabulate(f"Mean test gain, {pp}", groups, gains),
            _tabulate(f"The same by kind of partition, {pp}", kinds, gains),
            _tabulate(f"What these places make of the test gain, {pp}", groups, by_places),
            _tabulate(f"Statistics measured again minus interpolated, {pp}", groups, statistics),
            _tabulate(f"The winner's gain on validation, {pp}", groups, curse),
            _tabulate(f"Test gain of following the verdict, {pp}", groups, verdicts, taught),
            _tabulate("How often each place is chosen, % (95 %)", groups, chosen),
        ]
    )


def measure_surplus(kept: Kept) -> float:
    """How far validation promises more than test gives."""
    return kept.validation - kept.test


def _tabulate(
    title: str,
    groups: Mapping[str, Sequence[MeasuredPair]],
    columns: Mapping[str, Measure],
    choices: Iterable[str] = tuple(CHOICES),
) -> str:
    way: Way = "measured" if "measured" in title else "interpolated"
    lines = [
        ["pairs of", "chosen among", "pairs", *columns],
        ["---", "---", *["--:"] * (len(columns) + 1)],
    ]
    for name, group in groups.items():
        for choice in choices:
            some = [pair for pair in group if has_students(pair, choice, way)]
            numbers = [
                estimate_gain(some, functools.partial(_swap, measure, choice))
                for measure in columns.values()
            ]
            if some:
                lines.append([name, choice, str(len(some)), *map(format_estimate, numbers)])
    return "\n".join([f"{title}:", "", *map(format_pipe_line, lines)])


def _swap(measure: Measure, choice: str, pair: MeasuredPair) -> float:
    return measure(pair, choice)


def has_students(pair: MeasuredPair, choice: str, way: Way) -> bool:
    """Whether everything that a choice tries was trained and scored in this way."""
    cells, control = CHOICES[choice]
    # Without another data set there is no list.
    if cells and not pair.choices[cells]:
        return False
    # All of these or none: pairs whose best cell happens to be on the list are no random sample.
    asked = [] if cells in ("", "best") else [*pair.choices["vanilla"], *pair.choices["list 4"]]
    names = [*([CONTROL] if control else []), *pair.choices[cells], *asked]
    return all(pair.lines.get(name, {}).get(way) for name in names)


def estimate_gain(pairs: Sequence[MeasuredPair], gain: Callable[[MeasuredPair], float]) -> Estimate:
    """The mean over pairs, with the 95 % interval of participants as units."""
    table = pd.DataFrame(
        [p.pair._replace(partition=f"{p.campaign}/{p.pair.partition}") for p in pairs],
        columns=Pair._fields,
    )
    return estimate_mean(table, pd.Series([gain(pair) for pair in pairs], dtype=float))


def format_estimate(found: Estimate) -> str:
    """A mean and its interval, if it has one."""
    interval = "" if np.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.mean:.2f}{interval}"
