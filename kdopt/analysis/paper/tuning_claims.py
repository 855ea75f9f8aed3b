"""Claims C5 to C10 (paper, section IV-C): what tuning gains, and which settings it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdopt.analysis.method_gains import TUNED, classify_teacher
from kdopt.analysis.paper.judging import (
    COMPARABLE_PP,
    Claim,
    Contrast,
    build_claim,
    contrast_means,
    contrast_ranks,
    contrast_with_rivals,
    make_empty_contrast,
)
from kdopt.analysis.stats import average_column
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import METHODS

NO_PATTERN = 0.3
"""Rank correlations smaller than this are no pattern; the paper gives no margin."""
SKEWED = ("quantity_skew", "label_chunks", "label_dirichlet")


def judge_tuned_beats_all(tables: Tables) -> Claim:
    """C5: test gain of the selected cell against the best untuned method, per partition."""
    campaign = tables.campaign
    contrasts = _contrast_tuned(tables, [p.name for p in campaign.partitions])
    made = build_claim(
        campaign,
        5,
        "Tuned KD outperforms every other method in all partitions, and gains even from weak "
        "teachers.",
        contrasts,
        remark=" ".join(filter(None, (_describe_winners_curse(tables), _describe_oracle(tables)))),
        tuned=True,
    )
    # Then tuned >= vanilla holds by construction, see the remark.
    if campaign.select_on == "test" and made.verdict == "supported":
        return made._replace(verdict="inconclusive")
    return made


def judge_tuning_grows_with_gap(tables: Tables) -> Claim:
    """C6: rank correlation of the tuning gain with the absolute gap, and its mean near gap 0."""
    return build_claim(
        tables.campaign,
        6,
        "The gain from tuning grows with the accuracy gap, and is about 0 between participants of "
        "similar accuracy.",
        _contrast_growth(tables, tables.pivot_methods("student"), "all partitions"),
        remark=f"About 0 means within {COMPARABLE_PP:g} pp.",
        tuned=True,
        compared=False,
    )


def judge_settings_follow_strength(tables: Tables) -> Claim:
    """C7: best temperature rises with the gap; best alpha is on the side of the stronger model."""
    return build_claim(
        tables.campaign,
        7,
        "On Quantity Skew, Random Chunks and Dirichlet, weak teachers want a small T and alpha "
        "below 0.5, strong teachers a large T and alpha above 0.5.",
        [c for name in SKEWED for c in _contrast_settings(tables, name)],
        tuned=True,
        compared=False,
        partitions=SKEWED,
    )


def judge_specialized_wants_little(tables: Tables) -> Claim:
    """C8: on Specialized, alpha below 0.5 and T below the middle of the grid."""
    best = tables.measured_settings[tables.measured_settings["partition"] == "specialized"]
    middle = float(np.median(tables.campaign.tune.temperatures))
    return build_claim(
        tables.campaign,
        8,
        "On Specialized a low T and a low alpha are best for all pairs.",
        [
            contrast_means(
                f"specialized: mean of log2(best T / {middle:g}), the middle of the grid",
                np.log2(best["temperature"] / middle),
                tables.campaign,
                -math.inf,
                0.0,
                unit="",
            ),
            _contrast_alpha(tables, best, "specialized: mean best alpha", below=True),
        ],
        remark="With T squared in the loss, a low T also means less distillation: the teacher's "
        "gradient scales as alpha * T, so the two cannot be told apart here.",
        tuned=True,
        compared=False,
        partitions=("specialized",),
    )


def judge_uniform_has_no_pattern(tables: Tables) -> Claim:
    """C9: no rank correlation of the best settings with the gap on Uniform."""
    best = tables.measured_settings[tables.measured_settings["partition"] == "uniform"]
    return build_claim(
        tables.campaign,
        9,
        "On Uniform there is no pattern in the best T and alpha.",
        [
            contrast_ranks(
                f"uniform: rank correlation of best {key} with the accuracy gap",
                best[key],
                best["accuracy_gap"],
                tables.campaign,
                -NO_PATTERN,
                NO_PATTERN,
            )
            for key in ("temperature", "alpha")
        ],
        remark=f"No pattern means a rank correlation within {NO_PATTERN:g} of 0.",
        tuned=True,
        compared=False,
        partitions=("uniform",),
    )


def judge_cinic_agrees(tables: Tables) -> Claim:
    """C10: on CINIC-10 only, the contrasts of C5 to C7 on Random Chunks, the paper's Fig. 4."""
    paper = "CINIC-10 (Random Chunks only) agrees with CIFAR-10."
    data = tables.campaign.data.name
    if data != "cinic10":
        text = (
            f"This campaign is on {data}; whether another data set agrees cannot be seen within "
            "one campaign."
        )
        need = 'run the campaign once more with data.name = "cinic10" and compare the reports'
        return Claim("C10", paper, (), "inconclusive", text, need)
    chunks = tables.pivot_methods("student")
    chunks = chunks[chunks["partition"] == "label_chunks"]
    contrasts = [
        *_contrast_tuned(tables, ["label_chunks"]),
        *_contrast_growth(tables, chunks, "label_chunks"),
        *_contrast_settings(tables, "label_chunks"),
    ]
    return build_claim(
        tables.campaign,
        10,
        paper,
        contrasts,
        remark="Judged by the contrasts of C5, C6 and C7 on this partition; whether they came out "
        "the same on CIFAR-10 is for the reader of both reports.",
        tuned=True,
        partitions=("label_chunks",),
    )


