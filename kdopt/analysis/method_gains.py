"""One tidy table of what every method gains for every pair on every transfer set.

Paper, section IV. The methods with fixed settings come from the stage ``compare``. ``tuned`` is
plain distillation at the point of the stage ``tune`` that was selected (on validation, by
default), so it exists on the student's own data only; ``tuned_NAME`` is another method at its
selected setting. Untuned distillation on the student's data is also one of the points of the
tuning: with the same settings and the same seed it is the same computation, so where one of the
two stages did not run it, the other's stands in, also as the point that was selected.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.results import CampaignResults, MethodCase, list_pairs, read_number, read_point
from kdopt.analysis.stats import compute_sd
from kdopt.analysis.tuned_methods import (
    TUNED,
    average_settings,
    count_search_trials,
    find_best_setting,
    name_tuned,
)
from kdopt.campaign.method_studies import tunes_points
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, NEEDS_LABELS, TRANSFER_SETS, UNLABELED
from kdopt.outcome import Outcome, Pair, TrialRow

ALL_METHODS: tuple[str, ...] = (*METHODS, TUNED)
WEAK, STRONGER, MUCH_WEAKER, SIMILAR, STRONG = TEACHER_GROUPS = (
    "weak",
    "stronger",
    "much weaker",
    "similar",
    "strong",
)
"""Groups of teachers, by the sign of the gap (the first two) and by the campaign's margin. In the
paper weak is any teacher below its student and strong one notably above."""

GAIN_MEASURES = ("validation_gain", "test_gain", "learning", "forgetting")
GAIN_COLUMNS = (
    "partition", "teacher", "student", "transfer_set", "method", "lacks_labels", "source",
    "replicates", "test_gain_sd", "complete", "teacher_accuracy", "student_accuracy",
    "accuracy_gap", "validation_gap", "teacher_kind", *GAIN_MEASURES, "control_gain", "net_gain",
    "family",
)  # fmt: skip

ClassAccuracies = list[float | None]
"""By class, percent; ``None`` for a class without test images."""


class ClassScores(NamedTuple):
    """One pair on the student's own data, means over replicates.

    Attributes:
        before: The untouched student.
        after: The distilled student by method: ``tuned`` (the pair's selected point), the methods
            with fixed settings, then other tuned ones; methods without a result are left out.
    """

    before: ClassAccuracies
    after: dict[str, ClassAccuracies]


def tabulate_method_gains(results: CampaignResults, best: pd.DataFrame) -> pd.DataFrame:
    """One line per (partition, teacher, student, transfer set, method) that has a result.

    Accuracies are test accuracies in percent before distillation; gaps, see
    :meth:`~kdopt.analysis.results.CampaignResults.describe_gap`, gains, learning and forgetting
    are pp and means over replicates; ``test_gain_sd`` is
    the spread over replicates. ``control_gain`` is the test gain of the same student on the same
    set without a teacher (0 without labels), ``net_gain`` what is left of the test gain beyond it:
    the teacher's part. ``lacks_labels`` marks a method that needs labels on a set that
    has none: it ran, but cannot work as meant. ``complete`` says whether all replicates (for
    ``tuned``: all trials of the pair's search) are there. Unknown numbers are NaN. Nothing
    depends on the order of the rows.

    Args:
        results: Trials of a campaign.
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`.
    """
    # Where both stages ran vanilla, the comparison's trials are shown.
    found = {**_measure_tuning(results, best), **_measure_comparison(results)}
    lines = [
        {
            **case.pair._asdict(),
            "family": results.campaign.get_family(case.pair.partition),
            "transfer_set": case.transfer_set,
            "method": case.method,
            "lacks_labels": case.method in NEEDS_LABELS and case.transfer_set in UNLABELED,
            **results.describe_gap(case.pair),
            **found[case],
            "control_gain": results.measure_control(case.pair, case.transfer_set).test,
        }
        for case in sorted(found, key=lambda case: _order_case(case, results.campaign))
    ]
    table = pd.DataFrame(lines, columns=list(GAIN_COLUMNS))
    return table.assign(net_gain=table["test_gain"] - table["control_gain"])


def pivot_methods(gains: pd.DataFrame, value: str = "test_gain") -> pd.DataFrame:
    """One line per (partition, teacher, student, transfer set), one column per method.

    Methods that were never run are columns of NaN, so that callers need not ask.
    """
    keys = ["partition", "teacher", "student", "transfer_set"]
    table = gains.pivot(index=keys, columns="method", values=value)
    table = table.reindex(columns=list(ALL_METHODS)).astype(float)
    about = gains.drop_duplicates(keys).set_index(keys)[
        ["family", "validation_gap", "teacher_kind"]
    ]
    return table.join(about).reset_index()


def select_teachers(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """The lines of a table whose teachers belong to one of :data:`TEACHER_GROUPS`."""
    if group == WEAK:
        return table[table["validation_gap"] < 0]
    if group == STRONGER:
        return table[table["validation_gap"] > 0]
    return table[table["teacher_kind"] == group]


def select_own(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of a table on the student's own data."""
    return table[table["transfer_set"] == "student"]


def list_partitions(table: pd.DataFrame) -> list[str]:
    """The partitions of a table, in its order."""
    return [str(name) for name in table["partition"].unique()]


def average_class_scores(results: CampaignResults, best: pd.DataFrame) -> dict[Pair, ClassScores]:
    """The class accuracies on test of every pair that has any; see also paper, Fig. 7.

    Learning is the mean over classes of the rises from before to after, forgetting that of the
    falls. Untuned distillation comes from the stage ``compare``, or else from the tuned study's
    vanilla point, as in :func:`tabulate_method_gains`.

    Args:
        results: Trials of a campaign.
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`, which knows the
            selected points; it may be empty.
    """
    groups = _select_tuned(results, best)
    groups += [
        (case.pair, case.method, _list_outcomes(rows))
        for case, rows in results.compared.items()
        if case.transfer_set == "student"
    ]
    for pair, method, rows in _list_searches(results):
        means = average_settings(rows, method, results.campaign)
        chosen = find_best_setting(means, results.selected_gain)
        if chosen and chosen.transfer_set == "student":
            groups.append((pair, name_tuned(method), list(chosen.outcomes)))
    scored: dict[Pair, dict[str, list[Outcome]]] = defaultdict(dict)
    for pair, method, outcomes in groups:
        if known := [outcome for outcome in outcomes if outcome.test_before is not None]:
            scored[pair][method] = known
    found = {}
    for pair, of_pair in sorted(scored.items()):
        others = [method for method in of_pair if method not in ALL_METHODS]
        mine = {m: of_pair[m] for m in (TUNED, *METHODS, *others) if m in of_pair}
        before = next(iter(mine.values()))
        found[pair] = ClassScores(
            _average_classes([o.test_before.per_class for o in before if o.test_before]),
            {m: _average_classes([o.test.per_class for o in these]) for m, these in mine.items()},
        )
    return found


def _measure_comparison(results: CampaignResults) -> dict[MethodCase, dict[str, Any]]:
    found: dict[MethodCase, dict[str, Any]] = {}
    for case, rows in results.compared.items():
        if means := _average_outcomes(_list_outcomes(rows)):
            complete = means["replicates"] >= results.campaign.replicates
            found[case] = {**means, "source": "compare", "complete": complete}
    return found


def _measure_tuning(
    results: CampaignResults, best: pd.DataFrame
) -> dict[MethodCase, dict[str, Any]]:
    searched = dict(zip(list_pairs(best), best["complete"], strict=True))
    found: dict[MethodCase, dict[str, Any]] = {}
    for pair, method, outcomes in _select_tuned(results, best):
        if means := _average_outcomes(outcomes):
            done = means["replicates"] >= results.campaign.replicates
            complete = bool(searched[pair]) if method == TUNED else done
            found[MethodCase(pair, "student", method)] = {
                **means,
                "source": "tune",
                "complete": complete,
            }
    return found | _measure_methods(results)


def _measure_methods(results: CampaignResults) -> dict[MethodCase, dict[str, Any]]:
    """The methods with parameters of their own, at each pair's selected setting."""
    found: dict[MethodCase, dict[str, Any]] = {}
    for pair, method, rows in _list_searches(results):
        chosen = find_best_setting(
            average_settings(rows, method, results.campaign), results.selected_gain
        )
        if chosen and (means := _average_outcomes(chosen.outcomes)):
            done = sum(row.state == "COMPLETE" for row in rows)
            found[MethodCase(pair, chosen.transfer_set, name_tuned(method))] = {
                **means,
                "source": "tune",
                "complete": done >= max(1, count_search_trials(results.campaign, method)),
            }
    return found


def _list_searches(results: CampaignResults) -> list[tuple[Pair, str, list[TrialRow]]]:
    return [
        (pair, method, rows)
        for pair, searches in results.searched.items()
        for method, rows in searches.items()
    ]


def _select_tuned(
    results: CampaignResults, best: pd.DataFrame
) -> list[tuple[Pair, str, list[Outcome]]]:
    """The outcomes at each pair's selected point (``tuned``) and at its vanilla point."""
    selected = zip(best["temperature"], best["alpha"], strict=True)
    chosen = {
        pair: (float(temperature), float(alpha))
        for pair, (temperature, alpha) in zip(list_pairs(best), selected, strict=True)
    }
    found = []
    for pair, rows in results.candidates.items():
        points = {TUNED: chosen.get(pair), "vanilla": results.campaign.tune.vanilla_point}
        if not tunes_points(results.campaign) and len(results.points[pair]) < 2:
            del points[TUNED]  # vanilla alone was run, as what all is compared with
        for method, point in points.items():
            there = [row for row in rows if point is not None and read_point(row) == point]
            found.append((pair, method, _list_outcomes(there)))
    return found


def _list_outcomes(rows: Sequence[TrialRow]) -> list[Outcome]:
    return [row.outcome for row in rows if row.state == "COMPLETE" and row.outcome is not None]


def _average_outcomes(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over replicates; empty where none has gains (a damaged record is not a zero)."""
    kept = [
        [read_number(getattr(o, key)) for key in GAIN_MEASURES]
        for o in outcomes
        if all(math.isfinite(read_number(getattr(o, key))) for key in GAIN_MEASURES[:2])
    ]
    if not kept:
        return {}
    columns = dict(zip(GAIN_MEASURES, zip(*kept, strict=True), strict=True))
    means = {key: math.fsum(values) / len(values) for key, values in columns.items()}
    sd = compute_sd(columns["test_gain"])
    return {**means, "replicates": len(kept), "test_gain_sd": sd}


def _average_classes(scores: Sequence[Sequence[float | None]]) -> ClassAccuracies:
    """Percent by class, over the replicates that have it."""
    means: ClassAccuracies = []
    for values in zip(*scores, strict=False):
        known = [value for value in values if value is not None]
        means.append(100 * math.fsum(known) / len(known) if known else None)
    return means


def _order_case(case: MethodCase, campaign: Campaign) -> tuple[Any, ...]:
    """Orders of the campaign first; what only the store knows comes after, by name."""
    names: list[tuple[Sequence[str], str]] = [
        ([p.name for p in campaign.partitions], case.pair.partition),
        (TRANSFER_SETS, case.transfer_set),
        (ALL_METHODS, case.method),
    ]
    part, transfer, method = (
        (order.index(name) if name in order else len(order), name) for order, name in names
    )
    return (part, case.pair.teacher, case.pair.student, transfer, method)
