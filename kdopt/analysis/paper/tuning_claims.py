"""Claims C5 to C10 (paper, section IV-C): what tuning gains, and which settings it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdopt.analysis.best_settings import rank_points
from kdopt.analysis.method_gains import STRONG, WEAK, select_teachers
from kdopt.analysis.paper.judging import (
    COMPARABLE_PP,
    Claim,
    Contrast,
    build_claim,
    contrast_means,
    contrast_ranks,
    contrast_with_rivals,
    list_families,
    select_families,
    select_net_gains,
)
from kdopt.analysis.stats import TIE_DECIMALS, average_column
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuned_methods import TUNED
from kdopt.campaign.stage_settings import METHODS
from kdopt.outcome import Pair

NO_PATTERN = 0.3
"""Rank correlations smaller than this are no pattern; the paper gives no margin."""
SKEWED = ("quantity_skew", "label_chunks", "label_dirichlet")
GRID_MIDDLE = 0.5
TIES = (
    "Pairs in which several settings are equally good on validation are left out: which of them "
    "is chosen is a rule of kdopt's, not a finding."
)

CINIC_AGREES = "CINIC-10 (Random Chunks only) agrees with CIFAR-10."


def judge_tuned_beats_all(tables: Tables) -> Claim:
    """C5: test gain of the selected cell against the best untuned method, per partition."""
    campaign = tables.campaign
    contrasts = _contrast_tuned(tables, list_families(campaign))
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
        return made._replace(verdict="undecided")
    return made


def judge_tuning_grows_with_gap(tables: Tables) -> Claim:
    """C6: rank correlation of the tuning gain with the absolute gap, and its mean near gap 0."""
    return build_claim(
        tables.campaign,
        6,
        "The gain from tuning grows with the accuracy gap, and is about 0 between participants of "
        "similar accuracy.",
        _contrast_growth(tables, tables.pivot_methods("student"), "all partitions"),
        remark=f"About 0 means within {COMPARABLE_PP:g} pp. The correlation is the mean of those "
        "within partitions: pooled, it would only say that partitions differ.",
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
        remark=TIES,
        tuned=True,
        compared=False,
        partitions=SKEWED,
    )


def judge_specialized_wants_little(tables: Tables) -> Claim:
    """C8: on Specialized, best T and alpha in the lower half of what was searched.

    By place on the grid and not by value: the grid has more small temperatures than large ones on
    a logarithmic scale, so that a choice by chance would look like a choice of small ones.
    """
    best = select_families(_list_untied_settings(tables), tables.campaign, "specialized")
    return build_claim(
        tables.campaign,
        8,
        "On Specialized a low T and a low alpha are best for all pairs.",
        [
            contrast_means(
                f"specialized: mean place of the best {key} among those searched (0 to 1)",
                best,
                _find_places(tables, best, key),
                -math.inf,
                GRID_MIDDLE,
                unit="",
            )
            for key in ("temperature", "alpha")
        ],
        remark=f"{TIES} With T squared in the loss, a low T also means less distillation: the "
        "teacher's gradient scales as alpha * T, so the two cannot be told apart here.",
        tuned=True,
        compared=False,
        partitions=("specialized",),
    )


def judge_uniform_has_no_pattern(tables: Tables) -> Claim:
    """C9: no rank correlation of the best settings with the gap on Uniform."""
    best = select_families(_list_untied_settings(tables), tables.campaign, "uniform")
    return build_claim(
        tables.campaign,
        9,
        "On Uniform there is no pattern in the best T and alpha.",
        [
            contrast_ranks(
                f"uniform: rank correlation of best {key} with the accuracy gap",
                best,
                best[key],
                best["validation_gap"],
                -NO_PATTERN,
                NO_PATTERN,
            )
            for key in ("temperature", "alpha")
        ],
        remark=f"No pattern means a rank correlation within {NO_PATTERN:g} of 0. {TIES}",
        tuned=True,
        compared=False,
        partitions=("uniform",),
    )


def judge_cinic_agrees(tables: Tables) -> Claim:
    """C10: on CINIC-10 only, the contrasts of C5 to C7 on Random Chunks, the paper's Fig. 4."""
    campaign = tables.campaign
    if campaign.data.name != "cinic10":
        text = (
            f"This campaign is on {campaign.data.name}; whether another data set agrees cannot be "
            "seen within one campaign."
        )
        need = 'run the campaign once more with data.name = "cinic10", then kdopt report A B'
        return Claim("C10", CINIC_AGREES, (), "no data", text, need)
    return judge_tuning_pattern(tables, "label_chunks")


