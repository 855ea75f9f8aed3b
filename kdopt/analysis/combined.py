"""All participants distilled into one model: Table II of the paper, and what weights change.

Paper, section V-A. Weighing the teachers is the paper's Eq. 6, of which only the wording is left,
so a campaign may try several formulas; :func:`agreement` says which of them changes accuracies
the way that the paper's did.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.cells import TIE_DECIMALS, spread
from kdopt.analysis.frame import number_or_nan
from kdopt.analysis.paper.contrast import spearman
from kdopt.analysis.paper.results import COLUMNS, TABLE_II
from kdopt.analysis.runs import Run, mean, partitions_in_order, runs
from kdopt.analysis.summary import RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS, WEIGHTINGS
from kdopt.outcome import TrialRow

EQUAL = "equal"
UNTRAINED = -1
"""Participant of a student that started from random weights."""

_PLACE = ["partition", "transfer_set", "start", "weighting"]
COMBINED_COLUMNS = (
    *_PLACE,
    "accuracy",
    "accuracy_sd",
    "validation_accuracy",
    "gain",
    "participant",
    "replicates",
    "paper_accuracy",
)
REPLICATE_EFFECT_COLUMNS = (*_PLACE, "replicate", "effect", "paper_effect")
EFFECT_COLUMNS = (*_PLACE, "effect", "replicates", "paper_effect")
AGREEMENT_COLUMNS = (
    "weighting",
    "cells",
    "same_sign",
    "constant",
    "partitions",
    "partitions_same_sign",
    "correlation",
    "mean_effect",
    "low",
    "high",
)
LEAST_CELLS = 3
"""Two cells are always perfectly correlated."""


class Place(NamedTuple):
    """One way of combining on one partition."""

    partition: str
    transfer_set: str
    start: str
    weighting: str


def combined(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """Table II: one line per (partition, transfer set, start, weighting) with a complete trial.

    ``accuracy`` (test) and ``validation_accuracy`` are percent and means over ``replicates``;
    ``accuracy_sd`` is the sample standard deviation over replicates, NaN for one. ``gain`` is the
    test accuracy above the untouched student's, pp, NaN for an untrained one. ``participant`` is
    the student that was started from, -1 for random weights. ``paper_accuracy`` is the paper's
    number, its weighted one for every adaptive weighting, NaN where it has none.

    Args:
        rows: Trials of a campaign, in any state and order.
        campaign: For the order of its partitions.
    """
    lines = []
    for place, group in _groups(rows, campaign).items():
        accuracies = [100 * run.outcome.test.accuracy for run in group]
        paper = TABLE_II.get(place[:3])
        who = group[0].outcome.participant
        lines.append(
            {
                **place._asdict(),
                "accuracy": mean(accuracies),
                "accuracy_sd": spread(accuracies),
                "validation_accuracy": mean(100 * r.outcome.validation.accuracy for r in group),
                "gain": mean(number_or_nan(run.outcome.test_gain) for run in group),
                "participant": UNTRAINED if who is None else who,
                "replicates": len(group),
                "paper_accuracy": math.nan if paper is None else paper[place.weighting == EQUAL],
            }
        )
    return pd.DataFrame(lines, columns=list(COMBINED_COLUMNS))


def replicate_effects(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """What adaptive weights change, replicate by replicate.

    One line per (partition, transfer set, start, adaptive weighting, replicate) that was run with
    equal weights too: ``effect`` is the test accuracy minus that with equal weights, pp (both
    trials see the same batches); ``paper_effect`` is weighted minus unweighted of Table II.
    """
    groups = _groups(rows, campaign)
    lines = []
    for place, group in groups.items():
        equal = {run.replicate: run for run in groups.get(place._replace(weighting=EQUAL), [])}
        paper = TABLE_II.get(place[:3])
        for run in group:
            if place.weighting != EQUAL and run.replicate in equal:
                rival = equal[run.replicate].outcome.test.accuracy
                effect = 100 * (run.outcome.test.accuracy - rival)
                theirs = math.nan if paper is None else paper.weighted - paper.unweighted
                lines.append((*place, run.replicate, effect, theirs))
    return pd.DataFrame(lines, columns=list(REPLICATE_EFFECT_COLUMNS))


def weighting_effects(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """:func:`replicate_effects` averaged over the replicates, whose number is ``replicates``."""
    lines = [
        (*key, mean(group["effect"]), len(group), group["paper_effect"].iloc[0])
        for key, group in replicate_effects(rows, campaign).groupby(_PLACE, sort=False)
    ]
    return pd.DataFrame(lines, columns=list(EFFECT_COLUMNS))


def agreement(effects: pd.DataFrame) -> pd.DataFrame:
    """How well each adaptive formula agrees with the paper's effects, by rank correlation.

    Everything is over the cells that Table II has and that can tell formulas apart (all are the
    same for an untrained student): their number ``cells``, in how many the effect has the paper's
    sign (``same_sign``; no effect at all has none), in how many a formula that always helps or
    always hurts would have it, whichever is more (``constant``: what does not exceed it says
    nothing), the same as ``same_sign`` for the mean over the cells of each partition
    (``partitions``, ``partitions_same_sign``), Spearman's rank ``correlation`` with the paper's
    effects (NaN under three cells; those come last) and ``mean_effect``, pp, with its 95 %
    bootstrap interval over the cells (``low``, ``high``). A formula that was tried in fewer cells
    has fewer to agree in.

    Args:
        effects: From :func:`weighting_effects`.
    """
    effects = effects[effects["start"] != "untrained"]
    lines: list[tuple[object, ...]] = []
    for weighting, table in effects.groupby("weighting", sort=False):
        known = table.dropna(subset=["effect", "paper_effect"])
        per_partition = pd.DataFrame(
            [
                (mean(cells["effect"]), mean(cells["paper_effect"]))
                for _, cells in known.groupby("partition")
            ],
            columns=["effect", "paper_effect"],
        )
        generator = np.random.default_rng(seed_for(0, "agreement", str(weighting)))
        lines.append(
            (
                weighting,
                len(known),
                _same_sign(known),
                max(int((known["paper_effect"] * sign > 0).sum()) for sign in (1, -1)),
                len(per_partition),
                _same_sign(per_partition),
                _correlation(known),
                mean(known["effect"]),
                *bootstrap_interval(known["effect"].to_numpy(dtype=float), generator, RESAMPLES),
            )
        )
    table = pd.DataFrame(lines, columns=list(AGREEMENT_COLUMNS))
    order = table.assign(rank=table["weighting"].map(lambda name: _rank(WEIGHTINGS, name)))
    order = order.sort_values(["correlation", "same_sign", "rank"], ascending=[False, False, True])
    return table.loc[order.index].reset_index(drop=True)


def _groups(rows: Sequence[TrialRow], campaign: Campaign) -> dict[Place, list[Run]]:
    """The runs of each place, in the order of Table II."""
    groups: dict[Place, list[Run]] = defaultdict(list)
    for run in runs(rows, "combine"):
        keys = (str(run.params[key]) for key in _PLACE[1:])
        groups[Place(run.partition, *keys)].append(run)
    partitions = partitions_in_order((place.partition for place in groups), campaign)
    transfer_sets = list(dict.fromkeys([*(name for name, _ in COLUMNS), *TRANSFER_SETS]))
    orders: tuple[Sequence[str], ...] = (partitions, transfer_sets, STARTS, WEIGHTINGS)

    def rank(place: Place) -> list[int]:
        return [_rank(order, name) for order, name in zip(orders, place, strict=True)]

    return {place: groups[place] for place in sorted(groups, key=rank)}


def _rank(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _same_sign(table: pd.DataFrame) -> int:
    """Lines whose effect, unless it is 0, has the sign of the paper's."""
    ours, theirs = (np.sign(table[key].round(TIE_DECIMALS)) for key in ("effect", "paper_effect"))
    return int(((ours == theirs) & (ours != 0)).sum())


def _correlation(table: pd.DataFrame) -> float:
    if len(table) < LEAST_CELLS:
        return math.nan
    ours, theirs = (
        table[key].round(TIE_DECIMALS).to_numpy(dtype=np.float64)[None]
        for key in ("effect", "paper_effect")
    )
    return float(spearman(ours, theirs)[0])
