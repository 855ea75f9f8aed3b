"""Tables of the levers that trials had to be trained again for, by ``scripts/lever_trials.py``.

``scripts/levers.py`` prints them. What is chosen is chosen on validation, and what counts is its
gain on test.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.analysis.stats import estimate_mean
from kdopt.search.full_grids import FullGrid
from kdopt.search.prior import Point
from scripts.search_judge import Judge, name_pair, print_head, print_line

LINES, CURVES = (Path(__file__).with_name(f"lever_{name}.json") for name in ("lines", "curves"))
"""What was found: students around trained ones, and accuracies after every epoch."""

OF_LINES = """
## Batch norm's statistics, and a step towards the teacher

Mean test gain in pp of what validation chooses, with its 95 % interval over participants, of
{pairs}, as far as they were measured.
The control and the cell that is best on validation were trained again; the untouched student is
always a candidate. Then differences of such gains, bold where their intervals leave out 0.

- *interpolated*: batch norm's statistics go along the line as the weights do, as with
  `batch_norm = "running"`
- *measured*: they are the mean over the student's own images, passed through once more
- *kept*: they stay those of the trained student
- *teacher*: besides the line, `w0 + s (w1 - w0) + r (wT - w0)` with s of 0.5 and 1, r of 0.1, 0.2
  and 0.5. All participants have the same architecture; each began with weights of its own
"""
OF_CURVES = """
## Stopping a trial by the curves of finished pairs

The eight trials of the learnt search, kind of partition not known, of {pairs},
scored on validation after each of their {epochs} epochs. A trial is stopped after an epoch if
fewer than {chance:.0%} of the finished trials of other kinds of partition rose by enough from
there to the end to beat the best so far. A stopped trial is never chosen, and the search goes on
as if it had been finished, so nothing is lost but the trial itself. Today kdopt stops none.
"""
CHANCE = 0.05
"""A trial that wins less often than this is stopped."""

RUNGS = ((1, 2, 3, 4, 5), (2, 3, 4, 5), (3, 4, 5), (1,), (2,), (3,), (4,))
"""The epochs after which a trial may be stopped."""

NO_LINE = ("1",)
LINE = ("1", "0.75", "1.25", "0.5", "0.25")
TOWARDS = tuple(f"{s} {r}" for s in ("1", "0.5") for r in ("0.1", "0.2", "0.5"))
"""Places, the trained student and those nearest to it first: among equals the first is chosen."""

Ways = Mapping[str, Sequence[tuple[str, Sequence[str]]]]
"""By name: how students are made, and at which places."""

Choices = Mapping[str, Sequence[str]]
"""By name: which trained students count."""

WAYS: Ways = {
    "no line": [("interpolated", NO_LINE)],
    "no line, measured": [("measured", NO_LINE)],
    "line, interpolated": [("interpolated", LINE)],
    "line, measured": [("measured", LINE)],
    "line, kept": [("interpolated", NO_LINE), ("kept", LINE[1:])],
    "line, measured, and the trained": [("interpolated", NO_LINE), ("measured", LINE)],
    "line, interpolated and measured": [("interpolated", LINE), ("measured", LINE)],
    "line and teacher, interpolated": [("interpolated", LINE), ("teacher", TOWARDS)],
    "line and teacher, measured": [("measured", LINE), ("teacher measured", TOWARDS)],
}
DIFFERENCES = (
    ("no line, measured", "no line"),
    ("line, interpolated", "no line"),
    ("line, measured", "line, interpolated"),
    ("line, kept", "line, interpolated"),
    ("line, measured, and the trained", "line, interpolated"),
    ("line, interpolated and measured", "line, interpolated"),
    ("line and teacher, interpolated", "line, interpolated"),
    ("line and teacher, measured", "line, measured"),
    ("line and teacher, measured", "line, interpolated"),
)
CHOICES: Choices = {
    "the control": ("control",),
    "the control and the best cell": ("control", "best"),
}

Numbers = NDArray[np.float64]


class Found(NamedTuple):
    """What was measured of some pairs.

    Attributes:
        pairs: Campaign and partition, teacher and student of each.
        data: Its data set.
        records: As ``lever_trials.py`` writes them.
    """

    pairs: pd.DataFrame
    data: Numbers
    records: Sequence[Mapping[str, Any]]

    def split(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Each data set and which pairs are of it."""
        return [(name, self.data == name) for name in sorted(set(self.data.tolist()))]

    def count(self) -> str:
        """How many pairs, in words."""
        return " and ".join(f"{some.sum()} pairs of {name}" for name, some in self.split())


