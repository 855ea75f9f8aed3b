"""The results of a campaign: its trial rows, sorted once by what they are about.

Tables read :class:`CampaignResults` instead of going through all rows again. Nothing here depends
on the order in which workers finished.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import pandas as pd

from kdopt.analysis.partition_runs import (
    ControlCase,
    PartitionRun,
    group_controls,
    list_partition_runs,
)
from kdopt.analysis.stats import compute_mean, compute_sd
from kdopt.campaign.federated_algorithms import FEDAVG
from kdopt.campaign.method_studies import tunes_points
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import UNLABELED
from kdopt.campaign.studies import Params, ParamValue
from kdopt.outcome import Outcome, Pair, TrialRow, find_pretrained, group_by_method

Line = Mapping[Hashable, Any]
"""One line of a table, by column."""

GainName = Literal["validation_gain", "test_gain"]

PARTICIPANT_COLUMNS = (
    "partition", "participant", "validation_accuracy", "test_accuracy", "epochs", "best_epoch",
    "seconds", "device", "precision",
)  # fmt: skip


class MethodCase(NamedTuple):
    """What one line of the method comparison is about."""

    pair: Pair
    transfer_set: str
    method: str


class GainPair(NamedTuple):
    """What one training gained, or the mean of several, pp."""

    validation: float
    test: float


class PointMean(NamedTuple):
    """One measured (temperature, alpha) of a pair; gains are means over replicates, in pp.

    ``test_gain_sd`` is the sample standard deviation over replicates, NaN for a single one.
    """

    temperature: float
    alpha: float
    validation_gain: float
    test_gain: float
    replicates: int
    test_gain_sd: float = math.nan


class CampaignResults:
    """The trials of one campaign, indexed; each index is made when it is first read.

    Attributes:
        rows: The trials, in any state and order.
        campaign: What was planned.
    """

    def __init__(self, rows: Sequence[TrialRow], campaign: Campaign) -> None:
        self.rows = rows
        self.campaign = campaign

    @property
    def selected_gain(self) -> GainName:
        """The gain that settings are selected by."""
        return "validation_gain" if self.campaign.select_on == "validation" else "test_gain"

    @cached_property
    def by_stage(self) -> Mapping[str, list[TrialRow]]:
        """All trials of each stage that has any, in any state."""
        found: dict[str, list[TrialRow]] = defaultdict(list)
        for row in self.rows:
            found[row.stage].append(row)
        return dict(found)

    @cached_property
    def tuned(self) -> dict[Pair, list[TrialRow]]:
        """The tune trials of every pair that has any, in any state."""
        return group_by_pair(self.by_stage.get("tune", []))

    @cached_property
    def searched(self) -> dict[Pair, dict[str, list[TrialRow]]]:
        """The tune trials of methods with parameters of their own, in any state."""
        return group_by_method(self.by_stage.get("tune", []))

    @cached_property
    def compared(self) -> dict[MethodCase, list[TrialRow]]:
        """The complete trials of stage ``compare``."""
        found: dict[MethodCase, list[TrialRow]] = defaultdict(list)
        for row in self.by_stage.get("compare", []):
            if row.state == "COMPLETE" and row.outcome and row.pair and "method" in row.params:
                transfer_set, method = row.params["transfer_set"], row.params["method"]
                found[MethodCase(row.pair, str(transfer_set), str(method))].append(row)
        return dict(found)

    @cached_property
    def compared_by_pair(self) -> dict[Pair, dict[MethodCase, list[TrialRow]]]:
        """:attr:`compared`, apart by pair: a pair does not go through the cases of all others."""
        found: dict[Pair, dict[MethodCase, list[TrialRow]]] = defaultdict(dict)
        for case, rows in self.compared.items():
            found[case.pair][case] = rows
        return dict(found)

    @cached_property
    def controls(self) -> dict[ControlCase, list[list[TrialRow]]]:
        """The complete trials of stage ``control`` by budget, the best budget first."""
        return group_controls(self.by_stage.get("control", []))

    @cached_property
    def controlled(self) -> dict[ControlCase, list[TrialRow]]:
        """Those of the best budget, by replicate."""
        return {case: budgets[0] for case, budgets in self.controls.items()}

    @cached_property
    def pretrained(self) -> dict[tuple[str, int], Outcome]:
        """The untouched model of every (partition, participant) that has one."""
        return find_pretrained(self.by_stage.get("pretrain", []))

    def list_control_outcomes(self, pair: Pair, transfer_set: str) -> list[Outcome]:
        """The student of a pair trained on without its teacher, by replicate."""
        rows = self.controlled.get(ControlCase(pair.partition, pair.student, transfer_set), [])
        return [row.outcome for row in rows if row.outcome is not None]

    def measure_control(self, pair: Pair, transfer_set: str = "student") -> GainPair:
        """What the student of a pair gains without its teacher, the mean over replicates.

        Without labels there is nothing to train on: the untouched student is the control, and
        gains nothing. NaN where the control did not run.
        """
        if transfer_set in UNLABELED:
            return GainPair(0.0, 0.0)
        return average_gains(self.list_control_outcomes(pair, transfer_set))

    @cached_property
    def candidates(self) -> dict[Pair, list[TrialRow]]:
        """The tune trials of each tuned pair, and those that only other stages have.

        Vanilla of ``compare`` on the student's data is the very trial that the tuned study would
        run at that point (same seeds, same batches), and so is the control, where alpha 0 is on
        the grid. So a search that spends no trial on them has these candidates all the same.
        """
        return {
            pair: [*rows, *self._missing_vanilla(pair, rows), *self._missing_control(pair, rows)]
            for pair, rows in self.tuned.items()
        }

    def _missing_control(self, pair: Pair, tuned: Sequence[TrialRow]) -> list[TrialRow]:
        tune = self.campaign.tune
        have = {read_point(row) for row in tuned}
        # Without the teacher's term the temperature has no part: the same trial at each.
        has_zero = 0.0 in tune.alphas and tunes_points(self.campaign)
        points = [(t, 0.0) for t in tune.temperatures if has_zero]
        return [
            replace(row, stage="tune", params=_point_params(point, int(row.params["replicate"])))
            for point in points
            if point not in have
            for row in self.controlled.get(ControlCase(pair.partition, pair.student, "student"), [])
        ]

    def _missing_vanilla(self, pair: Pair, tuned: Sequence[TrialRow]) -> list[TrialRow]:
        tune = self.campaign.tune
        compared = {
            int(row.params["replicate"]): row
            for row in self.compared.get(MethodCase(pair, "student", "vanilla"), [])
            if _read_gains(row) is not None
        }
        have = {
            int(row.params["replicate"])
            for row in tuned
            if read_point(row) == tune.vanilla_point and _read_gains(row) is not None
        }
        if compared.keys() <= have:
            return []
        # Vanilla gets no more replicates than another point of the pair has: in a campaign that
        # is not finished it must not win by their number.
        most = max(map(len, group_gains(tuned).values()), default=0)
        missing = sorted(compared.keys() - have)[: max(0, most - len(have))]
        return [
            replace(compared[r], stage="tune", params=_point_params(tune.vanilla_point, r))
            for r in missing
        ]

    @cached_property
    def points(self) -> dict[Pair, list[PointMean]]:
        """The measured points of every tuned pair, :attr:`candidates` averaged."""
        return {pair: average_points(rows) for pair, rows in self.candidates.items()}

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every pair of the campaign, then those that only the store knows, in fixed order."""
        campaign = self.campaign
        planned = [Pair(p.name, t, s) for p in campaign.partitions for t, s in campaign.pairs]
        return list(dict.fromkeys([*planned, *sorted({*self.tuned, *self.searched})]))

    @cached_property
    def participants(self) -> pd.DataFrame:
        """One line per pre-trained participant; accuracies are shares in [0, 1]."""
        return tabulate_participants(self.by_stage.get("pretrain", []))

    @cached_property
    def accuracies(self) -> dict[tuple[str, int], float]:
        """Test accuracy before distillation by (partition, participant), a share in [0, 1]."""
        return self._read_accuracies("test_accuracy")

    @cached_property
    def _gap_accuracies(self) -> Mapping[tuple[str, int], float]:
        """Those by which teachers count as weak or strong.

        Not the test accuracies: the student's enters its gains too, with the same noise.
        """
        if self.campaign.data.validation == "local":
            return self.accuracies  # the others are of different images
        return self._read_accuracies("validation_accuracy")

    def _read_accuracies(self, column: str) -> dict[tuple[str, int], float]:
        values = zip(
            *(self.participants[k] for k in ("partition", "participant", column)), strict=True
        )
        return {(str(partition), int(who)): float(accuracy) for partition, who, accuracy in values}

    def describe_gap(self, pair: Pair) -> dict[str, float | str]:
        """How teacher and student of a pair compare before distillation.

        Test accuracies in percent and their difference ``accuracy_gap`` (teacher minus student,
        pp); ``validation_gap`` on validation (where every participant has validation images of
        its own: on test). ``teacher_kind`` says by the latter whether the teacher is ``strong``
        (above the student by more than the campaign's margin), ``much weaker`` or ``similar``.
        """
        ends = [(pair.partition, who) for who in (pair.teacher, pair.student)]
        teacher, student = (100 * self.accuracies.get(end, math.nan) for end in ends)
        above, below = (100 * self._gap_accuracies.get(end, math.nan) for end in ends)
        gap, margin = above - below, self.campaign.compare.strong_margin
        kind = "strong" if gap > margin else "much weaker" if gap < -margin else "similar"
        return {
            "teacher_accuracy": teacher,
            "student_accuracy": student,
            "accuracy_gap": teacher - student,
            "validation_gap": gap,
            "teacher_kind": "unknown" if math.isnan(gap) else kind,
        }

    @cached_property
    def combine_runs(self) -> list[PartitionRun]:
        """The complete trials of stage ``combine``, see :func:`list_partition_runs`."""
        return list_partition_runs(self.by_stage.get("combine", []))

    @cached_property
    def algorithm_runs(self) -> list[PartitionRun]:
        """The complete trials of stage ``federate`` that recorded their rounds."""
        runs = list_partition_runs(self.by_stage.get("federate", []))
        return [run for run in runs if run.outcome.rounds]

    @cached_property
    def federate_runs(self) -> list[PartitionRun]:
        """Those of federated averaging, which alone is the paper's."""
        return [run for run in self.algorithm_runs if run.algorithm == FEDAVG]

    def has_stage(self, stage: StageName) -> bool:
        """Whether the store has any trial of a stage, in any state."""
        return stage in self.by_stage


