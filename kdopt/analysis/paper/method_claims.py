"""Claims C1 to C4, C11 and C12 (paper, section IV): methods, best teachers, what they teach."""

from __future__ import annotations

import math

import pandas as pd
from scipy.special import chdtrc, chndtr

from kdopt.analysis.method_gains import ALL_METHODS, STRONG, WEAK, select_teachers
from kdopt.analysis.paper.judging import (
    COMPARABLE_PP,
    LARGE_SET,
    SMALL_SET,
    Claim,
    Contrast,
    build_claim,
    contrast_means,
    contrast_with_rivals,
    list_families,
    make_contrast,
    make_empty_contrast,
    select_families,
    select_net_gains,
)
from kdopt.analysis.stats import (
    LEAST_UNITS,
    TIE_DECIMALS,
    Floats,
    average,
    average_column,
    estimate,
    estimate_share,
)
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuned_methods import TUNED
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS, TransferName

SETS_WITH_LABELS: tuple[TransferName, ...] = ("student", "public_labeled")
UNLABELED_SETS: tuple[TransferName, ...] = (SMALL_SET, LARGE_SET)
PAIR = ["partition", "teacher", "student"]
OFTEN_PERCENT = 50.0
"""More than this share of pairs is often; the paper gives no number."""
OTHER_THAN_TOP_PERCENT = 10.0
"""Share (%) of students whose best teacher is not the most accurate one, beyond which accuracy
alone does not decide; the paper gives no threshold."""
UNEVEN = 1.0
"""Squared deviation from an even spread (w squared) as if half of the teachers were never best."""
EVEN_CHOICE = 0.5
LABEL_SKEW = ("label_chunks", "label_dirichlet")


def judge_larger_sets_transfer_more(tables: Tables) -> Claim:
    """C1: positive parts of the gains, large minus small set, pair by pair.

    The positive part max(0, gain) is averaged over all pairs: to look only at pairs that gained
    would let noise choose the pairs.
    """
    untuned = tables.method_gains[tables.method_gains["method"].isin(METHODS)]
    table = untuned.pivot(index=[*PAIR, "method"], columns="transfer_set", values="test_gain")
    table = table.reindex(columns=[SMALL_SET, LARGE_SET]).astype(float).dropna()
    rise = table.clip(lower=0)[LARGE_SET] - table.clip(lower=0)[SMALL_SET]
    fall = (-table).clip(lower=0)[LARGE_SET] - (-table).clip(lower=0)[SMALL_SET]
    of_dml = fall[fall.index.get_level_values("method") == "dml"]
    per_pair, dml = (
        values.groupby(level=PAIR).mean().rename("value").reset_index() for values in (rise, of_dml)
    )
    return build_claim(
        tables.campaign,
        1,
        "A larger transfer set makes positive transfers better, and for DML also the negative "
        "ones worse.",
        [
            contrast_means(
                "positive part of the gain, large - small unlabeled set, mean over methods",
                per_pair,
                per_pair["value"],
            ),
            contrast_means(
                "DML: size of the negative part, large - small unlabeled set", dml, dml["value"]
            ),
        ],
        remark="The small set is part of the large one, so they differ in size only.",
        transfer_sets=(SMALL_SET, LARGE_SET),
    )


def judge_dml_needs_labels(tables: Tables) -> Claim:
    """C2: DML against the best of the others with labels, against the worst without."""
    contrasts: list[Contrast] = []
    for name in SETS_WITH_LABELS:
        weak = select_teachers(tables.pivot_methods(name), WEAK)
        where = f"weak teachers, {name}"
        contrasts += contrast_with_rivals(weak, "dml", ("vanilla", "dp_kd"), where)
    net, gain = select_net_gains(tables, "student")
    weak = select_teachers(net, WEAK)
    contrasts.append(contrast_means(f"weak teachers, student: dml, {gain}", weak, weak["dml"]))
    for name in UNLABELED_SETS:
        table, where = tables.pivot_methods(name), f"all teachers, {name}"
        contrasts += contrast_with_rivals(table, "dml", ("vanilla", "dp_kd"), where, sign=-1)
        known = table.dropna(subset=["dml"])
        negative = estimate_share(known, known["dml"].round(TIE_DECIMALS) < 0)
        label = f"{where}: pairs that lose by dml"
        contrasts.append(make_contrast(label, negative, OFTEN_PERCENT, unit="%"))
    return build_claim(
        tables.campaign,
        2,
        "With labels DML is the best of the untuned methods for weak teachers, and on the "
        "student's data it gains from them; without labels it is the worst and often negative.",
        contrasts,
        remark=f"Often means in more than {OFTEN_PERCENT:g} % of pairs.",
        transfer_sets=TRANSFER_SETS,
    )