def read_found(file: Path) -> Found:
    """What a packed file has."""
    records = json.loads(file.read_bytes())
    pairs = pd.DataFrame(
        {
            "partition": [f"{r['campaign']}/{r['partition']}" for r in records],
            "teacher": [r["teacher"] for r in records],
            "student": [r["student"] for r in records],
        }
    )
    return Found(pairs, np.array([r["data"] for r in records]), records)


def print_lines(file: Path = LINES) -> None:
    """Gains by how the students around a trained one are made, and their differences."""
    print_gains(read_found(file), OF_LINES, WAYS, DIFFERENCES, CHOICES)


def print_gains(
    found: Found, head: str, ways: Ways, differences: Sequence[tuple[str, str]], choices: Choices
) -> None:
    """What is chosen gains, by way and by what is chosen among, and how far ways differ."""
    print(head.format(pairs=found.count()))
    gains = compute_gains(found, ways, choices)
    print_head(["students", "pairs of"], head_choices(choices))
    for way in ways:
        for data, some in found.split():
            values = [gains[way, choice] for choice in choices]
            print_line([way, data, *(t for v in values for t in show(found, v, some))])
    print()
    print_differences(found, gains, differences, choices)


def compute_gains(found: Found, ways: Ways, choices: Choices) -> dict[tuple[str, str], Numbers]:
    """Test gains in pp of what validation chooses, by way and by what is chosen among."""
    return {
        (way, choice): np.array([choose_gain(r, ways[way], choices[choice]) for r in found.records])
        for way in ways
        for choice in choices
    }


def head_choices(choices: Choices) -> list[str]:
    return [title for choice in choices for title in ("pairs", f"chosen among {choice}")]


def print_differences(
    found: Found,
    gains: Mapping[tuple[str, str], Numbers],
    differences: Sequence[tuple[str, str]],
    choices: Choices,
) -> None:
    """How far the gains of ways differ."""
    print_head(["difference", "pairs of"], head_choices(choices))
    for way, other in differences:
        for data, some in found.split():
            values = [gains[way, choice] - gains[other, choice] for choice in choices]
            shown = [t for v in values for t in show(found, v, some, difference=True)]
            print_line([f"{way} - {other}", data, *shown])


def show(
    found: Found, values: Numbers, some: NDArray[np.bool_], difference: bool = False
) -> tuple[str, str]:
    """How many values are known, and their mean with its interval."""
    known = some & ~np.isnan(values)
    return str(known.sum()), format_mean(found, values, known, difference)


def choose_gain(
    record: Mapping[str, Any],
    ways: Sequence[tuple[str, Sequence[str]]],
    students: Sequence[str],
) -> float:
    """Test gain in pp of the best on validation, the first of equals; NaN where not measured.

    Args:
        record: A pair.
        ways: How its students are made, and at which places.
        students: Which trained ones count.
    """
    if any(way not in record.get(student, {}) for student in students for way, _ in ways):
        return math.nan
    return choose_gains(record, ways, students)[1]


def choose_gains(
    record: Mapping[str, Any],
    ways: Sequence[tuple[str, Sequence[str]]],
    students: Sequence[str],
) -> tuple[float, float]:
    """Gains of the same on validation, where it was chosen, and on test, in pp."""
    found = find_best(record, ways, students)
    if found is None:
        return 0.0, 0.0
    student, way, place = found
    kept = record[student][way][place]
    assert kept[1] is not None, "the best on validation was not scored on test"
    before, images = record["untouched"], record["images"]
    validation, test = (100 * (kept[i] - before[i]) / float(images[i]) for i in (0, 1))
    return validation, test


def find_best(
    record: Mapping[str, Any],
    ways: Sequence[tuple[str, Sequence[str]]],
    students: Sequence[str],
) -> tuple[str, str, str] | None:
    """Student, way and place of the best on validation; ``None``: the untouched student."""
    best, found = record["untouched"][0], None
    for student in students:
        for way, places in ways:
            for place in places:
                right = record[student][way].get(place, (0, None))[0]
                if right > best:
                    best, found = right, (student, way, place)
    return found


def format_mean(
    found: Found, values: Numbers, some: NDArray[np.bool_], difference: bool = False
) -> str:
    """A mean with its interval."""
    pairs = found.pairs[some].reset_index(drop=True)
    mean, low, high = estimate_mean(pairs, pd.Series(values[some]))[:3]
    if not difference:
        return f"{mean:.2f} ({low:.2f} to {high:.2f})"
    text = f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


class Trial(NamedTuple):
    """A trial of a search.

    Attributes:
        point: Its cell.
        gains: Validation gain in pp after each epoch.
        rises: By epoch, how much trials of other kinds of partition rose from there to the end.
    """

    point: Point
    gains: Numbers
    rises: Sequence[Numbers]


