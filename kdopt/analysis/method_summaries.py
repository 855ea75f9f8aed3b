"""What the method comparison shows, summed up, and the distributions that its figures draw.

Paper, section IV. Every table here is made from the method gains
(:func:`kdopt.analysis.method_gains.tabulate_method_gains`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.method_gains import (
    TEACHER_GROUPS,
    list_partitions,
    pivot_methods,
    select_own,
    select_teachers,
)
from kdopt.analysis.stats import (
    TIE_DECIMALS,
    Booleans,
    Floats,
    average,
    average_column,
    correlate_ranks,
    estimate,
    estimate_mean,
    estimate_share,
)
from kdopt.analysis.tuned_methods import TUNED
from kdopt.campaign.stage_settings import METHODS
from kdopt.outcome import Pair

TRANSFER_COLUMNS = (
    "partition", "transfer_set", "method", "n", "positive_rate", "rate_low", "rate_high",
    "mean_positive", "positive_low", "positive_high", "mean_negative", "negative_low",
    "negative_high", "mean_gain", "low", "high", "cumulative_gain",
)  # fmt: skip
LEARNING_COLUMNS = (
    "partition", "teacher_kind", "method", "n", "learning", "learning_low", "learning_high",
    "forgetting", "forgetting_low", "forgetting_high",
)  # fmt: skip
TEACHER_COLUMNS = ("partition", "method", "student", "teacher", "share", "accuracy", "place", "top")
TEACHER_COUNT_COLUMNS = ("partition", "method", "participant", "accuracy", "times_best", "students")
TEACHER_CORRELATION_COLUMNS = ("partition", "method", "correlation", "participants", "students")
RATIO_COLUMNS = (
    "partition", "tuned_gain", "best_method", "best_gain", "difference", "low", "high", "ratio",
    "ratio_low", "ratio_high", "control_gain", "net_ratio", "net_ratio_low", "net_ratio_high", "n",
)  # fmt: skip
LEAST_DENOMINATOR_PP = 1e-6

NON_IID = "mean of the non-IID partitions"


class _Block(NamedTuple):
    """One partition's part in a table of gains.

    Attributes:
        lines: (lines,), true for its pairs.
        gains: (its pairs, methods), pp; tuned first.
        control: (its pairs,), what the student gains without the teacher; NaN where unknown.
    """

    lines: Booleans
    gains: Floats
    control: Floats


def summarise_transfers(gains: pd.DataFrame) -> pd.DataFrame:
    """One line per (partition, transfer set, method) with data, in the order of ``gains``.

    A transfer is positive when the accuracy gain is above 0. ``positive_rate`` is the share in
    percent of pairs that gain on test; ``mean_positive`` and ``mean_negative`` are the mean test
    gains (pp) of the pairs above and below 0, NaN where there is none. Each has its 95 % interval
    beside it (that of ``mean_gain`` is ``low``, ``high``), see :mod:`kdopt.analysis.stats`.
    ``cumulative_gain`` is the sum over pairs, pp: Fig. 3 shows a "cumulative accuracy
    gain", and the paper does not say whether that is a sum or a distribution.
    """
    lines: list[dict[str, object]] = []
    keys = ["partition", "transfer_set", "method"]
    for key, table in gains.groupby(keys, sort=False):
        # Rounded as ties among points are: float noise around 0 is no transfer.
        values = table["test_gain"].round(TIE_DECIMALS)
        mean, positive, negative = (
            estimate_mean(table, values.where(chosen))
            for chosen in (values.notna(), values > 0, values < 0)
        )
        rate = estimate_share(table, values > 0)
        lines.append(
            {
                **dict(zip(keys, key, strict=True)),
                "n": len(values),
                **rate.name_columns("positive_rate", "rate_low", "rate_high"),
                **positive.name_columns("mean_positive", "positive_low", "positive_high"),
                **negative.name_columns("mean_negative", "negative_low", "negative_high"),
                **mean.name_columns("mean_gain", "low", "high"),
                "cumulative_gain": math.fsum(values),
            }
        )
    # Methods of the comparison and of the tuning are met at different lines; their order is not.
    table = pd.DataFrame(lines, columns=list(TRANSFER_COLUMNS))
    ranks = {key: {v: i for i, v in enumerate(gains[key].unique())} for key in keys[:2]}
    order = table.assign(**{key: table[key].map(ranks[key]) for key in keys[:2]})
    return table.loc[order.sort_values(keys[:2], kind="stable").index].reset_index(drop=True)


def summarise_learning(gains: pd.DataFrame) -> pd.DataFrame:
    """Mean learning and forgetting (pp, test) on the student's own data.

    One line per partition, kind of teacher and method.

    The paper's Fig. 7 shows weak and strong teachers; see
    :data:`~kdopt.analysis.method_gains.TEACHER_GROUPS`, which overlap. Intervals are those of
    :mod:`kdopt.analysis.stats`.
    """
    known = select_own(gains).dropna(subset=["learning", "forgetting"])
    lines: list[dict[str, object]] = []
    for partition in list_partitions(known):
        for kind in TEACHER_GROUPS:
            chosen = select_teachers(known[known["partition"] == partition], kind)
            for method, table in chosen.groupby("method", sort=False):
                line: dict[str, object] = {
                    "partition": partition,
                    "teacher_kind": kind,
                    "method": method,
                    "n": len(table),
                }
                for key in ("learning", "forgetting"):
                    found = estimate_mean(table, table[key])
                    line |= found.name_columns(key, f"{key}_low", f"{key}_high")
                lines.append(line)
    return pd.DataFrame(lines, columns=list(LEARNING_COLUMNS))


def find_best_teachers(gains: pd.DataFrame) -> pd.DataFrame:
    """One line per student, method and best teacher; ties share the student.

    The best teacher gives a student its greatest test gain on its own data (section IV-D).
    ``share`` is 1, or 1/k for each of k tied teachers. ``place`` says where the teacher stands
    among the student's measured teachers by accuracy: 0 is the least accurate, 1 the most accurate,
    0.5 what an even choice gives on average (NaN where there is no other teacher to compare with).
    ``top`` is 1 for the most accurate teacher(s), else 0.
    """
    chosen = select_own(gains[gains["test_gain"].notna()])
    # All students at once: hundreds of little frames would take longer than anything else here.
    keys = [chosen[key] for key in ("partition", "method", "student")]
    gain, accuracy = (chosen[k].round(TIE_DECIMALS) for k in ("test_gain", "teacher_accuracy"))
    by_gain, by_accuracy = (column.groupby(keys, sort=False) for column in (gain, accuracy))
    best = gain == by_gain.transform("max")
    size = by_gain.transform("size")
    table = pd.DataFrame(
        {
            **chosen[["partition", "method", "student", "teacher"]],
            "share": 1 / best.groupby(keys, sort=False).transform("sum"),
            "accuracy": accuracy,
            "place": (by_accuracy.rank() - 1) / (size - 1).where(size > 1),
            "top": (accuracy == by_accuracy.transform("max")).astype(float).where(accuracy.notna()),
            "group": by_gain.ngroup(),
        }
    )
    table = table[best].sort_values("group", kind="stable", ignore_index=True)
    return table[list(TEACHER_COLUMNS)]


def count_best_teachers(gains: pd.DataFrame) -> pd.DataFrame:
    """How often each participant is the best teacher; counts sum to the number of students.

    One line per (partition, method, participant who taught anyone), with the participant's test
    accuracy in percent before distillation.
    """
    best = find_best_teachers(gains)
    lines: list[tuple[object, ...]] = []
    for (partition, method), table in select_own(gains).groupby(
        ["partition", "method"], sort=False
    ):
        mine = best[(best["partition"] == partition) & (best["method"] == method)]
        taught = table.drop_duplicates("teacher").sort_values("teacher")
        for teacher, accuracy in zip(taught["teacher"], taught["teacher_accuracy"], strict=True):
            times = math.fsum(mine.loc[mine["teacher"] == teacher, "share"])
            students = int(mine["student"].nunique())
            lines.append((partition, method, int(teacher), float(accuracy), times, students))
    return pd.DataFrame(lines, columns=list(TEACHER_COUNT_COLUMNS))


def correlate_accuracies(counts: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of being the best teacher with accuracy.

    One line per (partition, method) of :func:`count_best_teachers`; NaN where either is constant.
    """
    lines: list[tuple[object, ...]] = []
    for (partition, method), table in counts.groupby(["partition", "method"], sort=False):
        known = table.dropna(subset=["accuracy"]).round(TIE_DECIMALS)
        value = math.nan
        if len(known) > 1:
            value = correlate_ranks(known["times_best"], known["accuracy"])
        lines.append((partition, method, value, len(known), int(table["students"].max())))
    return pd.DataFrame(lines, columns=list(TEACHER_CORRELATION_COLUMNS))


