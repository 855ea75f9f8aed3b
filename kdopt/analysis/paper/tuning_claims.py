"""Claims C5 to C10 (paper, section IV-C): what tuning gains, and which settings it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdopt.analysis.compare import TUNED, teacher_kind
from kdopt.analysis.paper.contrast import (
    COMPARABLE_PP,
    Contrast,
    against_best,
    mean_contrast,
    no_data,
    rank_contrast,
)
from kdopt.analysis.paper.evidence import Claim, Evidence, best_untuned, claim, complete_block
from kdopt.campaign.stage_settings import METHODS

NO_PATTERN = 0.3
"""Rank correlations smaller than this are no pattern; the paper gives no margin."""
SKEWED = ("quantity_skew", "label_chunks", "label_dirichlet")


def tuned_beats_all(evidence: Evidence) -> Claim:
    """C5: test gain of the selected cell against the best untuned method, per partition."""
    campaign = evidence.campaign
    contrasts = _tuned_beats_all(evidence, [p.name for p in campaign.partitions])
    made = claim(
        evidence,
        5,
        "Tuned KD outperforms every other method in all partitions, and gains even from weak "
        "teachers.",
        contrasts,
        remark=" ".join(filter(None, (_winners_curse(evidence), _oracle(evidence)))),
        tuned=True,
    )
    if campaign.select_on == "test" and made.verdict == "supported":
        return made._replace(verdict="inconclusive")
    return made


def tuning_grows_with_the_gap(evidence: Evidence) -> Claim:
    """C6: rank correlation of the tuning gain with the absolute gap, and its mean near gap 0."""
    return claim(
        evidence,
        6,
        "The gain from tuning grows with the accuracy gap, and is about 0 between participants of "
        "similar accuracy.",
        _grows(evidence, evidence.on("student"), "all partitions"),
        remark=f"About 0 means within {COMPARABLE_PP:g} pp.",
        tuned=True,
        compared=False,
    )


def settings_follow_strength(evidence: Evidence) -> Claim:
    """C7: best temperature rises with the gap; best alpha is on the side of the stronger model."""
    return claim(
        evidence,
        7,
        "On Quantity Skew, Random Chunks and Dirichlet, weak teachers want a small T and alpha "
        "below 0.5, strong teachers a large T and alpha above 0.5.",
        [c for name in SKEWED for c in _follows(evidence, name)],
        tuned=True,
        compared=False,
        partitions=SKEWED,
    )


def specialized_wants_little(evidence: Evidence) -> Claim:
    """C8: on Specialized, alpha below 0.5 and T below the middle of the grid."""
    best = evidence.best[evidence.best["partition"] == "specialized"]
    middle = float(np.median(evidence.campaign.tune.temperatures))
    return claim(
        evidence,
        8,
        "On Specialized a low T and a low alpha are best for all pairs.",
        [
            mean_contrast(
                f"specialized: mean of log2(best T / {middle:g}), the middle of the grid",
                np.log2(best["temperature"] / middle),
                evidence.campaign,
                -math.inf,
                0.0,
                unit="",
            ),
            _alpha(evidence, best, "specialized: mean best alpha", below=True),
        ],
        remark="With T squared in the loss, a low T also means less distillation: the teacher's "
        "gradient scales as alpha * T, so the two cannot be told apart here.",
        tuned=True,
        compared=False,
        partitions=("specialized",),
    )


def uniform_has_no_pattern(evidence: Evidence) -> Claim:
    """C9: no rank correlation of the best settings with the gap on Uniform."""
    best = evidence.best[evidence.best["partition"] == "uniform"]
    return claim(
        evidence,
        9,
        "On Uniform there is no pattern in the best T and alpha.",
        [
            rank_contrast(
                f"uniform: rank correlation of best {key} with the accuracy gap",
                best[key],
                best["accuracy_gap"],
                evidence.campaign,
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


def cinic_agrees(evidence: Evidence) -> Claim:
    """C10: on CINIC-10 only, the contrasts of C5 to C7 on Random Chunks, the paper's Fig. 4."""
    paper = "CINIC-10 (Random Chunks only) agrees with CIFAR-10."
    data = evidence.campaign.data.name
    if data != "cinic10":
        text = (
            f"This campaign is on {data}; whether another data set agrees cannot be seen within "
            "one campaign."
        )
        need = 'run the campaign once more with data.name = "cinic10" and compare the reports'
        return Claim("C10", paper, (), "inconclusive", text, need)
    chunks = evidence.on("student")
    chunks = chunks[chunks["partition"] == "label_chunks"]
    contrasts = [
        *_tuned_beats_all(evidence, ["label_chunks"]),
        *_grows(evidence, chunks, "label_chunks"),
        *_follows(evidence, "label_chunks"),
    ]
    return claim(
        evidence,
        10,
        paper,
        contrasts,
        remark="Judged by the contrasts of C5, C6 and C7 on this partition; whether they came out "
        "the same on CIFAR-10 is for the reader of both reports.",
        tuned=True,
        partitions=("label_chunks",),
    )


