"""Claims C11 and C12 (paper, sections IV-D and IV-E): best teachers, learning, forgetting."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.compare import ALL_METHODS, TUNED, mean_of
from kdopt.analysis.paper.contrast import Contrast, against_best, mean_contrast, no_data
from kdopt.analysis.paper.evidence import Claim, Evidence, claim
from kdopt.analysis.teachers import accuracy_correlations, best_teacher_counts, best_teachers
from kdopt.campaign.stage_settings import METHODS

OTHER_THAN_TOP = 10.0
"""Share (%) of students whose best teacher is not the most accurate one, beyond which accuracy
alone does not decide; the paper gives no threshold."""
EVEN = (0.35, 0.65)
"""Mean place of the best teacher that still counts as an even spread (0.5 is even)."""


def accuracy_alone_does_not_decide(evidence: Evidence) -> Claim:
    """C11: where the best teacher stands by accuracy among the teachers of a student.

    A student's best teacher has a place between 0 (least accurate) and 1 (most accurate). Unlike
    the correlation of counts over participants, it is one number per student, so students can be
    resampled and methods paired. Ties count with their shares.
    """
    choices = best_teachers(evidence.gains)
    places = _per_student(choices, "place")
    tops = _per_student(choices, "top")
    skewed = places[places["partition"] != "uniform"]
    uniform = places[places["partition"] == "uniform"]
    campaign = evidence.campaign
    run = [m for m in ALL_METHODS if tops[m].notna().any()]
    misses = 100 * (1 - tops[run].mean(axis=1)) if run else pd.Series(dtype=float)
    contrasts = [
        mean_contrast(
            "students (mean over methods) whose best teacher is not the most accurate one",
            misses,
            campaign,
            OTHER_THAN_TOP,
            unit="%",
        ),
        *_dml_least(evidence, skewed),
        mean_contrast(
            "uniform: mean place of the best teacher by accuracy, mean over methods",
            uniform[list(ALL_METHODS)].mean(axis=1),
            campaign,
            *EVEN,
            unit="",
        ),
    ]
    return claim(
        evidence,
        11,
        "Accuracy alone does not decide who is the best teacher; it matters least for DML; on "
        "Uniform best teachers are spread evenly.",
        contrasts,
        remark=f"n counts students. {_correlations(evidence)}".strip(),
        tuned=True,
        partitions=("uniform",),
    )


def learning_against_forgetting(evidence: Evidence) -> Claim:
    """C12: learning and forgetting of tuned and DML against their hardest rivals."""
    campaign = evidence.campaign
    learning = evidence.on("student", "learning")
    forgetting = evidence.on("student", "forgetting")
    contrasts: list[Contrast] = []
    for part in campaign.partitions:
        here = learning[learning["partition"] == part.name]
        contrasts += against_best(here, TUNED, METHODS, part.name, campaign, measure="learning,")
    signs = {"quantity_skew": 1, "specialized": 1, "label_chunks": -1, "label_dirichlet": -1}
    for name, sign in signs.items():
        here = forgetting[forgetting["partition"] == name]
        first, second = ("vanilla", TUNED) if sign == 1 else (TUNED, "vanilla")
        label = f"{name}: forgetting, {first} - {second}"
        contrasts.append(mean_contrast(label, here[first] - here[second], campaign))
    rivals = tuple(m for m in ALL_METHODS if m != "dml")
    for measure, table in (("forgetting", forgetting), ("learning", learning)):
        contrasts += against_best(
            table, "dml", rivals, "all partitions", campaign, sign=-1, measure=f"{measure},"
        )
    return claim(
        evidence,
        12,
        "Tuned KD learns most; it forgets less on Quantity Skew and Specialized and more on "
        "Random Chunks and Dirichlet; DML forgets least and learns least.",
        contrasts,
        remark="Less and more forgetting is against Vanilla KD; all on the student's data.",
        tuned=True,
        partitions=tuple(signs),
    )


def _per_student(choices: pd.DataFrame, key: str) -> pd.DataFrame:
    """One line per (partition, student), one column per method: the mean over tied teachers."""
    weighted = choices.assign(part=choices[key].astype(float) * choices["share"].astype(float))
    keys = ["partition", "student", "method"]
    table = weighted.groupby(keys)["part"].sum(min_count=1).unstack("method")
    return table.reindex(columns=list(ALL_METHODS)).astype(float).reset_index()


def _dml_least(evidence: Evidence, places: pd.DataFrame) -> list[Contrast]:
    label = "skewed partitions: place of the best teacher"
    rivals = [m for m in ALL_METHODS if m != "dml" and places[m].notna().any()]
    if not rivals:
        return [no_data(f"{label}, others - dml")]
    return against_best(
        places,
        "dml",
        rivals,
        "skewed partitions",
        evidence.campaign,
        sign=-1,
        measure="place of the best teacher,",
        unit="",
    )


def _correlations(evidence: Evidence) -> str:
    counts = best_teacher_counts(evidence.gains)
    table = accuracy_correlations(counts)
    shown = []
    for method in ALL_METHODS:
        value = mean_of(table[table["method"] == method], "correlation")
        if not math.isnan(value):
            shown.append(f"{method} {value:.2f}")
    if not shown:
        return ""
    return (
        "Not judged, Spearman's rank correlation of counts with accuracy, mean over partitions: "
        f"{', '.join(shown)}."
    )
