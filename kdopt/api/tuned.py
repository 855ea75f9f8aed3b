"""What ``kdopt.tune`` found: the best way of one pair, what it gains, and the student."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pandas as pd

from kdopt.analysis.students import get_outcome, name_trial
from kdopt.analysis.verdicts import Candidate, list_candidates, measure_net_gain, rank_trial
from kdopt.api.stores import OpenStore
from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.stages import plan_studies
from kdopt.errors import ArtifactError
from kdopt.outcome import Pair, TrialRow, find_pretrained
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from kdopt.store.kept import find_kept
from kdopt.store.queries import read_record, read_study_counts
from kdopt.train.engine import compute_in_one_thread, make_engine
from kdopt.train.weights import parse_tensors
from kdopt.trials.given import (
    STUDENT,
    TEACHER,
    GivenContext,
    GivenPair,
    list_tensors,
    restore_student,
)
from kdopt.trials.interfaces import NoJournal
from kdopt.trials.runners import RUNNERS
from kdopt.worker.alone import working_alone

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go
    from torch import nn

THE_PAIR = Pair(OWN, TEACHER, STUDENT)


@dataclass(frozen=True)
class Home:
    """Where the study of a pair is.

    Attributes:
        location: Path or URL of the store.
        name: The campaign.
        artifacts: Of the store.
        is_temporary: Whether all of it goes with this object.
    """

    location: str
    name: str
    artifacts: Artifacts
    is_temporary: bool = False

    def open(self, create: bool = False) -> Store:
        """Open the store; the caller closes it."""
        return open_store(self.location, create=create)


def make_temporary_home(name: str) -> Home:
    """A place for a study that nobody keeps: its folder is removed when nobody has it any more."""
    folder = Path(tempfile.mkdtemp(prefix="kdopt-tune-"))
    home = Home(str(folder / "kdopt.db"), name, Artifacts(folder / "artifacts"), is_temporary=True)
    weakref.finalize(home, _remove_folder, folder, os.getpid())
    return home


def _remove_folder(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a worker, which has a copy of all objects
        shutil.rmtree(folder, ignore_errors=True)


class Numbers(NamedTuple):
    """The ends of an interval."""

    low: float
    high: float


class TunedPair:
    """The best student that was distilled, chosen on validation, and the verdict on it.

    All gains are on test, in percentage points, means over replicates.

    Attributes:
        campaign: The whole study, as ``kdopt.open`` gives it.
        parameters: All parameters of the best setting.
        method: Its method, such as ``kd`` or ``dkd``.
        gain: Over the untouched student.
        control_gain: That of training the student on for as long without a teacher.
        net_gain: What is left of the gain beyond that.
        net_interval: 95 % interval of the net gain over other test inputs: one pair says nothing
            about other pairs. ``None`` where it is not known.
        validation_gain: What the setting was chosen by.
        student_accuracy: Of the student as it was given, percent.
        accuracy: Of the best student, percent.
        teacher_accuracy: Percent; NaN for a teacher that is known by its logits of ``train`` alone.
        verdict: ``distil``, ``train on`` without a teacher, ``leave as it is``, or ``undecided``
            while trials are missing: the simplest that nothing beats measurably on validation.
        chance: How often the best of all settings would lead the untouched student as far on
            validation by chance alone, if none was better.
    """

    def __init__(self, home: Home, given: GivenPair, device: str | None, opened: OpenStore) -> None:
        self._home, self._given, self._device = home, given, device
        self.campaign = opened[home.name]
        tables = self.campaign.tables
        self._results = tables.results
        self._trained, distilled = list_candidates(THE_PAIR, self._results)
        self._best = distilled[0]
        self._row = self._find_row(self._best)
        apart = ("replicate", "transfer_set")
        self.parameters = {k: v for k, v in self._row.params.items() if k not in apart}
        self.method = self._row.method or "kd"
        self.gain = self._best.test_gain
        self.validation_gain = self._best.validation_gain
        net = measure_net_gain(THE_PAIR, self._best, self._results)
        self.control_gain, self.net_gain = net["control_gain"], net["net_gain"]
        known = "net_low" in net
        self.net_interval = Numbers(net["net_low"], net["net_high"]) if known else None
        teacher, student = (self._results.pretrained[OWN, who].test for who in (TEACHER, STUDENT))
        self.teacher_accuracy = 100 * teacher.known_accuracy
        self.student_accuracy = 100 * student.accuracy
        self.accuracy = self.student_accuracy + self.gain
        verdict = tables.verdicts.iloc[0]
        self.verdict: str = verdict["action"]
        self.chance = float(verdict["chance_over_leaving"])

    @property
    def temperature(self) -> float | None:
        """Of the best setting; ``None`` where its method has none."""
        return self._read_parameter("temperature")

    @property
    def alpha(self) -> float | None:
        """Weight of the teacher; ``None`` where the method has none of that name."""
        return self._read_parameter("alpha")

    @cached_property
    def model(self) -> nn.Module:
        """The best distilled student, in evaluation mode, on the device of the given one."""
        return self._load_student(self._row)

    @cached_property
    def advised_model(self) -> nn.Module:
        """The student that the verdict names: distilled, trained on, or as it was given."""
        if self.verdict == "distil":
            return self.model
        if self.verdict == "train on":
            return self._load_student(self._find_row(self._trained[0]))
        return copy.deepcopy(self._given.student).eval()

    @property
    def study(self) -> optuna.Study:
        """The study of the best method, for ``optuna.visualization`` and ``trials_dataframe``."""
        return self.campaign.load_study(*THE_PAIR, method=self._row.method)

    def trials(self) -> pd.DataFrame:
        """Every trial with all that it recorded, the control and the untouched models too."""
        return self.campaign.trials()

    def surface(self, on: Literal["validation", "test"] = "test") -> pd.DataFrame:
        """The gain of plain distillation in pp: temperatures down, alphas across."""
        return self.campaign.surface(*THE_PAIR, on=on)

    def plot_surface(self, on: Literal["validation", "test"] = "test") -> go.Figure:
        """The same as a figure; a notebook shows it when it is the last line of a cell."""
        return self.campaign.plot_surface(*THE_PAIR, on=on)

    def __repr__(self) -> str:
        values = ", ".join(
            f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"
            for key, value in self.parameters.items()
        )
        done = sum(r.state == "COMPLETE" and r.stage == "tune" for r in self._results.rows)
        lines = [
            f"{self.verdict}: the best of {format_count(done, 'trial')} is {self.method} "
            f"({values}), {self.student_accuracy:.2f} to {self.accuracy:.2f} % on test: "
            f"{self.gain:+.2f} pp, of which {self.net_gain:+.2f} are the teacher's"
        ]
        if self.net_interval is not None:
            low, high = self.net_interval
            lines[0] += f" (95 % over test inputs: {low:+.2f} to {high:+.2f})"
        if not math.isnan(self.teacher_accuracy):
            lines.append(f"the teacher has {self.teacher_accuracy:.2f} %")
        return "; ".join(lines)

    def _read_parameter(self, name: str) -> float | None:
        value = self.parameters.get(name)
        return None if value is None else float(value)

    def _find_row(self, candidate: Candidate) -> TrialRow:
        """The best replicate of a candidate, which has the very outcomes of its rows."""
        rows = [r for r in self._results.rows if any(r.outcome is o for o in candidate.outcomes)]
        campaign = self._results.campaign
        return min(rows, key=lambda r: rank_trial(campaign, r.params, get_outcome(r), r.method))

    @compute_in_one_thread()
    def _load_student(self, row: TrialRow) -> nn.Module:
        """The student of a trial: its kept weights, or the trial run again."""
        with contextlib.closing(self._home.open()) as store:
            sha256 = find_kept(store, row.study, row.number)
            record = read_record(store, self._home.name)
        if sha256 is not None:
            with contextlib.suppress(ArtifactError):
                what = f"student of {row.study} #{row.number}"
                tensors = self._home.artifacts.read(sha256, what, parse_tensors)
                return restore_student(self._given, tensors)
        plan = next(p for p in plan_studies(record.campaign) if p.name == row.study)
        inputs = {who: o for (_, who), o in find_pretrained(self._results.rows).items()}
        with working_alone():
            engine = make_engine(record.campaign.precision, self._device)
            context = GivenContext(
                self._given, record, self._given.dataset, self._home.artifacts, engine
            )
            outcome = RUNNERS[row.stage].compute(context, plan, row.params, inputs, NoJournal())
            trained = context.trained.find(outcome)
        assert trained is not None
        state = {key: value.cpu() for key, value in list_tensors(trained).items()}
        return restore_student(self._given, state)


def read_result(home: Home, given: GivenPair, device: str | None) -> TunedPair | None:
    """What is known of a pair so far; ``None`` where no distilled student is there."""
    with OpenStore(home.location) as opened:
        tables = opened[home.name].tables
        if not list_candidates(THE_PAIR, tables.results).distilled:
            return None
        return TunedPair(home, given, device, opened)


def explain_no_result(home: Home) -> str:
    """Why no trial of a pair has a result."""
    with OpenStore(home.location) as opened:
        rows = opened[home.name].tables.results.rows
    failed = [row for row in rows if row.error]
    reason = f"{name_trial(failed[0])} failed: {failed[0].error}" if failed else "no trial was run"
    return f"no student was distilled: {reason}"


def count_done(home: Home) -> tuple[int, int]:
    """How many trials are complete, and how many there are."""
    with contextlib.closing(home.open()) as store:
        states = read_study_counts(store, home.name)
    return sum(s.complete for s in states), sum(s.total for s in states)
