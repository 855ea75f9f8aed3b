"""Who is the best teacher, and how far a participant's accuracy decides that (paper, Fig. 5)."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS
from kdopt.analysis.compare import partitions_of
from kdopt.analysis.contrast import spearman

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
    lines: list[tuple[object, ...]] = []
    for key, table in chosen.groupby(["partition", "method", "student"], sort=False):
        rounded = table["test_gain"].round(TIE_DECIMALS)
        accuracy = table["teacher_accuracy"].round(TIE_DECIMALS)
        places = (accuracy.rank() - 1) / (len(table) - 1) if len(table) > 1 else accuracy * math.nan
        for index in table.index[rounded == rounded.max()]:
            own = float(accuracy[index])
            top = math.nan if math.isnan(own) else float(own == accuracy.max())
            share = 1 / int((rounded == rounded.max()).sum())
            teacher = int(table.loc[index, "teacher"])
            lines.append((*key, teacher, share, own, float(places[index]), top))
    return pd.DataFrame(lines, columns=list(CHOICE_COLUMNS))


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