def group_by_pair(rows: Iterable[TrialRow]) -> dict[Pair, list[TrialRow]]:
    """The rows of every pair that tune temperature and alpha alone, in any state."""
    groups: dict[Pair, list[TrialRow]] = defaultdict(list)
    for row in rows:
        if row.stage == "tune" and row.pair is not None and row.method is None:
            groups[row.pair].append(row)
    return dict(groups)


def average_points(rows: Iterable[TrialRow]) -> list[PointMean]:
    """The complete points of one pair's rows, sorted by temperature and alpha.

    A trial without gains (a damaged record) is left out rather than counted as zero.
    """
    means = []
    for point, pairs in sorted(group_gains(rows).items()):
        validation, test = zip(*pairs, strict=True)
        averages = compute_mean(validation), compute_mean(test)
        means.append(PointMean(*point, *averages, len(pairs), compute_sd(test)))
    return means


def group_gains(rows: Iterable[TrialRow]) -> dict[tuple[float, float], list[GainPair]]:
    """The gains of every complete trial of one pair, by temperature and alpha."""
    gains: dict[tuple[float, float], list[GainPair]] = defaultdict(list)
    for row in rows:
        point, both = read_point(row), _read_gains(row)
        if point is not None and both is not None:
            gains[point].append(both)
    return gains