def _tuned_beats_all(evidence: Evidence, partitions: Sequence[str]) -> list[Contrast]:
    campaign = evidence.campaign
    table = evidence.on("student")
    contrasts: list[Contrast] = []
    for name in partitions:
        here = table[table["partition"] == name]
        contrasts += against_best(here, TUNED, METHODS, name, campaign)
    weak = table[table["partition"].isin(partitions) & (table["teacher_kind"] == "weak")]
    contrasts.append(mean_contrast("weak teachers: tuned test gain", weak[TUNED], campaign))
    return contrasts


def _winners_curse(evidence: Evidence) -> str:
    campaign = evidence.campaign
    if campaign.select_on == "test":
        return (
            "Cells were selected on test, the set that is reported, and the vanilla cell is among "
            "them: tuned >= vanilla holds by construction, so nothing here supports the claim."
        )
    text = (
        "Judged on test gains of cells selected on validation, because the greatest of many noisy "
        "gains is greater than its cell deserves (winner's curse)."
    )
    best = evidence.best
    if len(best):
        fall = float((best["validation_gain"] - best["test_gain"]).mean())
        text += f" The selected cells gain {fall:.2f} pp less on test than on validation."
    noise = evidence.noise[evidence.noise["stage"] == "tune"]
    if len(noise):
        text += f" Noise floor: {noise['sd'].min():.2f} to {noise['sd'].max():.2f} pp per trial."
    return text + ("" if len(noise) else " Noise floor unknown: it needs replicates of 2 or more.")


def _oracle(evidence: Evidence) -> str:
    best = evidence.best.set_index(["partition", "teacher", "student"])["oracle_gain"]
    block = complete_block(evidence.on("student"))
    if block.empty:
        return ""
    block = block.join(best, on=["partition", "teacher", "student"])
    per_partition = [
        (name, float((here["oracle_gain"] - here[best_untuned(here)]).mean()))
        for name, here in block.groupby("partition", sort=False)
    ]
    shown = ", ".join(f"{name} {value:.2f}" for name, value in per_partition)
    return (
        "Not judged, the oracle (selected on test) minus the best untuned method, pp: "
        f"{shown}; at least 0 against vanilla by construction."
    )


def _grows(evidence: Evidence, table: pd.DataFrame, where: str) -> list[Contrast]:
    campaign = evidence.campaign
    effect = table[TUNED] - table["vanilla"]
    similar = effect[table["teacher_kind"] == "similar"]
    return [
        rank_contrast(
            f"{where}: rank correlation of (tuned - vanilla) with abs(gap)",
            effect,
            table["accuracy_gap"].abs(),
            campaign,
        ),
        mean_contrast(
            f"{where}, similar teachers: tuned - vanilla",
            similar,
            campaign,
            -COMPARABLE_PP,
            COMPARABLE_PP,
        ),
    ]


def _follows(evidence: Evidence, partition: str) -> list[Contrast]:
    best = evidence.best[evidence.best["partition"] == partition]
    kinds = pd.Series([teacher_kind(gap) for gap in best["accuracy_gap"]], best.index, dtype=object)
    return [
        rank_contrast(
            f"{partition}: rank correlation of best T with the accuracy gap",
            best["temperature"],
            best["accuracy_gap"],
            evidence.campaign,
        ),
        _alpha(evidence, best[kinds == "weak"], f"{partition}, weak: mean best alpha", below=True),
        _alpha(
            evidence, best[kinds == "strong"], f"{partition}, strong: mean best alpha", below=False
        ),
    ]


def _alpha(evidence: Evidence, best: pd.DataFrame, label: str, *, below: bool) -> Contrast:
    lower, upper = (-math.inf, 0.5) if below else (0.5, math.inf)
    if best.empty:
        return no_data(label)._replace(lower=lower, upper=upper, unit="")
    return mean_contrast(label, best["alpha"], evidence.campaign, lower, upper, unit="")
