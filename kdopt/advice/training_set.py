"""The training set: features of finished pairs, and what every candidate action gained there.

Which actions exist depends on the images to distil on, so there is one table per *situation*: the
student's own labelled data (do nothing, any measured cell of T and alpha, DML, DP-KD), a labelled
public set, or an unlabelled one (do nothing, vanilla, DML, DP-KD).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.analysis.results import average_points, group_by_pair
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.measurements import PartitionMeasurements
from kdopt.features.table import PAIR_COLUMNS, tabulate_pairs
from kdopt.outcome import Pair, TrialRow

Situation = Literal["own", "public_labeled", "public_unlabeled"]
SITUATIONS: Mapping[Situation, tuple[str, ...]] = {
    "own": ("student",),
    "public_labeled": ("public_labeled",),
    "public_unlabeled": ("public_unlabeled_small", "public_unlabeled_large"),
}
"""The transfer sets of each situation."""


def find_situation(transfer_set: str) -> Situation:
    """The situation of a transfer set; ``StopIteration`` if there is no such set."""
    return next(name for name, sets in SITUATIONS.items() if transfer_set in sets)


class Action(NamedTuple):
    """Something that can be done with a pair.

    Attributes:
        method: ``none`` (leave the student as it is), ``vanilla``, ``tuned``, ``dml``, ``dp_kd``.
        temperature: Of ``vanilla`` and ``tuned`` on a grid; ``None`` for the others.
        alpha: Likewise.
    """

    method: str
    temperature: float | None = None
    alpha: float | None = None


DO_NOTHING = Action("none")

Gains = tuple[float, float]
"""Validation and test gain, pp."""


class TrainingCampaign(NamedTuple):
    """A campaign as the store has it.

    Attributes:
        campaign: What was planned.
        rows: Its trials, in any state.
        measurements: By partition, what was measured of it.
    """

    campaign: Campaign
    rows: Sequence[TrialRow]
    measurements: Mapping[str, PartitionMeasurements]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Finished pairs of one situation.

    Attributes:
        situation: Which.
        actions: What was tried on every pair; the first is :data:`DO_NOTHING`.
        pairs: One row per pair (and transfer set): campaign, partition, teacher, student,
            transfer_set, then the features (see :mod:`kdopt.features.definitions`).
        validation: Gains on validation, pp, (pairs, actions); 0 for doing nothing.
        test: The same on test.
        left_out: What the store has but this table has not, and why; one sentence each.
    """

    situation: Situation
    actions: tuple[Action, ...]
    pairs: pd.DataFrame
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def n_partitions(self) -> int:
        """Number of partitions that the pairs come from."""
        return int(self.pairs["partition"].nunique())

    @property
    def usable_features(self) -> list[str]:
        """The features that every pair has and that are not the same for all."""
        return [
            name
            for name in FEATURE_NAMES
            if self.pairs[name].notna().all() and self.pairs[name].nunique() > 1
        ]

    def get_features(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Some features of all pairs, (pairs, names)."""
        return self.pairs[list(names)].to_numpy(dtype=np.float64)

    def select_pairs(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> TrainingSet:
        """Some of the pairs, by position or by a mask."""
        chosen = np.arange(len(self))[chosen]
        return TrainingSet(
            self.situation,
            self.actions,
            self.pairs.iloc[chosen].reset_index(drop=True),
            self.validation[chosen],
            self.test[chosen],
            self.left_out,
        )


def build_training_set(
    campaigns: Sequence[TrainingCampaign],
    situation: Situation,
    without: tuple[str, Pair] | None = None,
) -> TrainingSet:
    """The pairs that every action of the situation was tried on.

    Campaigns differ in their grids and methods, and a pair shows which of several actions is best
    only if all of them were tried on it. The campaign with most actions (among equals, the one
    with most pairs) says which actions count. Campaigns and pairs that lack one of them are left
    out, and ``left_out`` says so.

    Args:
        campaigns: Campaigns of a store.
        situation: Which table.
        without: Campaign and pair that must not be in it, as it is the one asked about.
    """
    tables = [_tabulate_campaign(results, situation, without) for results in campaigns]
    tables = [t for t in tables if t.gains]
    # The actions of one campaign, never of several: their union was tried on no pair.
    tables.sort(key=lambda t: (-len(t.actions), -len(t.gains), t.name))
    if not tables:
        empty = np.zeros((0, 1))
        return TrainingSet(situation, (DO_NOTHING,), _make_frame([]), empty, empty)
    actions = tables[0].actions
    notes: list[str] = []
    lines: list[dict[str, object]] = []
    gains: list[list[Gains]] = []
    for table in tables:
        lacking = [a for a in actions if a not in table.actions]
        if lacking:
            names = ", ".join(sorted({describe_action(a) for a in lacking}))
            shown = names if len(lacking) <= 4 else f"{len(lacking)} of the actions"
            notes.append(f"{table.name}: it never tried {shown}")
            continue
        partial = 0
        for line, found in zip(table.lines, table.gains, strict=True):
            if any(a not in found for a in actions):
                partial += 1
                continue
            lines.append(line)
            gains.append([found[a] for a in actions])
        if partial:
            notes.append(f"{table.name}: {partial} pairs whose trials are not all complete")
    # (2, pairs, actions); the reshape also holds when no pair is complete.
    validation, test = np.array(gains, np.float64).reshape(-1, len(actions), 2).transpose(2, 0, 1)
    return TrainingSet(situation, actions, _make_frame(lines), validation, test, tuple(notes))


def describe_action(action: Action) -> str:
    """An action as people read it."""
    names = {"none": "do not distil", "dml": "DML", "dp_kd": "DP-KD", "vanilla": "vanilla"}
    if action.temperature is None:
        return names[action.method]
    return f"{action.method} at T={action.temperature:g}, alpha={action.alpha:g}"


class _CampaignTable(NamedTuple):
    """The pairs of one campaign: their rows of the table, and the gains of what was tried."""

    name: str
    actions: tuple[Action, ...]
    lines: list[dict[str, object]]
    gains: list[dict[Action, Gains]]


def _tabulate_campaign(
    results: TrainingCampaign, situation: Situation, without: tuple[str, Pair] | None
) -> _CampaignTable:
    campaign = results.campaign
    gains = _collect_gains(results, situation)
    tried: set[Action] = set()
    lines: list[dict[str, object]] = []
    found: list[dict[Action, Gains]] = []
    for transfer_set in SITUATIONS[situation]:
        table = tabulate_pairs(results.rows, campaign, results.measurements, transfer_set)
        for line in table.to_dict("records"):
            pair = Pair(*(line[key] for key in Pair._fields))
            of_pair = gains.get((pair, transfer_set))
            if not of_pair or (campaign.name, pair) == without:
                continue
            lines.append({str(k): v for k, v in line.items()} | {"transfer_set": transfer_set})
            found.append({DO_NOTHING: (0.0, 0.0), **of_pair})
            tried |= of_pair.keys()
    actions = (DO_NOTHING, *sorted(tried, key=_rank_simplicity))
    return _CampaignTable(campaign.name, actions, lines, found)


def _collect_gains(
    results: TrainingCampaign, situation: Situation
) -> dict[tuple[Pair, str], dict[Action, Gains]]:
    """The gains of every action that was tried, by pair and transfer set."""
    campaign = results.campaign
    vanilla = campaign.tune.vanilla_point
    found: dict[tuple[Pair, str], dict[Action, Gains]] = {}
    if situation == "own":
        for pair, rows in group_by_pair(results.rows).items():
            found[pair, "student"] = {
                Action(
                    "vanilla" if (c.temperature, c.alpha) == vanilla else "tuned",
                    c.temperature,
                    c.alpha,
                ): (c.validation_gain, c.test_gain)
                for c in average_points(rows)
                if c.replicates >= campaign.replicates
            }
    compared = _collect_compared(results.rows, situation)
    for (pair, transfer_set, method), replicates in compared.items():
        action = Action(method, *vanilla) if method == "vanilla" else Action(method)
        if len(replicates) >= campaign.replicates:
            of_pair = found.setdefault((pair, transfer_set), {})
            # Where both stages ran vanilla, the tuned study's cell is the same computation.
            of_pair.setdefault(action, _average_gains(replicates))
    return found


def _collect_compared(
    rows: Sequence[TrialRow], situation: Situation
) -> dict[tuple[Pair, str, str], list[Gains]]:
    """The gains of the stage ``compare`` by pair, transfer set and method."""
    groups: dict[tuple[Pair, str, str], list[Gains]] = defaultdict(list)
    for row in rows:
        if row.stage != "compare" or row.pair is None or row.outcome is None:
            continue
        method, transfer_set = str(row.params.get("method")), str(row.params.get("transfer_set"))
        if transfer_set not in SITUATIONS[situation] or method not in METHODS:
            continue
        validation, test = row.outcome.validation_gain, row.outcome.test_gain
        # A record without gains is damaged, and not a zero.
        if validation is not None and test is not None:
            groups[row.pair, transfer_set, method].append((validation, test))
    return groups


def _average_gains(gains: Sequence[Gains]) -> Gains:
    # fsum rounds once, so the mean does not depend on the order of the rows.
    validation, test = (math.fsum(values) / len(gains) for values in zip(*gains, strict=True))
    return validation, test


def _rank_simplicity(action: Action) -> tuple[object, ...]:
    """Simplest first: trees and policies advise the first of equal actions."""
    methods = ("none", "vanilla", "tuned", "dml", "dp_kd")
    return methods.index(action.method), action.temperature or 0.0, action.alpha or 0.0


def _make_frame(lines: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(list(lines), columns=[*PAIR_COLUMNS, "transfer_set", *FEATURE_NAMES])