def compute_tuning_ratios(gains: pd.DataFrame) -> pd.DataFrame:
    """By how much tuning beats the best untuned method: the ratio of the abstract, and pp.

    One line per partition, all its draws together, that has tuned and untuned pairs, then the mean
    over non-IID ones. The paper's second version claims that tuning raises accuracy gains by 16 %
    (uniform) and by 139 % on average over the non-IID partitions, against the best approach without
    tuning. Its formula is not given; here it is (mean tuned - best mean)/abs(best mean), per
    partition, on the student's data. The denominator may be near 0 or negative, so the ratio is
    never shown without the pp.

    ``difference`` is in pp and ``ratio`` in percent, each with its 95 % interval; the best method
    is chosen anew whenever a participant is left out. ``net_ratio`` is the same of net gains: the
    control's gain, which needs no teacher, is taken off both.
    """
    own = select_own(gains)
    control = own.drop_duplicates(list(Pair._fields)).set_index(list(Pair._fields))["control_gain"]
    table = pivot_methods(own).join(control, on=list(Pair._fields))
    chosen: dict[str, tuple[pd.DataFrame, list[str]]] = {}
    for name in map(str, gains["family"].unique()):
        here = table[table["family"] == name]
        run = [m for m in METHODS if here[m].notna().any()]
        block = here.dropna(subset=[TUNED, *run])
        if run and len(block):
            chosen[name] = (block, [TUNED, *run])
    lines = [_compare_tuning(name, {name: chosen[name]}) for name in chosen]
    # The paper averages over the non-IID partitions only.
    if skewed := {name: block for name, block in chosen.items() if name != "uniform"}:
        lines.append(_compare_tuning(NON_IID, skewed))
    return pd.DataFrame(lines, columns=list(RATIO_COLUMNS))


