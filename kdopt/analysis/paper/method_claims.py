"""Claims C1 to C4, C11 and C12 (paper, section IV): methods, best teachers, what they teach."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.method_gains import ALL_METHODS, TUNED
from kdopt.analysis.paper.judging import (
    COMPARABLE_PP,
    LARGE_SET,
    SMALL_SET,
    Claim,
    Contrast,
    build_claim,
    contrast_means,
    contrast_with_rivals,
    make_empty_contrast,
)
from kdopt.analysis.stats import average_column
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS, TransferName

SETS_WITH_LABELS: tuple[TransferName, ...] = ("student", "public_labeled")
OTHER_THAN_TOP_PERCENT = 10.0
"""Share (%) of students whose best teacher is not the most accurate one, beyond which accuracy
alone does not decide; the paper gives no threshold."""
EVEN_SPREAD = (0.35, 0.65)
"""Mean place of the best teacher that still counts as an even spread (0.5 is even)."""


def judge_larger_sets_transfer_more(tables: Tables) -> Claim:
    """C1: positive parts of the gains, large minus small set, pair by pair.

    The positive part max(0, gain) is averaged over all pairs: to look only at pairs that gained
    would let noise choose the pairs.
    """
    untuned = tables.method_gains[tables.method_gains["method"].isin(METHODS)]
    keys = ["partition", "teacher", "student", "method"]
    table = untuned.pivot(index=keys, columns="transfer_set", values="test_gain")
    table = table.reindex(columns=[SMALL_SET, LARGE_SET]).astype(float).dropna()
    rise = table.clip(lower=0)[LARGE_SET] - table.clip(lower=0)[SMALL_SET]
    fall = (-table).clip(lower=0)[LARGE_SET] - (-table).clip(lower=0)[SMALL_SET]
    dml = fall[fall.index.get_level_values("method") == "dml"]
    per_pair = rise.groupby(level=keys[:3]).mean()
    return build_claim(
        tables.campaign,
        1,
        "A larger transfer set makes positive transfers better, and for DML also the negative "
        "ones worse.",
        [
            contrast_means(
                "positive part of the gain, large - small unlabeled set, mean over methods",
                per_pair,
                tables.campaign,
            ),
            contrast_means(
                "DML: size of the negative part, large - small unlabeled set",
                dml,
                tables.campaign,
            ),
        ],
        remark="The small set is part of the large one, so they differ in size only.",
        transfer_sets=(SMALL_SET, LARGE_SET),
    )


def judge_dml_needs_labels(tables: Tables) -> Claim:
    """C2: DML against the best of the others with labels, against the worst without."""
    contrasts: list[Contrast] = []
    for name in SETS_WITH_LABELS:
        table = tables.pivot_methods(name)
        weak = table[table["teacher_kind"] == "weak"]
        where = f"weak teachers, {name}"
        contrasts += contrast_with_rivals(weak, "dml", ("vanilla", "dp_kd"), where, tables.campaign)
    for name in (SMALL_SET, LARGE_SET):
        contrasts += contrast_with_rivals(
            tables.pivot_methods(name),
            "dml",
            ("vanilla", "dp_kd"),
            f"all teachers, {name}",
            tables.campaign,
            sign=-1,
        )
    return build_claim(
        tables.campaign,
        2,
        "With labels DML is the best of the untuned methods for weak teachers; without labels it "
        "is the worst.",
        contrasts,
        transfer_sets=TRANSFER_SETS,
    )


def judge_vanilla_against_dp_kd(tables: Tables) -> Claim:
    """C3: vanilla minus DP-KD per pair, averaged over the transfer sets that have both."""
    by_set = [tables.pivot_methods(name) for name in TRANSFER_SETS]
    table = pd.concat([table for table in by_set if len(table)] or by_set[:1])
    table = table.assign(ahead=table["vanilla"] - table["dp_kd"]).dropna(subset=["ahead"])
    ahead = table.groupby(["partition", "teacher", "student"])["ahead"].mean().reset_index()
    ranges = {
        "uniform": (-COMPARABLE_PP, COMPARABLE_PP),
        "quantity_skew": (-COMPARABLE_PP, COMPARABLE_PP),
        "label_chunks": (-COMPARABLE_PP, COMPARABLE_PP),
        "label_dirichlet": (0.0, float("inf")),
        "specialized": (COMPARABLE_PP, float("inf")),
    }
    return build_claim(
        tables.campaign,
        3,
        "Vanilla KD is comparable to DP-KD on Uniform, Quantity Skew and Random Chunks, better on "
        "Label Skew Dirichlet and much better on Specialized.",
        [
            contrast_means(
                f"{name}: vanilla - dp_kd, mean over transfer sets",
                ahead.loc[ahead["partition"] == name, "ahead"],
                tables.campaign,
                lower,
                upper,
            )
            for name, (lower, upper) in ranges.items()
        ],
        remark=f"Comparable means within {COMPARABLE_PP:g} pp, much better beyond it.",
        partitions=tuple(ranges),
    )


def judge_vanilla_for_strong_teachers(tables: Tables) -> Claim:
    """C4: vanilla minus DML on the student's data, strong teachers only."""
    table = tables.pivot_methods("student")
    strong = table[table["teacher_kind"] == "strong"]
    # The claim names no transfer set; the student's own data are judged, the others shown.
    others = []
    for name in TRANSFER_SETS[1:]:
        elsewhere = tables.pivot_methods(name)
        pairs = elsewhere[elsewhere["teacher_kind"] == "strong"]
        known = (pairs["vanilla"] - pairs["dml"]).dropna()
        if len(known):
            others.append(f"{name} {known.mean():.2f} pp (n = {len(known)})")
    label = "strong teachers, student data: vanilla - dml"
    contrast = contrast_means(label, strong["vanilla"] - strong["dml"], tables.campaign)
    return build_claim(
        tables.campaign,
        4,
        "With strong teachers Vanilla KD outperforms DML.",
        [contrast],
        remark=f"Not judged, on other transfer sets: {'; '.join(others)}." if others else "",
    )