def judge_vanilla_against_dp_kd(tables: Tables) -> Claim:
    """C3: vanilla minus DP-KD on each transfer set that has both."""
    near = (-COMPARABLE_PP, COMPARABLE_PP)
    ranges = {
        "uniform": near,
        "quantity_skew": near,
        "label_chunks": near,
        "label_dirichlet": (0.0, math.inf),
        "specialized": (0.0, math.inf),
    }
    contrasts: list[Contrast] = []
    for name in TRANSFER_SETS:
        table = tables.pivot_methods(name).dropna(subset=["vanilla", "dp_kd"])
        for family, bounds in ranges.items():
            here = select_families(table, tables.campaign, family)
            label = f"{family}, {name}: vanilla - dp_kd"
            contrasts.append(contrast_means(label, here, here["vanilla"] - here["dp_kd"], *bounds))
        contrasts.append(_contrast_leads(tables, table, name))
    return build_claim(
        tables.campaign,
        3,
        "Vanilla KD is comparable to DP-KD on Uniform, Quantity Skew and Random Chunks, better on "
        "Label Skew Dirichlet and much better on Specialized, on all transfer sets.",
        contrasts,
        remark=f"Comparable means within {COMPARABLE_PP:g} pp; much better means more so than on "
        "Dirichlet.",
        partitions=tuple(ranges),
        transfer_sets=TRANSFER_SETS,
    )