def _compare_tuning(
    name: str, chosen: Mapping[str, tuple[pd.DataFrame, Sequence[str]]]
) -> dict[str, object]:
    """One line: means over the partitions of what tuning gives in each."""
    table = pd.concat([pairs for pairs, _ in chosen.values()])
    blocks = [
        _Block(
            (table["family"] == family).to_numpy(),
            pairs[methods].to_numpy(dtype=float),
            pairs["control_gain"].to_numpy(dtype=float),
        )
        for family, (pairs, methods) in chosen.items()
    ]
    equal = np.ones((1, len(table)))
    tuned, best, control = np.mean([_average_block(equal, block) for block in blocks], axis=0)
    difference = estimate(lambda w: _average_over(blocks, w, _compute_lead), table)
    ratio = estimate(lambda w: _average_over(blocks, w, _compute_ratio), table)
    net_ratio = estimate(lambda w: _average_over(blocks, w, _compute_net_ratio), table)
    return {
        "partition": name,
        "tuned_gain": float(tuned[0]),
        "best_method": _find_best_untuned(*chosen[name]) if name in chosen else "",
        "best_gain": float(best[0]),
        **difference.name_columns("difference", "low", "high"),
        **ratio.name_columns("ratio", "ratio_low", "ratio_high"),
        "control_gain": float(control[0]),
        **net_ratio.name_columns("net_ratio", "net_ratio_low", "net_ratio_high"),
        "n": len(table),
    }


def _find_best_untuned(pairs: pd.DataFrame, methods: Sequence[str]) -> str:
    return max(methods[1:], key=lambda method: average_column(pairs, method))


def _average_block(weights: Floats, block: _Block) -> tuple[Floats, Floats, Floats]:
    """Mean gain of tuned, of the best of the others, and of the control, per line of weights."""
    means = average(weights[:, block.lines], block.gains)
    return means[:, 0], means[:, 1:].max(axis=1), average(weights[:, block.lines], block.control)


def _average_over(
    blocks: Sequence[_Block], weights: Floats, compare: Callable[[Floats, Floats, Floats], Floats]
) -> Floats:
    found: Floats = np.mean([compare(*_average_block(weights, b)) for b in blocks], axis=0)
    return found


def _compute_lead(tuned: Floats, best: Floats, _control: Floats) -> Floats:
    return tuned - best


def _compute_net_ratio(tuned: Floats, best: Floats, control: Floats) -> Floats:
    return _compute_ratio(tuned - control, best - control, control)


def _compute_ratio(tuned: Floats, best: Floats, _control: Floats) -> Floats:
    size = np.abs(best)
    found: Floats = np.full(len(size), np.nan)
    np.divide(100 * (tuned - best), size, out=found, where=size > LEAST_DENOMINATOR_PP)
    return found


class Ecdf(NamedTuple):
    """Share of values that are at most each value.

    Attributes:
        values: Ascending.
        shares: In (0, 1], ending at 1.
    """

    values: list[float]
    shares: list[float]


class Box(NamedTuple):
    """A distribution in five numbers; whiskers are the 5th and 95th percentile."""

    low: float
    q1: float
    median: float
    q3: float
    high: float


def compute_ecdf(values: pd.Series[float]) -> Ecdf:
    """The empirical distribution; NaN values are left out."""
    ordered = sorted(float(v) for v in values.dropna())
    return Ecdf(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))])


def compute_box(values: pd.Series[float]) -> Box:
    """The five numbers of a box; there must be at least one value."""
    return Box(*(float(q) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])))
