"""One tidy table of what every method gains for every pair on every transfer set.

Paper, section IV. The methods with fixed settings come from the stage ``compare``. ``tuned`` is
the cell of the stage ``tune`` that was selected (on validation, by default), so it exists on the
student's own data only. Untuned distillation on the student's data is also one of the cells of
the tuning: with the same settings and the same seed it is the same computation, so where one of
the two stages did not run it, the other's stands in, also as the cell that was selected.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from kdopt.analysis.cells import Pair, cell_of, rows_by_pair, spread, with_compared_vanilla
from kdopt.analysis.frame import number_or_nan, participants_frame
from kdopt.analysis.maps import best_settings
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, NEEDS_LABELS, TRANSFER_SETS, UNLABELED
from kdopt.outcome import Outcome, TrialRow

TUNED = "tuned"
ALL_METHODS: tuple[str, ...] = (*METHODS, TUNED)
BAND_PP = 5.0
"""Teachers within this accuracy gap (pp) of their student are neither strong nor weak."""

TeacherKind = Literal["strong", "weak", "similar", "unknown"]
MEASURES = ("validation_gain", "test_gain", "learning", "forgetting")
GAIN_COLUMNS = (
    "partition",
    "teacher",
    "student",
    "transfer_set",
    "method",
    "lacks_labels",
    "source",
    "replicates",
    "test_gain_sd",
    "complete",
    "teacher_accuracy",
    "student_accuracy",
    "accuracy_gap",
    "teacher_kind",
    *MEASURES,
)


class Place(NamedTuple):
    """What one line of the table is about."""

    pair: Pair
    transfer_set: str
    method: str


def method_gains(
    rows: Sequence[TrialRow],
    campaign: Campaign,
    band_pp: float = BAND_PP,
    best: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One line per (partition, teacher, student, transfer set, method) that has a result.

    Accuracies are test accuracies in percent before distillation; the gap (teacher minus
    student), gains, learning and forgetting are pp and means over replicates; ``test_gain_sd`` is
    the spread over replicates. ``lacks_labels`` marks a method that needs labels on a set that
    has none: it ran, but cannot work as meant. ``complete`` says
    whether all replicates (for ``tuned``: all trials of the pair's search) are there. Unknown
    numbers are NaN. Nothing depends on the order of ``rows``.

    Args:
        rows: Trials of a campaign, in any state.
        campaign: What was planned.
        band_pp: Largest absolute accuracy gap of a ``similar`` teacher, pp, >= 0.
        best: :func:`kdopt.analysis.maps.best_settings` of the rows, where the caller has it.
    """
    found = {**_from_tuning(rows, campaign, best), **_from_comparison(rows, campaign)}
    accuracies = _accuracies(rows)
    lines = [
        {
            **place.pair._asdict(),
            "transfer_set": place.transfer_set,
            "method": place.method,
            "lacks_labels": place.method in NEEDS_LABELS and place.transfer_set in UNLABELED,
            **_about(place.pair, accuracies, band_pp),
            **measured,
        }
        for place, measured in sorted(found.items(), key=lambda item: _rank(item[0], campaign))
    ]
    return pd.DataFrame(lines, columns=list(GAIN_COLUMNS))


def teacher_kind(accuracy_gap: float, band_pp: float = BAND_PP) -> TeacherKind:
    """Strong above the band, weak below it (paper, section IV, gives no threshold)."""
    if math.isnan(accuracy_gap):
        return "unknown"
    if accuracy_gap > band_pp:
        return "strong"
    return "weak" if accuracy_gap < -band_pp else "similar"


def wide(gains: pd.DataFrame, value: str = "test_gain") -> pd.DataFrame:
    """One line per (partition, teacher, student, transfer set), one column per method.

    Methods that were never run are columns of NaN, so that callers need not ask.
    """
    keys = ["partition", "teacher", "student", "transfer_set"]
    table = gains.pivot(index=keys, columns="method", values=value)
    table = table.reindex(columns=list(ALL_METHODS)).astype(float)
    about = gains.drop_duplicates(keys).set_index(keys)[["accuracy_gap", "teacher_kind"]]
    return table.join(about).reset_index()


def mean_of(table: pd.DataFrame, key: str) -> float:
    """The mean of a column without its NaN values; NaN where nothing is left."""
    known = table[key].dropna()
    return math.fsum(known) / len(known) if len(known) else math.nan


