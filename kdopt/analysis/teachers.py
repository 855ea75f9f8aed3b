"""Who is the best teacher, and how far a participant's accuracy decides that (paper, Fig. 5)."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.analysis.compare import partitions_of
from kdopt.analysis.paper.contrast import spearman

CHOICE_COLUMNS = ("partition", "method", "student", "teacher", "share", "accuracy", "place", "top")
COUNT_COLUMNS = ("partition", "method", "participant", "accuracy", "times_best", "students")
CORRELATION_COLUMNS = ("partition", "method", "correlation", "participants", "students")


def best_teachers(gains: pd.DataFrame, transfer_set: str = "student") -> pd.DataFrame:
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
    return table[list(CHOICE_COLUMNS)]


def best_teacher_counts(gains: pd.DataFrame, transfer_set: str = "student") -> pd.DataFrame:
    """How often each participant is the best teacher; counts sum to the number of students.

    One line per (partition, method, participant who taught anyone), with the participant's test
    accuracy in percent before distillation.
    """
    chosen = gains[gains["transfer_set"] == transfer_set]
    best = best_teachers(gains, transfer_set)
    lines: list[tuple[object, ...]] = []
    for (partition, method), table in chosen.groupby(["partition", "method"], sort=False):
        mine = best[(best["partition"] == partition) & (best["method"] == method)]
        taught = table.drop_duplicates("teacher").sort_values("teacher")
        for teacher, accuracy in zip(taught["teacher"], taught["teacher_accuracy"], strict=True):
            times = math.fsum(mine.loc[mine["teacher"] == teacher, "share"])
            students = int(mine["student"].nunique())
            lines.append((partition, method, int(teacher), float(accuracy), times, students))
    return pd.DataFrame(lines, columns=list(COUNT_COLUMNS))


def accuracy_correlations(counts: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of being the best teacher with accuracy.

    One line per (partition, method) of :func:`best_teacher_counts`; NaN where either is constant.
    """
    lines: list[tuple[object, ...]] = []
    for partition in partitions_of(counts):
        here = counts[counts["partition"] == partition]
        for method, table in here.groupby("method", sort=False):
            known = table.dropna(subset=["accuracy"]).round(TIE_DECIMALS)
            value = math.nan
            if len(known) > 1:
                numbers = [
                    known[[key]].to_numpy(dtype=float).T for key in ("times_best", "accuracy")
                ]
                value = float(spearman(*numbers)[0])
            students = int(table["students"].max())
            lines.append((partition, method, value, len(known), students))
    return pd.DataFrame(lines, columns=list(CORRELATION_COLUMNS))
