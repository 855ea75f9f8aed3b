"""What the method comparison shows, summed up: transfers, learning, best teachers, tuning's ratio.

Paper, section IV. Every table here is made from the method gains
(:func:`kdopt.analysis.method_gains.tabulate_method_gains`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.method_gains import TEACHER_KINDS, TUNED, list_partitions, pivot_methods
from kdopt.analysis.stats import (
    RESAMPLES,
    TIE_DECIMALS,
    Floats,
    average_column,
    compute_interval,
    correlate_ranks,
    estimate_mean,
    make_generator,
)
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS

TRANSFER_COLUMNS = (
    "partition",
    "transfer_set",
    "method",
    "n",
    "positive_rate",
    "rate_low",
    "rate_high",
    "mean_positive",
    "positive_low",
    "positive_high",
    "mean_negative",
    "negative_low",
    "negative_high",
    "mean_gain",
    "low",
    "high",
    "cumulative_gain",
)
LEARNING_COLUMNS = (
    "partition",
    "teacher_kind",
    "method",
    "n",
    "learning",
    "learning_low",
    "learning_high",
    "forgetting",
    "forgetting_low",
    "forgetting_high",
)
TEACHER_COLUMNS = ("partition", "method", "student", "teacher", "share", "accuracy", "place", "top")
TEACHER_COUNT_COLUMNS = ("partition", "method", "participant", "accuracy", "times_best", "students")
TEACHER_CORRELATION_COLUMNS = ("partition", "method", "correlation", "participants", "students")
RATIO_COLUMNS = (
    "partition",
    "tuned_gain",
    "best_method",
    "best_gain",
    "difference",
    "low",
    "high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "n",
)
LEAST_DENOMINATOR_PP = 1e-6

NON_IID = "mean of the non-IID partitions"


class _SampledMeans(NamedTuple):
    """Tuned mean and means of the others, of the data (line 0) and of each resample, pp."""

    tuned: Floats
    best: Floats

    @property
    def difference(self) -> Floats:
        return self.tuned - self.best

    @property
    def ratio(self) -> Floats:
        size = np.abs(self.best)
        known = size > LEAST_DENOMINATOR_PP
        found = np.full(len(size), np.nan)
        found[known] = 100 * self.difference[known] / size[known]
        return found


def summarise_transfers(gains: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """One line per (partition, transfer set, method) with data, in the order of ``gains``.

    A transfer is positive when the accuracy gain is above 0. ``positive_rate`` is the share in
    percent of pairs that gain on test; ``mean_positive`` and ``mean_negative`` are the mean test
    gains (pp) of the pairs above and below 0, NaN where there is none. Each has its 95 % interval
    over pairs beside it (that of ``mean_gain`` is ``low``, ``high``), NaN for fewer than two
    pairs. ``cumulative_gain`` is the sum over pairs, pp: Fig. 3 shows a "cumulative accuracy
    gain", and the paper does not say whether that is a sum or a distribution.
    """
    lines: list[dict[str, object]] = []
    keys = ["partition", "transfer_set", "method"]
    for key, table in gains.groupby(keys, sort=False):
        # Rounded as ties among points are: float noise around 0 is no transfer.
        values = table["test_gain"].round(TIE_DECIMALS).to_numpy(dtype=np.float64)
        # The four share one generator, so their order is part of the numbers.
        generator = make_generator(campaign.seed, "transfer", *map(str, key))
        mean = estimate_mean(values, generator)
        rate = estimate_mean(100.0 * (values > 0), generator)
        positive = estimate_mean(values[values > 0], generator)
        negative = estimate_mean(values[values < 0], generator)
        lines.append(
            {
                **dict(zip(keys, key, strict=True)),
                "n": len(values),
                **rate.name_columns("positive_rate", "rate_low", "rate_high"),
                **positive.name_columns("mean_positive", "positive_low", "positive_high"),
                **negative.name_columns("mean_negative", "negative_low", "negative_high"),
                **mean.name_columns("mean_gain", "low", "high"),
                "positive_rate": 100 * float((values > 0).mean()),
                "cumulative_gain": math.fsum(values),
            }
        )
    # Methods of the comparison and of the tuning are met at different lines; their order is not.
    table = pd.DataFrame(lines, columns=list(TRANSFER_COLUMNS))
    ranks = {key: {v: i for i, v in enumerate(gains[key].unique())} for key in keys[:2]}
    order = table.assign(**{key: table[key].map(ranks[key]) for key in keys[:2]})
    return table.loc[order.sort_values(keys[:2], kind="stable").index].reset_index(drop=True)


def summarise_learning(
    gains: pd.DataFrame, campaign: Campaign, transfer_set: str = "student"
) -> pd.DataFrame:
    """Mean learning and forgetting (pp, test), one line per partition, kind and method.

    The paper's Fig. 7 shows weak and strong teachers; those within the band are a kind of their
    own here, so that no pair is dropped silently. Intervals are 95 % over pairs.
    """
    known = gains[(gains["transfer_set"] == transfer_set)].dropna(subset=["learning", "forgetting"])
    lines: list[dict[str, object]] = []
    for partition in list_partitions(known):
        for kind in TEACHER_KINDS:
            chosen = known[(known["partition"] == partition) & (known["teacher_kind"] == kind)]
            for method, table in chosen.groupby("method", sort=False):
                line: dict[str, object] = {
                    "partition": partition,
                    "teacher_kind": kind,
                    "method": method,
                    "n": len(table),
                }
                for key in ("learning", "forgetting"):
                    generator = make_generator(campaign.seed, key, partition, kind, str(method))
                    estimate = estimate_mean(table[key], generator)
                    line |= estimate.name_columns(key, f"{key}_low", f"{key}_high")
                lines.append(line)
    return pd.DataFrame(lines, columns=list(LEARNING_COLUMNS))


def find_best_teachers(gains: pd.DataFrame, transfer_set: str = "student") -> pd.DataFrame:
    """One line per student, method and best teacher; ties share the student.

    The best teacher gives a student its greatest test gain (paper, section IV-D). ``share`` is 1,
    or 1/k for each of k tied teachers. ``place`` says where the teacher stands among the
    student's measured teachers by accuracy: 0 is the least accurate, 1 the most accurate, 0.5
    what an even choice gives on average (NaN where there is no other teacher to compare with).
    ``top`` is 1 for the most accurate teacher(s), else 0.
    """
    chosen = gains[(gains["transfer_set"] == transfer_set) & gains["test_gain"].notna()]
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


def count_best_teachers(gains: pd.DataFrame, transfer_set: str = "student") -> pd.DataFrame:
    """How often each participant is the best teacher; counts sum to the number of students.

    One line per (partition, method, participant who taught anyone), with the participant's test
    accuracy in percent before distillation.
    """
    chosen = gains[gains["transfer_set"] == transfer_set]
    best = find_best_teachers(gains, transfer_set)
    lines: list[tuple[object, ...]] = []
    for (partition, method), table in chosen.groupby(["partition", "method"], sort=False):
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
    for partition in list_partitions(counts):
        here = counts[counts["partition"] == partition]
        for method, table in here.groupby("method", sort=False):
            known = table.dropna(subset=["accuracy"]).round(TIE_DECIMALS)
            value = math.nan
            if len(known) > 1:
                numbers = [
                    known[[key]].to_numpy(dtype=float).T for key in ("times_best", "accuracy")
                ]
                value = float(correlate_ranks(*numbers)[0])
            students = int(table["students"].max())
            lines.append((partition, method, value, len(known), students))
    return pd.DataFrame(lines, columns=list(TEACHER_CORRELATION_COLUMNS))


def compute_tuning_ratios(gains: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """By how much tuning beats the best untuned method: the ratio of the abstract, and pp.

    One line per partition that has tuned and untuned pairs, then the mean over non-IID ones. The
    paper's second version claims that tuning raises accuracy gains by 16 % (uniform) and by 139 %
    on average over the non-IID partitions, against the best approach without tuning. Its formula
    is not given; here it is (mean tuned - best mean)/abs(best mean), per partition, on the
    student's data. The denominator may be near 0 or negative, so the ratio is never shown without
    the pp.

    ``difference`` is in pp and ``ratio`` in percent, each with its 95 % bootstrap interval; pairs
    are resampled with all their methods, and the best method is chosen anew in every resample.
    """
    table = pivot_methods(gains[gains["transfer_set"] == "student"])
    lines: list[tuple[object, ...]] = []
    skewed: list[_SampledMeans] = []
    n_skewed = 0
    for name in list_partitions(gains):
        here = table[table["partition"] == name]
        run = [m for m in METHODS if here[m].notna().any()]
        block = here.dropna(subset=[TUNED, *run])
        if not run or block.empty:
            continue
        sampled = _resample_means(block, run, campaign, name)
        best = max(run, key=lambda m: average_column(block, m))
        lines.append(_make_ratio_line(name, [sampled], best, len(block)))
        # The paper averages over the non-IID partitions only.
        if name != "uniform":
            skewed.append(sampled)
            n_skewed += len(block)
    if skewed:
        lines.append(_make_ratio_line(NON_IID, skewed, "", n_skewed))
    return pd.DataFrame(lines, columns=list(RATIO_COLUMNS))


def _resample_means(
    block: pd.DataFrame, run: Sequence[str], campaign: Campaign, name: str
) -> _SampledMeans:
    generator = make_generator(campaign.seed, "ratios", name)
    drawn = generator.integers(0, len(block), size=(RESAMPLES, len(block)))
    if len(block) < 2:
        drawn = drawn[:0]  # one pair has no spread to show
    means = {
        method: np.concatenate([[values.mean()], values[drawn].mean(axis=1)])
        for method in (TUNED, *run)
        for values in [block[method].to_numpy(dtype=np.float64)]
    }
    return _SampledMeans(means[TUNED], np.max([means[method] for method in run], axis=0))


def _make_ratio_line(
    name: str, sampled: list[_SampledMeans], best: str, n: int
) -> tuple[object, ...]:
    length = min(len(s.tuned) for s in sampled)
    numbers = {
        key: np.mean([getattr(s, key)[:length] for s in sampled], axis=0)
        for key in ("tuned", "best", "difference", "ratio")
    }
    return (
        name,
        float(numbers["tuned"][0]),
        best,
        float(numbers["best"][0]),
        float(numbers["difference"][0]),
        *compute_interval(numbers["difference"][1:]),
        float(numbers["ratio"][0]),
        *compute_interval(numbers["ratio"][1:]),
        n,
    )
