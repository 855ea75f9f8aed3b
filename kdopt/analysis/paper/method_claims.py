"""Claims C1 to C4 (paper, sections IV-A and IV-B): the methods with fixed settings."""

from __future__ import annotations

import pandas as pd

from kdopt.analysis.paper.contrast import (
    COMPARABLE_PP,
    Contrast,
    against_best,
    mean_contrast,
    no_data,
)
from kdopt.analysis.paper.evidence import LARGE, SETS_WITH_LABELS, SMALL, Claim, Evidence, claim
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS


def larger_sets_transfer_more(evidence: Evidence) -> Claim:
    """C1: positive parts of the gains, large minus small set, pair by pair.

    The positive part max(0, gain) is averaged over all pairs: to look only at pairs that gained
    would let noise choose the pairs.
    """
    untuned = evidence.gains[evidence.gains["method"].isin(METHODS)]
    keys = ["partition", "teacher", "student", "method"]
    table = untuned.pivot(index=keys, columns="transfer_set", values="test_gain")
    table = table.reindex(columns=[SMALL, LARGE]).astype(float).dropna()
    rise = table.clip(lower=0)[LARGE] - table.clip(lower=0)[SMALL]
    fall = (-table).clip(lower=0)[LARGE] - (-table).clip(lower=0)[SMALL]
    dml = fall[fall.index.get_level_values("method") == "dml"]
    per_pair = rise.groupby(level=keys[:3]).mean()
    return claim(
        evidence,
        1,
        "A larger transfer set makes positive transfers better, and for DML also the negative "
        "ones worse.",
        [
            mean_contrast(
                "positive part of the gain, large - small unlabeled set, mean over methods",
                per_pair,
                evidence.campaign,
            ),
            mean_contrast(
                "DML: size of the negative part, large - small unlabeled set",
                dml,
                evidence.campaign,
            ),
        ],
        remark="The small set is part of the large one, so they differ in size only.",
        transfer_sets=(SMALL, LARGE),
    )


def dml_needs_labels(evidence: Evidence) -> Claim:
    """C2: DML against the best of the others with labels, against the worst without."""
    contrasts: list[Contrast] = []
    for name in SETS_WITH_LABELS:
        table = evidence.on(name)
        weak = table[table["teacher_kind"] == "weak"]
        where = f"weak teachers, {name}"
        contrasts += against_best(weak, "dml", ("vanilla", "dp_kd"), where, evidence.campaign)
    for name in (SMALL, LARGE):
        contrasts += against_best(
            evidence.on(name),
            "dml",
            ("vanilla", "dp_kd"),
            f"all teachers, {name}",
            evidence.campaign,
            sign=-1,
        )
    return claim(
        evidence,
        2,
        "With labels DML is the best of the untuned methods for weak teachers; without labels it "
        "is the worst.",
        contrasts,
        transfer_sets=TRANSFER_SETS,
    )


def vanilla_against_dp_kd(evidence: Evidence) -> Claim:
    """C3: vanilla minus DP-KD per pair, averaged over the transfer sets that have both."""
    tables = [evidence.on(name) for name in TRANSFER_SETS]
    table = pd.concat([t for t in tables if len(t)] or tables[:1])
    table = table.assign(ahead=table["vanilla"] - table["dp_kd"]).dropna(subset=["ahead"])
    ahead = table.groupby(["partition", "teacher", "student"])["ahead"].mean().reset_index()
    ranges = {
        "uniform": (-COMPARABLE_PP, COMPARABLE_PP),
        "quantity_skew": (-COMPARABLE_PP, COMPARABLE_PP),
        "label_chunks": (-COMPARABLE_PP, COMPARABLE_PP),
        "label_dirichlet": (0.0, float("inf")),
        "specialized": (COMPARABLE_PP, float("inf")),
    }
    return claim(
        evidence,
        3,
        "Vanilla KD is comparable to DP-KD on Uniform, Quantity Skew and Random Chunks, better on "
        "Label Skew Dirichlet and much better on Specialized.",
        [
            mean_contrast(
                f"{name}: vanilla - dp_kd, mean over transfer sets",
                ahead.loc[ahead["partition"] == name, "ahead"],
                evidence.campaign,
                lower,
                upper,
            )
            for name, (lower, upper) in ranges.items()
        ],
        remark=f"Comparable means within {COMPARABLE_PP:g} pp, much better beyond it.",
        partitions=tuple(ranges),
    )


def vanilla_for_strong_teachers(evidence: Evidence) -> Claim:
    """C4: vanilla minus DML on the student's data, strong teachers only."""
    table = evidence.on("student")
    strong = table[table["teacher_kind"] == "strong"]
    others = []
    for name in TRANSFER_SETS[1:]:
        elsewhere = evidence.on(name)
        pairs = elsewhere[elsewhere["teacher_kind"] == "strong"]
        known = (pairs["vanilla"] - pairs["dml"]).dropna()
        if len(known):
            others.append(f"{name} {known.mean():.2f} pp (n = {len(known)})")
    label = "strong teachers, student data: vanilla - dml"
    contrast = mean_contrast(label, strong["vanilla"] - strong["dml"], evidence.campaign)
    return claim(
        evidence,
        4,
        "With strong teachers Vanilla KD outperforms DML.",
        [contrast if contrast.n else no_data(label)],
        remark=f"Not judged, on other transfer sets: {'; '.join(others)}." if others else "",
    )