def _contrast_tuned(tables: Tables, partitions: Sequence[str]) -> list[Contrast]:
    campaign = tables.campaign
    table = tables.pivot_methods("student")
    contrasts: list[Contrast] = []
    for name in partitions:
        here = table[table["partition"] == name]
        contrasts += contrast_with_rivals(here, TUNED, METHODS, name, campaign)
    weak = table[table["partition"].isin(partitions) & (table["teacher_kind"] == "weak")]
    contrasts.append(contrast_means("weak teachers: tuned test gain", weak[TUNED], campaign))
    return contrasts


def _describe_winners_curse(tables: Tables) -> str:
    campaign = tables.campaign
    if campaign.select_on == "test":
        return (
            "Cells were selected on test, the set that is reported, and the vanilla cell is among "
            "them: tuned >= vanilla holds by construction, so nothing here supports the claim."
        )
    text = (
        "Judged on test gains of cells selected on validation, because the greatest of many noisy "
        "gains is greater than its cell deserves (winner's curse)."
    )
    best = tables.measured_settings
    if len(best):
        fall = float((best["validation_gain"] - best["test_gain"]).mean())
        text += f" The selected cells gain {fall:.2f} pp less on test than on validation."
    noise = tables.noise[tables.noise["stage"] == "tune"]
    if len(noise):
        text += f" Noise floor: {noise['sd'].min():.2f} to {noise['sd'].max():.2f} pp per trial."
    return text + ("" if len(noise) else " Noise floor unknown: it needs replicates of 2 or more.")


def _describe_oracle(tables: Tables) -> str:
    best = tables.measured_settings.set_index(["partition", "teacher", "student"])["oracle_gain"]
    block = tables.pivot_methods("student").dropna(subset=[TUNED, *METHODS])
    if block.empty:
        return ""
    block = block.join(best, on=["partition", "teacher", "student"])
    per_partition = [
        (name, float((here["oracle_gain"] - here[_find_best_untuned(here)]).mean()))
        for name, here in block.groupby("partition", sort=False)
    ]
    shown = ", ".join(f"{name} {value:.2f}" for name, value in per_partition)
    return (
        "Not judged, the oracle (selected on test) minus the best untuned method, pp: "
        f"{shown}; at least 0 against vanilla by construction."
    )


def _contrast_growth(tables: Tables, table: pd.DataFrame, where: str) -> list[Contrast]:
    campaign = tables.campaign
    effect = table[TUNED] - table["vanilla"]
    similar = effect[table["teacher_kind"] == "similar"]
    return [
        contrast_ranks(
            f"{where}: rank correlation of (tuned - vanilla) with abs(gap)",
            effect,
            table["accuracy_gap"].abs(),
            campaign,
        ),
        contrast_means(
            f"{where}, similar teachers: tuned - vanilla",
            similar,
            campaign,
            -COMPARABLE_PP,
            COMPARABLE_PP,
        ),
    ]


def _contrast_settings(tables: Tables, partition: str) -> list[Contrast]:
    best = tables.measured_settings[tables.measured_settings["partition"] == partition]
    kinds = pd.Series(
        [classify_teacher(gap) for gap in best["accuracy_gap"]], best.index, dtype=object
    )
    return [
        contrast_ranks(
            f"{partition}: rank correlation of best T with the accuracy gap",
            best["temperature"],
            best["accuracy_gap"],
            tables.campaign,
        ),
        _contrast_alpha(
            tables, best[kinds == "weak"], f"{partition}, weak: mean best alpha", below=True
        ),
        _contrast_alpha(
            tables, best[kinds == "strong"], f"{partition}, strong: mean best alpha", below=False
        ),
    ]


def _contrast_alpha(tables: Tables, best: pd.DataFrame, label: str, *, below: bool) -> Contrast:
    lower, upper = (-math.inf, 0.5) if below else (0.5, math.inf)
    if best.empty:
        return make_empty_contrast(label, lower, upper, unit="")
    return contrast_means(label, best["alpha"], tables.campaign, lower, upper, unit="")


def _find_best_untuned(block: pd.DataFrame) -> str:
    """The method with fixed settings of greatest mean in a table with a column per method."""
    return max(METHODS, key=lambda method: average_column(block, method))
