"""What finished pairs teach: features of each, and what every candidate action gained there.

The actions that can be had depend on the images to distil on, so there is one table per
*situation*: the student's own labelled data (do nothing, any measured cell of T and alpha, DML,
DP-KD), a labelled public set, or an unlabelled one (do nothing, vanilla, DML, DP-KD).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.results import Pair, average_points, group_by_pair
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.partition_facts import PartitionFacts
from kdopt.features.table import KEYS, pair_table
from kdopt.outcome import TrialRow

Floats = npt.NDArray[np.float64]
Situation = Literal["own", "public_labeled", "public_unlabeled"]
SITUATIONS: Mapping[Situation, tuple[str, ...]] = {
    "own": ("student",),
    "public_labeled": ("public_labeled",),
    "public_unlabeled": ("public_unlabeled_small", "public_unlabeled_large"),
}
"""The transfer sets of each situation."""


def situation_of(transfer_set: str) -> Situation:
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


NONE = Action("none")


class Campaigned(NamedTuple):
    """A campaign as the store has it: what was planned, its trials, and its facts."""

    campaign: Campaign
    rows: Sequence[TrialRow]
    facts: Mapping[str, PartitionFacts]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Finished pairs of one situation.

    Attributes:
        situation: Which.
        actions: What was tried on every pair; the first is :data:`NONE`.
        pairs: One line per pair (and transfer set): campaign, partition, teacher, student,
            transfer_set, then the features (see :mod:`kdopt.features.definitions`).
        validation: Gains on validation, pp, (pairs, actions); 0 for doing nothing.
        test: The same on test.
        left_out: What the store has but this table has not, and why; one sentence each.
    """

    situation: Situation
    actions: tuple[Action, ...]
    pairs: pd.DataFrame
    validation: Floats
    test: Floats
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def features(self, names: Sequence[str]) -> Floats:
        """Some features of all pairs, (pairs, names)."""
        return self.pairs[list(names)].to_numpy(dtype=np.float64)

    @property
    def known(self) -> list[str]:
        """The features that every pair has and that are not the same for all."""
        return [
            name
            for name in FEATURE_NAMES
            if self.pairs[name].notna().all() and self.pairs[name].nunique() > 1
        ]

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Lessons:
        """Some of the pairs, by position or by a mask."""
        chosen = np.arange(len(self))[chosen]
        return Lessons(
            self.situation,
            self.actions,
            self.pairs.iloc[chosen].reset_index(drop=True),
            self.validation[chosen],
            self.test[chosen],
            self.left_out,
        )


def lessons(
    campaigns: Sequence[Campaigned], situation: Situation, without: tuple[str, Pair] | None = None
) -> Lessons:
    """The pairs that every action of the situation was tried on.

    Campaigns differ in their grids and methods, and a pair can only teach which of several
    actions is best if all were tried on it: the campaign with most actions says which count
    (among equals, the one with most pairs), and campaigns or pairs that lack one of them are left
    out by name.

    Args:
        campaigns: Campaigns of a store.
        situation: Which table.
        without: Campaign and pair that must not be learnt from, as it is the one asked about.
    """
    tables = [_table(c, situation, without) for c in campaigns]
    tables = [t for t in tables if t.gains]
    # Never more than one campaign's worth of actions: their union was tried on no pair.
    tables.sort(key=lambda t: (-len(t.actions), -len(t.gains), t.name))
    if not tables:
        empty = np.zeros((0, 1))
        return Lessons(situation, (NONE,), _frame([]), empty, empty)
    actions = tables[0].actions
    notes: list[str] = []
    lines: list[dict[str, object]] = []
    both: list[tuple[list[float], list[float]]] = []
    for table in tables:
        lacking = [a for a in actions if a not in table.actions]
        if lacking:
            names = ", ".join(sorted({action_text(a) for a in lacking}))
            notes.append(f"{table.name}: it never tried {_shortened(names, len(lacking))}")
            continue
        partial = 0
        for line, gains in zip(table.lines, table.gains, strict=True):
            if any(a not in gains for a in actions):
                partial += 1
                continue
            lines.append(line)
            both.append(([gains[a][0] for a in actions], [gains[a][1] for a in actions]))
        if partial:
            notes.append(f"{table.name}: {partial} pairs whose trials are not all complete")
    validation = np.array([v for v, _ in both]).reshape(-1, len(actions))
    test = np.array([t for _, t in both]).reshape(-1, len(actions))
    return Lessons(situation, actions, _frame(lines), validation, test, tuple(notes))