def judge_tuning_pattern(tables: Tables, family: str) -> Claim:
    """The contrasts of C5 to C7 on one way of partitioning: what two data sets are to agree in.

    The first contrast is tuned against the hardest of the other methods.
    """
    campaign = tables.campaign
    here = select_families(tables.pivot_methods("student"), campaign, family)
    contrasts = [
        *_contrast_tuned(tables, [family]),
        *_contrast_growth(tables, here, family),
        *_contrast_settings(tables, family),
    ]
    return build_claim(
        campaign,
        10,
        CINIC_AGREES,
        contrasts,
        remark="Judged by the contrasts of C5, C6 and C7 on this partition; 'kdopt report A B' "
        "shows whether they came out the same on CIFAR-10.",
        tuned=True,
        partitions=(family,),
    )


def _contrast_tuned(tables: Tables, families: Sequence[str]) -> list[Contrast]:
    table = tables.pivot_methods("student")
    contrasts: list[Contrast] = []
    for name in families:
        here = select_families(table, tables.campaign, name)
        contrasts += contrast_with_rivals(here, TUNED, METHODS, name)
    net, gain = select_net_gains(tables, "student")
    weak = select_teachers(select_families(net, tables.campaign, *families), WEAK)
    contrasts.append(contrast_means(f"weak teachers: tuned {gain}", weak, weak[TUNED]))
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
    shown = "; ".join(f"{name}: {value:.2f}" for name, value in per_partition)
    return (
        "Not judged, the oracle (selected on test) minus the best untuned method, pp: "
        f"{shown}. Against vanilla it is at least 0 by construction."
    )


def _contrast_growth(tables: Tables, table: pd.DataFrame, where: str) -> list[Contrast]:
    effect = table[TUNED] - table["vanilla"]
    gap, margin = table["validation_gap"].abs(), tables.campaign.compare.strong_margin
    return [
        contrast_ranks(
            f"{where}: rank correlation of (tuned - vanilla) with abs(gap)", table, effect, gap
        ),
        contrast_means(
            f"{where}, similar teachers: tuned - vanilla",
            table[gap <= margin],
            effect[gap <= margin],
            -COMPARABLE_PP,
            COMPARABLE_PP,
        ),
    ]


def _contrast_settings(tables: Tables, family: str) -> list[Contrast]:
    best = select_families(_list_untied_settings(tables), tables.campaign, family)
    label = f"{family}: rank correlation of best T with the accuracy gap"
    below, above = (-math.inf, GRID_MIDDLE), (GRID_MIDDLE, math.inf)
    return [
        contrast_ranks(label, best, best["temperature"], best["validation_gap"]),
        *(
            contrast_means(
                f"{family}, {group}: mean best alpha",
                select_teachers(best, group),
                select_teachers(best, group)["alpha"],
                *bounds,
                unit="",
            )
            for group, bounds in ((WEAK, below), (STRONG, above))
        ),
    ]


def _list_untied_settings(tables: Tables) -> pd.DataFrame:
    """The best settings of pairs in which one point is better than all others."""
    best, results = tables.measured_settings, tables.results
    keys = zip(best["partition"], best["teacher"], best["student"], strict=True)
    gain, untied = results.selected_gain, []
    for key in keys:
        first, *others = rank_points(results.points[Pair(*key)], gain, tables.campaign.tune)[:2]
        rivals = [point for point in others if point.replicates == first.replicates]
        lead = [round(getattr(first, gain) - getattr(p, gain), TIE_DECIMALS) for p in rivals]
        untied.append(0 not in lead)
    return best[np.array(untied, dtype=bool)]


def _find_places(tables: Tables, best: pd.DataFrame, key: str) -> pd.Series[float]:
    """Where each best setting lies among those searched: 0 is the lowest, 1 the highest."""
    tune = tables.campaign.tune
    searched = np.sort(tune.temperatures if key == "temperature" else tune.alphas)
    values = best[key].to_numpy(dtype=np.float64)
    if tune.sampler in ("grid", "sequential"):
        places = np.searchsorted(searched, values) / max(len(searched) - 1, 1)
    elif key == "temperature":
        low, high = np.log([searched[0], searched[-1]])
        places = (np.log(values) - low) / (high - low)
    else:
        places = values
    return pd.Series(places, best.index)


def _find_best_untuned(block: pd.DataFrame) -> str:
    """The method with fixed settings of greatest mean in a table with a column per method."""
    return max(METHODS, key=lambda method: average_column(block, method))