def print_curves(judge: Judge) -> None:
    """What stopping trials saves and loses, beside fewer trials that are all finished."""
    found = read_found(CURVES)
    grid_of = {name_pair(grid): grid for grid in judge.grids}
    grids = [grid_of[name_record(record)] for record in found.records]
    searches = list_trials(grids, found.records)
    epochs = len(searches[0][0].gains)
    print(OF_CURVES.format(pairs=found.count(), epochs=epochs, chance=CHANCE))
    print_head(["after epoch", "pairs of"], ["correlation of ranks with those at the end"])
    for epoch in range(1, epochs):
        ranks = np.array([correlate_ranks(search, epoch) for search in searches])
        for data, some in found.split():
            print_line([str(epoch), data, show(found, ranks, some)[1]])
    print()
    own = Judge(grids)
    numbers = ["epochs per pair", "percent of the grid", "beside all whole trials, pp"]
    print_head(["rule", "pairs of"], numbers)
    whole = np.array(
        [g.compute_kept_gain(t.point for t in of) for g, of in zip(grids, searches, strict=True)]
    )
    for name, rule in list_rules(len(searches[0]), epochs).items():
        results = [rule(grid, of) for grid, of in zip(grids, searches, strict=True)]
        spent = np.array([epochs for epochs, _ in results])
        kept = [g.compute_kept_gain(tried) for g, (_, tried) in zip(grids, results, strict=True)]
        for data, some in found.split():
            share = own.estimate_share(np.array(kept), some)
            lost = format_mean(found, np.array(kept) - whole, some, difference=True)
            print_line([name, data, f"{spent[some].mean():.1f}", share, lost])


Rule = Callable[[FullGrid, Sequence[Trial]], tuple[float, list[Point]]]
"""From a pair and the trials of its search to epochs spent, and to the cells that were finished."""


def list_rules(trials: int, epochs: int) -> dict[str, Rule]:
    """Fewer trials, all finished, and all trials, some of them stopped."""
    rules: dict[str, Rule] = {
        f"{count} whole trials": functools.partial(follow_budget, count=count, epochs=epochs)
        for count in range(2, trials + 1)
    }
    for rungs in RUNGS:
        name = f"{trials} trials, may stop after epoch {', '.join(map(str, rungs))}"
        rules[name] = functools.partial(follow_rule, rungs=rungs)
    return rules


def follow_budget(
    grid: FullGrid, trials: Sequence[Trial], count: int, epochs: int
) -> tuple[float, list[Point]]:
    """The first trials, all finished."""
    return float(count * epochs), [trial.point for trial in trials[:count]]


def name_record(record: Mapping[str, Any]) -> str:
    who = f"t{record['teacher']:02d}-s{record['student']:02d}"
    return f"{record['campaign']}/{record['partition']}/{who}"


def list_trials(
    grids: Sequence[FullGrid], records: Sequence[Mapping[str, Any]]
) -> list[list[Trial]]:
    """The trials of each pair, in the order of the search."""
    kinds = [grid.campaign.get_family(grid.pair.partition) for grid in grids]
    # (trials, epochs) of each pair
    gains = [
        100 * (np.array([c[2] for c in r["curves"]]) - r["untouched"][0]) / r["images"][0]
        for r in records
    ]
    rises = {
        kind: np.concatenate(
            [g[:, -1:] - g for g, other in zip(gains, kinds, strict=True) if other != kind]
        )
        for kind in set(kinds)
    }
    return [
        [
            Trial((temperature, alpha), curve, rises[kind].T)
            for (temperature, alpha, _), curve in zip(record["curves"], of, strict=True)
        ]
        for record, of, kind in zip(records, gains, kinds, strict=True)
    ]


def follow_rule(
    grid: FullGrid, trials: Iterable[Trial], rungs: Sequence[int]
) -> tuple[float, list[Point]]:
    """Epochs spent, and the trials that were not stopped."""
    best = grid.find_fallback()[1]
    spent, finished = 0, []
    for trial in trials:
        stop = find_stop(trial, best, rungs)
        spent += stop or len(trial.gains)
        if stop is None:
            finished.append(trial.point)
            best = max(best, float(trial.gains[-1]))
    return float(spent), finished


def find_stop(trial: Trial, best: float, rungs: Sequence[int]) -> int | None:
    """After which epoch a trial is stopped that hardly can beat ``best``, in pp."""
    for epoch in rungs:
        ends = trial.gains[epoch - 1] + trial.rises[epoch - 1]
        if float((ends > best).mean()) < CHANCE:
            return epoch
    return None


def correlate_ranks(trials: Sequence[Trial], epoch: int) -> float:
    """Spearman's correlation of a pair's trials after an epoch with those at the end."""
    gains = pd.DataFrame([trial.gains for trial in trials])
    return float(gains[epoch - 1].corr(gains.iloc[:, -1], method="spearman"))