def action_text(action: Action) -> str:
    """An action as people read it."""
    names = {"none": "do not distil", "dml": "DML", "dp_kd": "DP-KD", "vanilla": "vanilla"}
    if action.temperature is None:
        return names[action.method]
    return f"{action.method} at T={action.temperature:g}, alpha={action.alpha:g}"


class _Table(NamedTuple):
    name: str
    actions: tuple[Action, ...]
    lines: list[dict[str, object]]
    gains: list[dict[Action, tuple[float, float]]]


def _table(source: Campaigned, situation: Situation, without: tuple[str, Pair] | None) -> _Table:
    campaign = source.campaign
    gains = _gains(source, situation)
    met: set[Action] = set()
    lines: list[dict[str, object]] = []
    found: list[dict[Action, tuple[float, float]]] = []
    for transfer_set in SITUATIONS[situation]:
        table = pair_table(source.rows, campaign, source.facts, transfer_set)
        for line in table.to_dict("records"):
            pair = Pair(*(line[key] for key in KEYS[1:]))
            mine = gains.get((pair, transfer_set))
            if not mine or (campaign.name, pair) == without:
                continue
            lines.append({str(k): v for k, v in line.items()} | {"transfer_set": transfer_set})
            found.append({NONE: (0.0, 0.0), **mine})
            met |= mine.keys()
    order = sorted(met, key=_order)
    return _Table(campaign.name, (NONE, *order), lines, found)


def _gains(
    source: Campaigned, situation: Situation
) -> dict[tuple[Pair, str], dict[Action, tuple[float, float]]]:
    """Validation and test gain of every action that was tried, by pair and transfer set."""
    campaign = source.campaign
    vanilla = campaign.tune.vanilla_point
    found: dict[tuple[Pair, str], dict[Action, tuple[float, float]]] = {}
    if situation == "own":
        for pair, rows in group_by_pair(source.rows).items():
            found[pair, "student"] = {
                Action(
                    "vanilla" if (c.temperature, c.alpha) == vanilla else "tuned",
                    c.temperature,
                    c.alpha,
                ): (c.validation_gain, c.test_gain)
                for c in average_points(rows)
                if c.replicates >= campaign.replicates
            }
    for (pair, transfer_set, method), outcomes in _compared(source.rows, situation).items():
        action = Action(method, *vanilla) if method == "vanilla" else Action(method)
        if len(outcomes) >= campaign.replicates:
            mine = found.setdefault((pair, transfer_set), {})
            # The tuned study's vanilla cell is the same computation where both ran.
            mine.setdefault(action, _mean(outcomes))
    return found


def _compared(
    rows: Sequence[TrialRow], situation: Situation
) -> dict[tuple[Pair, str, str], list[tuple[float, float]]]:
    """Validation and test gains of the stage ``compare`` by pair, transfer set and method."""
    groups: dict[tuple[Pair, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.stage != "compare" or row.teacher is None or row.student is None:
            continue
        method, transfer_set = str(row.params.get("method")), str(row.params.get("transfer_set"))
        if row.outcome is None or transfer_set not in SITUATIONS[situation]:
            continue
        gains = row.outcome.validation_gain, row.outcome.test_gain
        # A record without gains is damaged, and not a zero.
        if method in METHODS and gains[0] is not None and gains[1] is not None:
            pair = Pair(row.partition, row.teacher, row.student)
            groups[pair, transfer_set, method].append((gains[0], gains[1]))
    return groups


def _mean(gains: Sequence[tuple[float, float]]) -> tuple[float, float]:
    # fsum rounds once, so the mean does not depend on the order of the rows.
    validation, test = (math.fsum(values) / len(gains) for values in zip(*gains, strict=True))
    return validation, test


def _order(action: Action) -> tuple[object, ...]:
    """Simplest first: the first of equals is what is advised."""
    methods = ("none", "vanilla", "tuned", "dml", "dp_kd")
    return methods.index(action.method), action.temperature or 0.0, action.alpha or 0.0


def _frame(lines: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(list(lines), columns=[*KEYS, "transfer_set", *FEATURE_NAMES])


def _shortened(names: str, count: int) -> str:
    return names if count <= 4 else f"{count} of the actions"