def list_pairs(table: pd.DataFrame) -> list[Pair]:
    """Who teaches whom in each line of a table of pairs, in order."""
    lines = zip(*(table[key] for key in ("partition", "teacher", "student")), strict=True)
    return [Pair(str(p), int(t), int(s)) for p, t, s in lines]


def index_lines(table: pd.DataFrame) -> dict[Pair, Line]:
    """The lines of a table with one line per pair, by pair and in order."""
    return dict(zip(list_pairs(table), table.to_dict("records"), strict=True))


def read_point(row: TrialRow) -> tuple[float, float] | None:
    """Temperature and alpha of a row of plain distillation; ``None`` where it has none (yet)."""
    if row.method is not None or "temperature" not in row.params or "alpha" not in row.params:
        return None
    return float(row.params["temperature"]), float(row.params["alpha"])


def read_number(value: ParamValue | None) -> float:
    """A parameter or measure as a float; NaN where there is none."""
    return math.nan if value is None else float(value)


def average_gains(outcomes: Sequence[Outcome]) -> GainPair:
    """Mean gains of replicates, pp; NaN where none of them has one."""
    return GainPair(
        compute_mean(read_number(outcome.validation_gain) for outcome in outcomes),
        compute_mean(read_number(outcome.test_gain) for outcome in outcomes),
    )


def order_partitions(names: Iterable[str], campaign: Campaign) -> list[str]:
    """Each name once: the campaign's partitions in its order, then others by name."""
    met = set(names)
    planned = [p.name for p in campaign.partitions if p.name in met]
    return [*planned, *sorted(met - set(planned))]


def tabulate_participants(rows: Iterable[TrialRow]) -> pd.DataFrame:
    """One line per pre-trained participant; accuracies are shares in [0, 1]."""
    lines = [
        (
            row.partition,
            int(row.params["participant"]),
            row.outcome.validation.known_accuracy,
            row.outcome.test.known_accuracy,
            *(getattr(row.outcome, key) for key in PARTICIPANT_COLUMNS[4:]),
        )
        for row in rows
        if row.outcome and row.stage == "pretrain" and row.state == "COMPLETE"
    ]
    frame = pd.DataFrame(lines, columns=list(PARTICIPANT_COLUMNS))
    return frame.sort_values(["partition", "participant"], kind="stable", ignore_index=True)


def _read_gains(row: TrialRow) -> GainPair | None:
    """Validation and test gain of a complete trial that has both."""
    if row.state != "COMPLETE" or row.outcome is None:
        return None
    both = GainPair(read_number(row.outcome.validation_gain), read_number(row.outcome.test_gain))
    return both if all(map(math.isfinite, both)) else None


def _point_params(point: tuple[float, float], replicate: int) -> Params:
    temperature, alpha = point
    return {"temperature": temperature, "alpha": alpha, "replicate": replicate}
