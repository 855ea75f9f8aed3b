"""All participants distilled into one model: Table II of the paper, and what weights change.

Paper, section V-A. Weighing the teachers is the paper's Eq. 6, of which only the wording is left,
so a campaign may try several formulas; :func:`rate_formulas` says which of them changes accuracies
the way that the paper's did.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.partition_runs import PartitionRun
from kdopt.analysis.results import CampaignResults, order_partitions, read_number
from kdopt.analysis.stats import (
    TIE_DECIMALS,
    compute_mean,
    compute_sd,
    correlate_ranks,
    estimate_independent,
)
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS, WEIGHTINGS, StartName, TransferName

EQUAL = "equal"
UNTRAINED = -1
"""Participant of a student that started from random weights."""

_COMBINATION_KEYS = ["partition", "transfer_set", "start", "weighting"]
COMBINED_COLUMNS = (
    *_COMBINATION_KEYS, "accuracy", "accuracy_sd", "validation_accuracy", "gain", "participant",
    "replicates", "paper_accuracy",
)  # fmt: skip
REPLICATE_EFFECT_COLUMNS = (*_COMBINATION_KEYS, "replicate", "effect", "paper_effect")
EFFECT_COLUMNS = (*_COMBINATION_KEYS, "effect", "replicates", "paper_effect")
AGREEMENT_COLUMNS = (
    "weighting", "cells", "same_sign", "constant", "partitions", "partitions_same_sign",
    "correlation", "mean_effect", "low", "high",
)  # fmt: skip
LEAST_CELLS = 3
"""Two cells are always perfectly correlated."""


class PartitionCombination(NamedTuple):
    """One way of combining all participants of a partition."""

    partition: str
    transfer_set: str
    start: str
    weighting: str


class PaperAccuracies(NamedTuple):
    """Test accuracies of one way of combining, in percent."""

    weighted: float
    unweighted: float


TABLE_II_COLUMNS: tuple[tuple[TransferName, StartName], ...] = (
    ("public_unlabeled_large", "worst"),
    ("public_unlabeled_large", "best"),
    ("public_unlabeled_large", "untrained"),
    ("student", "worst"),
    ("student", "best"),
)
"""The columns of Table II, each of them a weighted and an unweighted one."""

_TABLE_II_ROWS: Mapping[str, tuple[float, ...]] = {
    "uniform": (71.64, 72.36, 72.35, 73.43, 69.55, 70.59, 71.34, 72.24, 72.68, 73.97),
    "quantity_skew": (68.18, 64.89, 77.90, 73.86, 67.31, 64.66, 29.77, 30.01, 78.34, 76.33),
    "specialized": (51.57, 54.72, 53.07, 55.11, 52.55, 52.98, 43.70, 50.72, 52.39, 53.60),
    "label_chunks": (65.44, 66.73, 73.33, 71.68, 66.35, 66.22, 19.22, 20.67, 75.71, 75.41),
    "label_dirichlet": (61.67, 54.03, 67.63, 57.82, 63.77, 52.41, 28.61, 27.35, 66.92, 63.00),
}

TABLE_II: Mapping[tuple[str, str, str], PaperAccuracies] = {
    (partition, *column): PaperAccuracies(*values[2 * i : 2 * i + 2])
    for partition, values in _TABLE_II_ROWS.items()
    for i, column in enumerate(TABLE_II_COLUMNS)
}
"""Table II by partition, transfer set and start: CIFAR-10, ResNet-18, 30 epochs (section V-A)."""


def tabulate_combined(results: CampaignResults) -> pd.DataFrame:
    """Table II: one line per (partition, transfer set, start, weighting) with a complete trial.

    ``accuracy`` (test) and ``validation_accuracy`` are percent and means over ``replicates``;
    ``accuracy_sd`` is the sample standard deviation over replicates, NaN for one. ``gain`` is the
    test accuracy above the untouched student's, pp, NaN for an untrained one. ``participant`` is
    the student that was started from, -1 for random weights. ``paper_accuracy`` is the paper's
    number, its weighted one for every adaptive weighting, NaN where it has none.
    """
    lines = []
    for combination, runs in _group_runs(results).items():
        accuracies = [100 * run.outcome.test.accuracy for run in runs]
        paper = find_paper_cell(combination, results.campaign)
        participant = runs[0].outcome.participant
        lines.append(
            {
                **combination._asdict(),
                "accuracy": compute_mean(accuracies),
                "accuracy_sd": compute_sd(accuracies),
                "validation_accuracy": compute_mean(
                    100 * run.outcome.validation.accuracy for run in runs
                ),
                "gain": compute_mean(read_number(run.outcome.test_gain) for run in runs),
                "participant": UNTRAINED if participant is None else participant,
                "replicates": len(runs),
                "paper_accuracy": (
                    math.nan if paper is None else paper[combination.weighting == EQUAL]
                ),
            }
        )
    return pd.DataFrame(lines, columns=list(COMBINED_COLUMNS))


def measure_replicate_effects(results: CampaignResults) -> pd.DataFrame:
    """What adaptive weights change, replicate by replicate.

    One line per (partition, transfer set, start, adaptive weighting, replicate) that was run with
    equal weights too: ``effect`` is the test accuracy minus that with equal weights, pp (both
    trials see the same batches); ``paper_effect`` is weighted minus unweighted of Table II.
    """
    groups = _group_runs(results)
    lines = []
    for combination, runs in groups.items():
        unweighted = groups.get(combination._replace(weighting=EQUAL), [])
        # Paired by replicate: both trials see the same batches, so most of the noise cancels.
        equal = {run.replicate: run for run in unweighted}
        paper = find_paper_cell(combination, results.campaign)
        for run in runs:
            if combination.weighting != EQUAL and run.replicate in equal:
                rival = equal[run.replicate].outcome.test.accuracy
                effect = 100 * (run.outcome.test.accuracy - rival)
                theirs = math.nan if paper is None else paper.weighted - paper.unweighted
                lines.append((*combination, run.replicate, effect, theirs))
    return pd.DataFrame(lines, columns=list(REPLICATE_EFFECT_COLUMNS))


def find_paper_cell(
    combination: PartitionCombination, campaign: Campaign
) -> PaperAccuracies | None:
    """The cell of Table II that a combination repeats, if it does."""
    family = campaign.get_family(combination.partition)
    return TABLE_II.get((family, combination.transfer_set, combination.start))


def average_effects(replicate_effects: pd.DataFrame) -> pd.DataFrame:
    """The effects of each combination averaged over replicates, whose number is ``replicates``."""
    lines = [
        (*key, compute_mean(group["effect"]), len(group), group["paper_effect"].iloc[0])
        for key, group in replicate_effects.groupby(_COMBINATION_KEYS, sort=False)
    ]
    return pd.DataFrame(lines, columns=list(EFFECT_COLUMNS))


def rate_formulas(effects: pd.DataFrame) -> pd.DataFrame:
    """How well each adaptive formula agrees with the paper's effects, best agreement first.

    Only cells of Table II that can tell formulas apart count: for an untrained student all
    formulas are the same. A formula that was tried in fewer cells has fewer to agree in. Columns:

    - ``cells``: how many cells count.
    - ``same_sign``: cells whose effect has the paper's sign; an effect of 0 has none.
    - ``constant``: the cells that a formula with one sign everywhere would have, for the better
      of the two signs. A ``same_sign`` that does not exceed it says nothing.
    - ``partitions``, ``partitions_same_sign``: the same for the mean over each partition's cells.
    - ``correlation``: Spearman's rank correlation with the paper's effects; NaN under three
      cells, and those come last.
    - ``mean_effect``, ``low``, ``high``: of the partitions' means, pp, with a 95 % interval.

    Args:
        effects: From :func:`average_effects`.
    """
    effects = effects[effects["start"] != "untrained"]
    lines: list[tuple[object, ...]] = []
    for weighting, table in effects.groupby("weighting", sort=False):
        known = table.dropna(subset=["effect", "paper_effect"])
        per_partition = pd.DataFrame(
            [
                (compute_mean(cells["effect"]), compute_mean(cells["paper_effect"]))
                for _, cells in known.groupby("partition")
            ],
            columns=["effect", "paper_effect"],
        )
        lines.append(
            (
                weighting,
                len(known),
                _count_same_sign(known),
                max(int((known["paper_effect"] * sign > 0).sum()) for sign in (1, -1)),
                len(per_partition),
                _count_same_sign(per_partition),
                _correlate_with_paper(known),
                *estimate_independent(per_partition["effect"])[:3],
            )
        )
    table = pd.DataFrame(lines, columns=list(AGREEMENT_COLUMNS))
    order = table.assign(rank=table["weighting"].map(lambda name: _find_rank(WEIGHTINGS, name)))
    order = order.sort_values(["correlation", "same_sign", "rank"], ascending=[False, False, True])
    return table.loc[order.index].reset_index(drop=True)


def _group_runs(results: CampaignResults) -> dict[PartitionCombination, list[PartitionRun]]:
    """The runs of each combination, in the order of Table II."""
    groups: dict[PartitionCombination, list[PartitionRun]] = defaultdict(list)
    for run in results.combine_runs:
        keys = (str(run.params[key]) for key in _COMBINATION_KEYS[1:])
        groups[PartitionCombination(run.partition, *keys)].append(run)
    partitions = order_partitions((key.partition for key in groups), results.campaign)
    paper_sets = (transfer_set for transfer_set, _ in TABLE_II_COLUMNS)
    transfer_sets = list(dict.fromkeys([*paper_sets, *TRANSFER_SETS]))
    orders: tuple[Sequence[str], ...] = (partitions, transfer_sets, STARTS, WEIGHTINGS)

    def rank(combination: PartitionCombination) -> list[int]:
        return [_find_rank(order, name) for order, name in zip(orders, combination, strict=True)]

    return {combination: groups[combination] for combination in sorted(groups, key=rank)}


def _find_rank(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _count_same_sign(table: pd.DataFrame) -> int:
    """Lines whose effect, unless it is 0, has the sign of the paper's."""
    ours, theirs = (np.sign(table[key].round(TIE_DECIMALS)) for key in ("effect", "paper_effect"))
    return int(((ours == theirs) & (ours != 0)).sum())


def _correlate_with_paper(table: pd.DataFrame) -> float:
    if len(table) < LEAST_CELLS:
        return math.nan
    return correlate_ranks(*(table[key].round(TIE_DECIMALS) for key in ("effect", "paper_effect")))