def judge_accuracy_does_not_decide(tables: Tables) -> Claim:
    """C11: where the best teacher stands by accuracy among the teachers of a student.

    A student's best teacher has a place between 0 (least accurate) and 1 (most accurate). Unlike
    the correlation of counts over participants, it is one number per student, so students can be
    resampled and methods paired. Ties count with their shares.
    """
    choices = tables.best_teachers
    places = _average_per_student(choices, "place")
    tops = _average_per_student(choices, "top")
    skewed = places[places["partition"] != "uniform"]
    uniform = places[places["partition"] == "uniform"]
    campaign = tables.campaign
    run = [m for m in ALL_METHODS if tops[m].notna().any()]
    misses = 100 * (1 - tops[run].mean(axis=1)) if run else pd.Series(dtype=float)
    contrasts = [
        contrast_means(
            "students (mean over methods) whose best teacher is not the most accurate one",
            misses,
            campaign,
            OTHER_THAN_TOP_PERCENT,
            unit="%",
        ),
        *_contrast_dml_place(tables, skewed),
        contrast_means(
            "uniform: mean place of the best teacher by accuracy, mean over methods",
            uniform[list(ALL_METHODS)].mean(axis=1),
            campaign,
            *EVEN_SPREAD,
            unit="",
        ),
    ]
    return build_claim(
        campaign,
        11,
        "Accuracy alone does not decide who is the best teacher; it matters least for DML; on "
        "Uniform best teachers are spread evenly.",
        contrasts,
        remark=f"n counts students. {_describe_correlations(tables)}".strip(),
        tuned=True,
        partitions=("uniform",),
    )


def judge_learning_against_forgetting(tables: Tables) -> Claim:
    """C12: learning and forgetting of tuned and DML against their hardest rivals."""
    campaign = tables.campaign
    learning = tables.pivot_methods("student", "learning")
    forgetting = tables.pivot_methods("student", "forgetting")
    contrasts: list[Contrast] = []
    for part in campaign.partitions:
        here = learning[learning["partition"] == part.name]
        contrasts += contrast_with_rivals(
            here, TUNED, METHODS, part.name, campaign, measure="learning,"
        )
    signs = {"quantity_skew": 1, "specialized": 1, "label_chunks": -1, "label_dirichlet": -1}
    for name, sign in signs.items():
        here = forgetting[forgetting["partition"] == name]
        first, second = ("vanilla", TUNED) if sign == 1 else (TUNED, "vanilla")
        label = f"{name}: forgetting, {first} - {second}"
        contrasts.append(contrast_means(label, here[first] - here[second], campaign))
    rivals = tuple(m for m in ALL_METHODS if m != "dml")
    for measure, table in (("forgetting", forgetting), ("learning", learning)):
        contrasts += contrast_with_rivals(
            table, "dml", rivals, "all partitions", campaign, sign=-1, measure=f"{measure},"
        )
    return build_claim(
        campaign,
        12,
        "Tuned KD learns most; it forgets less on Quantity Skew and Specialized and more on "
        "Random Chunks and Dirichlet; DML forgets least and learns least.",
        contrasts,
        remark="Less and more forgetting is against Vanilla KD; all on the student's data.",
        tuned=True,
        partitions=tuple(signs),
    )


def _average_per_student(choices: pd.DataFrame, key: str) -> pd.DataFrame:
    """One line per (partition, student), one column per method: the mean over tied teachers."""
    weighted = choices.assign(part=choices[key].astype(float) * choices["share"].astype(float))
    keys = ["partition", "student", "method"]
    table = weighted.groupby(keys)["part"].sum(min_count=1).unstack("method")
    return table.reindex(columns=list(ALL_METHODS)).astype(float).reset_index()


def _contrast_dml_place(tables: Tables, places: pd.DataFrame) -> list[Contrast]:
    label = "skewed partitions: place of the best teacher"
    rivals = [m for m in ALL_METHODS if m != "dml" and places[m].notna().any()]
    if not rivals:
        return [make_empty_contrast(f"{label}, others - dml")]
    return contrast_with_rivals(
        places,
        "dml",
        rivals,
        "skewed partitions",
        tables.campaign,
        sign=-1,
        measure="place of the best teacher,",
        unit="",
    )


def _describe_correlations(tables: Tables) -> str:
    table = tables.teacher_correlations
    shown = []
    for method in ALL_METHODS:
        value = average_column(table[table["method"] == method], "correlation")
        if not math.isnan(value):
            shown.append(f"{method} {value:.2f}")
    if not shown:
        return ""
    return (
        "Not judged, Spearman's rank correlation of counts with accuracy, mean over partitions: "
        f"{', '.join(shown)}."
    )