def partitions_of(gains: pd.DataFrame) -> list[str]:
    """The partitions with data, in the order of the table."""
    return [str(name) for name in gains["partition"].unique()]


def _from_comparison(rows: Sequence[TrialRow], campaign: Campaign) -> dict[Place, dict[str, Any]]:
    groups: dict[Place, list[Outcome]] = defaultdict(list)
    for row in rows:
        if row.stage != "compare" or row.teacher is None or row.student is None:
            continue
        if row.state != "COMPLETE" or row.outcome is None or "method" not in row.params:
            continue
        pair = Pair(row.partition, row.teacher, row.student)
        place = Place(pair, str(row.params["transfer_set"]), str(row.params["method"]))
        groups[place].append(row.outcome)
    found: dict[Place, dict[str, Any]] = {}
    for place, outcomes in groups.items():
        if means := _means(outcomes):
            complete = means["replicates"] >= campaign.replicates
            found[place] = {**means, "source": "compare", "complete": complete}
    return found


def _from_tuning(
    rows: Sequence[TrialRow], campaign: Campaign, best: pd.DataFrame | None
) -> dict[Place, dict[str, Any]]:
    groups = rows_by_pair(with_compared_vanilla(rows, campaign.tune))
    if not groups:
        return {}
    best = best_settings(rows, campaign) if best is None else best
    found: dict[Place, dict[str, Any]] = {}
    vanilla = campaign.tune.vanilla_point
    for line in best.to_dict("records"):
        pair = Pair(str(line["partition"]), int(line["teacher"]), int(line["student"]))
        mine = groups.get(pair, [])
        selected = (float(line["temperature"]), float(line["alpha"]))
        for method, cell in ((TUNED, selected), ("vanilla", vanilla)):
            means = _means(_outcomes_at(mine, cell))
            if means:
                done = means["replicates"] >= campaign.replicates
                complete = bool(line["complete"]) if method == TUNED else done
                place = Place(pair, "student", method)
                found[place] = {**means, "source": "tune", "complete": complete}
    return found


def _outcomes_at(rows: Iterable[TrialRow], cell: tuple[float, float]) -> Iterator[Outcome]:
    for row in rows:
        if row.state == "COMPLETE" and row.outcome is not None and cell_of(row) == cell:
            yield row.outcome


def _means(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Means over replicates; empty where none has gains (a damaged record is not a zero)."""
    kept = [
        o
        for o in outcomes
        if all(math.isfinite(number_or_nan(getattr(o, key))) for key in MEASURES[:2])
    ]
    if not kept:
        return {}
    # fsum rounds once, so the mean does not depend on the order of the rows.
    means = {
        key: math.fsum(number_or_nan(getattr(o, key)) for o in kept) / len(kept) for key in MEASURES
    }
    sd = spread([number_or_nan(o.test_gain) for o in kept])
    return {**means, "replicates": len(kept), "test_gain_sd": sd}


def _accuracies(rows: Sequence[TrialRow]) -> dict[tuple[str, int], float]:
    frame = participants_frame(rows)
    keys = zip(frame["partition"], frame["participant"], strict=True)
    values = zip(keys, frame["test_accuracy"], strict=True)
    return {(str(p), int(i)): 100 * float(a) for (p, i), a in values}


def _about(
    pair: Pair, accuracies: dict[tuple[str, int], float], band_pp: float
) -> dict[str, float | str]:
    teacher = accuracies.get((pair.partition, pair.teacher), math.nan)
    student = accuracies.get((pair.partition, pair.student), math.nan)
    return {
        "teacher_accuracy": teacher,
        "student_accuracy": student,
        "accuracy_gap": teacher - student,
        "teacher_kind": teacher_kind(teacher - student, band_pp),
    }


def _rank(place: Place, campaign: Campaign) -> tuple[Any, ...]:
    """Orders of the campaign first; what only the store knows comes after, by name."""
    names: list[tuple[Sequence[str], str]] = [
        ([p.name for p in campaign.partitions], place.pair.partition),
        (TRANSFER_SETS, place.transfer_set),
        (ALL_METHODS, place.method),
    ]
    part, transfer, method = (
        (order.index(name) if name in order else len(order), name) for order, name in names
    )
    return (part, place.pair.teacher, place.pair.student, transfer, method)