def judge_vanilla_for_strong_teachers(tables: Tables) -> Claim:
    """C4: vanilla minus DML on the student's data, strong teachers only."""
    strong = select_teachers(tables.pivot_methods("student"), STRONG)
    # The claim names no transfer set; the student's own data are judged, the others shown.
    others = []
    for name in TRANSFER_SETS[1:]:
        pairs = select_teachers(tables.pivot_methods(name), STRONG)
        known = (pairs["vanilla"] - pairs["dml"]).dropna()
        if len(known):
            others.append(f"{name} {known.mean():.2f} pp (n = {len(known)})")
    label = "strong teachers, student data: vanilla - dml"
    contrast = contrast_means(label, strong, strong["vanilla"] - strong["dml"])
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
    the correlation of counts over participants, it is one number per student, so students are
    the units and methods are paired. Ties count with their shares.
    """
    choices, campaign = tables.best_teachers, tables.campaign
    places, tops = (_average_per_student(choices, key) for key in ("place", "top"))
    run = [m for m in ALL_METHODS if tops[m].notna().any()]
    misses = 100 * (1 - tops[run].mean(axis=1)) if run else tops["vanilla"]
    uneven = select_families(places, campaign, "quantity_skew", *LABEL_SKEW)
    contrasts = [
        contrast_means(
            "students (mean over methods) whose best teacher is not the most accurate one",
            tops,
            misses,
            OTHER_THAN_TOP_PERCENT,
            unit="%",
        ),
        *(
            contrast_means(
                f"quantity and label skew: place of the best teacher, {method}",
                uneven,
                uneven[method],
                EVEN_CHOICE,
                unit="",
            )
            for method in ("vanilla", TUNED, "dp_kd")
        ),
        *_contrast_dml_place(places[~places.index.isin(_list_uniform(places, tables).index)]),
        *(_contrast_spread(tables, method) for method in ALL_METHODS),
    ]
    return build_claim(
        campaign,
        11,
        "Accuracy alone does not decide who is the best teacher; on quantity and label skew "
        "Vanilla, Tuned and DP-KD prefer accurate ones; accuracy matters least for DML; on "
        "Uniform best teachers are spread evenly.",
        contrasts,
        remark="n counts students. The spread is that of the best teachers' counts around equal "
        f"ones: 0 is even, {UNEVEN:g} as if half of the teachers were never best; it is tested "
        f"against even chances for all. {_describe_correlations(tables)}".strip(),
        tuned=True,
        partitions=("uniform", "quantity_skew", *LABEL_SKEW),
    )


def judge_learning_against_forgetting(tables: Tables) -> Claim:
    """C12: learning and forgetting of tuned and DML against their hardest rivals."""
    campaign = tables.campaign
    gains, learning, forgetting = (
        tables.pivot_methods("student", measure)
        for measure in ("test_gain", "learning", "forgetting")
    )
    contrasts: list[Contrast] = []
    for family in list_families(campaign):
        here = select_families(learning, campaign, family)
        contrasts += contrast_with_rivals(here, TUNED, METHODS, family, measure="learning,")
    signs = {"quantity_skew": 1, "specialized": 1, "label_chunks": -1, "label_dirichlet": -1}
    for name, sign in signs.items():
        here = select_families(forgetting, campaign, name)
        first, second = ("vanilla", TUNED) if sign == 1 else (TUNED, "vanilla")
        label = f"{name}: forgetting, {first} - {second}"
        contrasts.append(contrast_means(label, here, here[first] - here[second]))
    rivals = tuple(m for m in ALL_METHODS if m != "dml")
    for measure, table in (("forgetting", forgetting), ("learning", learning)):
        contrasts += contrast_with_rivals(
            table, "dml", rivals, "all partitions", sign=-1, measure=f"{measure},"
        )
    weak = select_teachers(forgetting, WEAK)
    for method in (TUNED, "dml"):
        contrasts += contrast_with_rivals(
            weak, method, ("vanilla", "dp_kd"), "weak teachers", sign=-1, measure="forgetting,"
        )
    contrasts += _contrast_uniform(
        select_families(gains, campaign, "uniform"),
        select_families(forgetting, campaign, "uniform"),
    )
    return build_claim(
        campaign,
        12,
        "Tuned KD learns most; it forgets less on Quantity Skew and Specialized and more on "
        "Random Chunks and Dirichlet; DML forgets least and learns least; with weak teachers both "
        "forget less than Vanilla and DP-KD; on Uniform methods are alike, with a little more "
        "forgetting for DP-KD.",
        contrasts,
        remark="Less and more forgetting by partition is against Vanilla KD; alike means within "
        f"{COMPARABLE_PP:g} pp of Vanilla KD; all on the student's data.",
        tuned=True,
        partitions=("uniform", *signs),
    )


def _contrast_leads(tables: Tables, table: pd.DataFrame, transfer_set: TransferName) -> Contrast:
    """How much more vanilla leads DP-KD on Specialized than on Dirichlet."""
    label = f"specialized - label_dirichlet, {transfer_set}: lead of vanilla over dp_kd"
    both = select_families(table, tables.campaign, "specialized", "label_dirichlet")
    great = both.index.isin(select_families(both, tables.campaign, "specialized").index)
    if great.all() or not great.any():
        return make_empty_contrast(label)
    lead = (both["vanilla"] - both["dp_kd"]).to_numpy(dtype=float).round(TIE_DECIMALS)

    def compare(weights: Floats) -> Floats:
        return average(weights[:, great], lead[great]) - average(weights[:, ~great], lead[~great])

    return make_contrast(label, estimate(compare, both))


def _contrast_uniform(gains: pd.DataFrame, forgetting: pd.DataFrame) -> list[Contrast]:
    """Methods are alike on Uniform, and DP-KD forgets a little more."""
    rivals = tuple(m for m in ALL_METHODS if m != "dp_kd")
    return [
        *(
            contrast_means(
                f"uniform: gain, {method} - vanilla",
                gains,
                gains[method] - gains["vanilla"],
                -COMPARABLE_PP,
                COMPARABLE_PP,
            )
            for method in ("dml", "dp_kd", TUNED)
        ),
        *contrast_with_rivals(forgetting, "dp_kd", rivals, "uniform", measure="forgetting,"),
    ]


def _average_per_student(choices: pd.DataFrame, key: str) -> pd.DataFrame:
    """One line per (partition, student), one column per method: the mean over tied teachers."""
    weighted = choices.assign(part=choices[key].astype(float) * choices["share"].astype(float))
    keys = ["partition", "student", "method"]
    table = weighted.groupby(keys)["part"].sum(min_count=1).unstack("method")
    return table.reindex(columns=list(ALL_METHODS)).astype(float).reset_index()


def _list_uniform(table: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    return select_families(table, tables.campaign, "uniform")


def _contrast_dml_place(places: pd.DataFrame) -> list[Contrast]:
    label = "skewed partitions: place of the best teacher"
    rivals = [m for m in ALL_METHODS if m != "dml" and places[m].notna().any()]
    if not rivals:
        return [make_empty_contrast(f"{label}, others - dml", unit="")]
    return contrast_with_rivals(
        places,
        "dml",
        rivals,
        "skewed partitions",
        sign=-1,
        measure="place of the best teacher,",
        unit="",
    )


def _contrast_spread(tables: Tables, method: str) -> Contrast:
    """How unevenly a method's best teachers spread over the participants of Uniform.

    Pearson's chi squared of the counts against equal chances, with (participants - 1) degrees of
    freedom per partition; w squared is what it exceeds them by, per student.
    """
    label = f"uniform: uneven spread of the best teachers (w squared), {method}"
    counts = _list_uniform(tables.teacher_counts, tables)
    counts = counts[counts["method"] == method]
    if counts.empty:
        return make_empty_contrast(label, -math.inf, UNEVEN, unit="")
    mean = counts.groupby("partition")["times_best"].transform("mean")
    square = float(((counts["times_best"] - mean) ** 2 / mean).sum())
    freedom = len(counts) - counts["partition"].nunique()
    students = int(counts.groupby("partition")["students"].max().sum())
    value = (square - freedom) / students
    found = Contrast(label, value, math.nan, math.nan, students, "", -math.inf, UNEVEN)
    if students < LEAST_UNITS:
        return found
    return found._replace(
        inside=float(chndtr(square, freedom, UNEVEN * students)),
        outside=float(chdtrc(freedom, square)),
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
