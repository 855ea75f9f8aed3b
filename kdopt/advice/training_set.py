"""The training set: features of finished pairs, and what every candidate action gained there.

Which actions exist depends on the images to distil on, so there is one table per *situation*: the
student's own labelled data (do nothing, train on without a teacher, any measured cell of T and
alpha, DML, DP-KD), a labelled public set, or an unlabelled one (do nothing, vanilla, DML, DP-KD).

The lessons that come with kdopt are training sets as a file: what :func:`build_training_set` makes
of some campaigns of ``studies/`` in every situation, maybe of several data sets.
``scripts/few_trials.py`` writes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.analysis.results import CampaignResults, average_points
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.measurements import PAIR_COLUMNS, PartitionMeasurements, tabulate_pairs
from kdopt.outcome import Outcome, Pair, TrialRow
from kdopt.shown import format_count, format_setting

Situation = Literal["own", "public_labeled", "public_unlabeled"]
SITUATIONS: Mapping[Situation, tuple[str, ...]] = {
    "own": ("student",),
    "public_labeled": ("public_labeled",),
    "public_unlabeled": ("public_unlabeled_small", "public_unlabeled_large"),
}
"""The transfer sets of each situation."""


SHIPPED_LESSONS = "shipped.json"

COMES_WITH = " (comes with kdopt)"
"""Follows the names of their campaigns, which a store may have, too."""

NAME_COLUMNS = (*PAIR_COLUMNS, "transfer_set", "family")

DECIMALS = 4
"""Digits that are kept. Gains are shares of a few hundred images, in pp."""


def find_situation(transfer_set: str) -> Situation:
    """The situation of a transfer set; ``StopIteration`` if there is no such set."""
    return next(name for name, sets in SITUATIONS.items() if transfer_set in sets)


class Action(NamedTuple):
    """Something that can be done with a pair.

    Attributes:
        method: ``none`` (leave the student as it is), ``control`` (train it on without a teacher),
            ``vanilla``, ``tuned``, ``dml``, ``dp_kd``.
        temperature: Of ``vanilla`` and ``tuned`` on a grid; ``None`` for the others.
        alpha: Likewise.
    """

    method: str
    temperature: float | None = None
    alpha: float | None = None


DO_NOTHING = Action("none")
TRAIN_ON = Action("control")

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
            transfer_set, the family of the partition (its draws share it), then the features (see
            :mod:`kdopt.features.definitions`).
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
        """Number of partitions that the pairs come from; all draws of one count once."""
        return int(self.pairs["family"].nunique())

    @property
    def distilling(self) -> NDArray[np.intp]:
        """The indices of the actions that use the teacher, in order."""
        return np.flatnonzero([a not in (DO_NOTHING, TRAIN_ON) for a in self.actions])

    @property
    def control(self) -> NDArray[np.float64]:
        """Test gains of training on without a teacher, pp, (pairs,); NaN where no control ran.

        Without labels there is nothing to train on, and the untouched student is the control.
        """
        if self.situation == "public_unlabeled":
            return np.zeros(len(self))
        if TRAIN_ON not in self.actions:
            return np.full(len(self), np.nan)
        gains: NDArray[np.float64] = self.test[:, self.actions.index(TRAIN_ON)]
        return gains

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
        return replace(
            self,
            pairs=self.pairs.iloc[chosen].reset_index(drop=True),
            validation=self.validation[chosen],
            test=self.test[chosen],
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
            notes.append(
                f"{table.name}: {format_count(partial, 'pair')} whose trials are not all complete"
            )
    # (2, pairs, actions); the reshape also holds when no pair is complete.
    validation, test = np.array(gains, np.float64).reshape(-1, len(actions), 2).transpose(2, 0, 1)
    return TrainingSet(situation, actions, _make_frame(lines), validation, test, tuple(notes))


def describe_action(action: Action) -> str:
    """An action as people read it."""
    names = {
        "none": "leave as it is",
        "control": "train on without a teacher",
        "dml": "DML",
        "dp_kd": "DP-KD",
        "vanilla": "vanilla",
    }
    if action.temperature is None or action.alpha is None:
        return names[action.method]
    temperature, alpha = map(format_setting, (action.temperature, action.alpha))
    return f"{action.method} at T={temperature}, alpha={alpha}"


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
            placed = {"transfer_set": transfer_set, "family": campaign.get_family(pair.partition)}
            lines.append({str(k): v for k, v in line.items()} | placed)
            found.append({DO_NOTHING: (0.0, 0.0), **of_pair})
            tried |= of_pair.keys()
    actions = (DO_NOTHING, *sorted(tried, key=rank_simplicity))
    return _CampaignTable(campaign.name, actions, lines, found)


def _collect_gains(
    source: TrainingCampaign, situation: Situation
) -> dict[tuple[Pair, str], dict[Action, Gains]]:
    """The gains of every action that was tried, by pair and transfer set that was distilled on."""
    results = CampaignResults(source.rows, source.campaign)
    replicates, vanilla = source.campaign.replicates, source.campaign.tune.vanilla_point
    found: dict[tuple[Pair, str], dict[Action, Gains]] = {}
    if situation == "own":
        for pair, rows in results.tuned.items():
            points = [c for c in average_points(rows) if c.replicates >= replicates]
            # Without the teacher's term the temperature has no part: any of them will do.
            actions = [
                TRAIN_ON
                if not c.alpha
                else Action(
                    "vanilla" if (c.temperature, c.alpha) == vanilla else "tuned",
                    c.temperature,
                    c.alpha,
                )
                for c in points
            ]
            gains = [(c.validation_gain, c.test_gain) for c in points]
            found[pair, "student"] = dict(zip(actions, gains, strict=True))
    for case, rows in results.compared.items():
        if case.transfer_set not in SITUATIONS[situation] or case.method not in METHODS:
            continue
        action = Action(case.method, *vanilla) if case.method == "vanilla" else Action(case.method)
        measured = _list_gains(row.outcome for row in rows)
        if len(measured) >= replicates:
            of_pair = found.setdefault((case.pair, case.transfer_set), {})
            # Where both stages ran vanilla, the tuned study's cell is the same computation.
            of_pair.setdefault(action, _average_gains(measured))
    for (pair, transfer_set), of_pair in found.items():
        measured = _list_gains(results.list_control_outcomes(pair, transfer_set))
        if len(measured) >= replicates:
            of_pair[TRAIN_ON] = _average_gains(measured)
    return {key: of_pair for key, of_pair in found.items() if of_pair.keys() - {TRAIN_ON}}


def _list_gains(outcomes: Iterable[Outcome | None]) -> list[Gains]:
    """The gains of each outcome that has both; a record without gains is damaged, and not a 0."""
    return [
        (o.validation_gain, o.test_gain)
        for o in outcomes
        if o is not None and o.validation_gain is not None and o.test_gain is not None
    ]


def _average_gains(gains: Sequence[Gains]) -> Gains:
    # fsum rounds once, so the mean does not depend on the order of the rows.
    validation, test = (math.fsum(values) / len(gains) for values in zip(*gains, strict=True))
    return validation, test


def rank_simplicity(action: Action) -> tuple[object, ...]:
    """Simplest first: trees and policies advise the first of equal actions."""
    methods = ("none", "control", "vanilla", "tuned", "dml", "dp_kd")
    return methods.index(action.method), action.temperature or 0.0, action.alpha or 0.0


def _make_frame(lines: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    columns = [*PAIR_COLUMNS, "transfer_set", "family", *FEATURE_NAMES]
    return pd.DataFrame(list(lines), columns=columns)


def write_lessons(training_sets: Iterable[TrainingSet]) -> bytes:
    """JSON, one line per pair; :func:`read_lessons` reads it back.

    Gains of a pair are listed in the order of the actions, on validation and on test; features in
    the order of the head, ``null`` where one is not known.
    """
    parts = []
    for found in training_sets:
        head = {"situation": found.situation, "actions": found.actions}
        lines = [
            json.dumps(
                {
                    "pair": [line[key] for key in NAME_COLUMNS],
                    "features": [_round_value(line[name]) for name in FEATURE_NAMES],
                    "validation": [_round_value(gain) for gain in validation],
                    "test": [_round_value(gain) for gain in test],
                },
                separators=(",", ":"),
            )
            for line, validation, test in zip(
                found.pairs.to_dict("records"), found.validation, found.test, strict=True
            )
        ]
        parts.append(json.dumps(head)[:-1] + ',"pairs":[\n' + ",\n".join(lines) + "\n]}")
    names = json.dumps({"names": NAME_COLUMNS, "features": FEATURE_NAMES})[:-1]
    return (names + ',"sets":[\n' + ",\n".join(parts) + "\n]}\n").encode()


def read_lessons(content: bytes) -> dict[Situation, TrainingSet]:
    """Read what :func:`write_lessons` wrote. Features that this version does not know are lost."""
    record = json.loads(content)
    names = [*record["names"], *record["features"]]
    found: dict[Situation, TrainingSet] = {}
    for part in record["sets"]:
        lines = [[*p["pair"], *p["features"]] for p in part["pairs"]]
        frame = pd.DataFrame(lines, columns=names).reindex(columns=[*NAME_COLUMNS, *FEATURE_NAMES])
        frame = frame.astype(dict.fromkeys(FEATURE_NAMES, float))
        validation, test = (
            np.array([p[key] for p in part["pairs"]], dtype=np.float64)
            for key in ("validation", "test")
        )
        actions = tuple(Action(*action) for action in part["actions"])
        found[part["situation"]] = TrainingSet(part["situation"], actions, frame, validation, test)
    return found


def load_shipped_lessons() -> dict[Situation, TrainingSet]:
    """The lessons that come with kdopt, by situation."""
    return read_lessons(files(__package__).joinpath(SHIPPED_LESSONS).read_bytes())


def _round_value(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DECIMALS)
