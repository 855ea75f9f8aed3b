"""The verdict on every pair: leave the student as it is, train it on without a teacher, or distil.

The simplest action wins, unless a more complex one is measurably better on validation. Candidates
are compared image by image, and the test knows how many were tried: among 55 noisy settings some
beat the untouched student by luck. The test set has no part in a verdict; it only reports.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.best_settings import rate_point
from kdopt.analysis.paired_test import measure_lead, rate_lead, unpack_right
from kdopt.analysis.partition_runs import ControlCase
from kdopt.analysis.results import CampaignResults, average_gains, read_number, read_point
from kdopt.analysis.stats import TIE_DECIMALS, compute_mean
from kdopt.analysis.tuned_methods import (
    SettingMean,
    describe_values,
    list_settings_of_pair,
    name_tuned,
    rate_setting,
)
from kdopt.campaign.method_studies import get_budget, list_searched_methods, uses_teacher
from kdopt.campaign.names import study_name
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS, UNLABELED
from kdopt.campaign.studies import Params, StudyPlan, get_setting
from kdopt.outcome import Outcome, Pair

PairVerdict = Literal["leave as it is", "train on", "distil", "undecided"]
VERDICTS: tuple[PairVerdict, ...] = ("leave as it is", "train on", "distil", "undecided")

ERROR_RATE = 0.05
"""Of a pair in which nothing helps, how often chance alone may make the verdict another than to
leave the student as it is."""

VERDICT_COLUMNS = (
    "partition", "teacher", "student", "action", "method", "transfer_set", "temperature", "alpha",
    "accuracy_before", "accuracy_after", "validation_gain", "test_gain", "control_gain",
    "net_gain", "net_low", "net_high", "tried", "chance_over_leaving", "chance_over_training",
    "setting",
)  # fmt: skip


class Candidate(NamedTuple):
    """One thing that was tried with a pair's student.

    Attributes:
        action: What it is.
        method: ``vanilla``, ``dml``, ``dp_kd``, ``tuned`` or ``tuned_NAME``; empty without a
            teacher.
        transfer_set: The images it was trained on.
        temperature: NaN for a method without one.
        alpha: The same.
        outcomes: Its replicates.
        simplicity: Among equal gains the least wins.
        setting: The values of a tuned method's own parameters, in words.
    """

    action: PairVerdict
    method: str
    transfer_set: str
    temperature: float
    alpha: float
    outcomes: Sequence[Outcome]
    simplicity: tuple[float, ...]
    setting: str = ""

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts candidates, the best on validation first; among equals the simplest."""
        return (-round(self.validation_gain, TIE_DECIMALS), *self.simplicity)

    @property
    def validation_gain(self) -> float:
        """Mean over replicates, pp."""
        return average_gains(self.outcomes).validation

    @property
    def test_gain(self) -> float:
        """Mean over replicates, pp."""
        return average_gains(self.outcomes).test


def tabulate_verdicts(results: CampaignResults) -> pd.DataFrame:
    """One line per pair, in the order of :attr:`CampaignResults.pairs`.

    ``method`` to ``alpha`` say how to distil, or on which images to train on. ``accuracy_before``
    and ``accuracy_after`` are the student's on test (percent), before and after following the
    verdict. ``validation_gain`` and ``test_gain`` are those of following it (0 for a student left
    as it is), ``control_gain`` is the test gain of training on without a teacher on the same
    images, and ``net_gain`` the teacher's part of the test gain (0 where no teacher is used); all
    in pp, means over replicates. ``net_low`` and ``net_high`` are the ends of its 95 % interval
    over other test images: NaN where no teacher is used, or single images were not recorded.
    ``tried`` counts the candidates. ``chance_over_leaving`` is how often the best
    of them would lead the untouched student as far by chance if none was any better, and
    ``chance_over_training`` how often the best distilled student would lead the one trained on
    (:func:`kdopt.analysis.paired_test.rate_lead`). ``setting`` has the values of a method with
    parameters of its own. A pair is ``undecided`` while it has no
    result, or no record of the single validation images, as trials of older versions have none.
    """
    lines = [{**pair._asdict(), **_decide_pair(pair, results)} for pair in results.pairs]
    return pd.DataFrame(lines, columns=list(VERDICT_COLUMNS))


class Candidates(NamedTuple):
    """What was tried with a pair's student, the best on validation first.

    Attributes:
        trained: Without a teacher.
        distilled: With the pair's teacher.
    """

    trained: list[Candidate]
    distilled: list[Candidate]


def list_candidates(pair: Pair, results: CampaignResults) -> Candidates:
    """What was tried with a pair's student.

    Only what has the most replicates competes: in a campaign that is not finished a single lucky
    trial must not beat a mean of many.
    """
    of_methods: dict[PairVerdict, list[Candidate]] = {"train on": [], "distil": []}
    for mean in list_settings_of_pair(pair, results):
        candidate = _make_setting(mean)
        of_methods[candidate.action].append(candidate)
    return Candidates(
        _keep_most_repeated([*_list_controls(pair, results), *of_methods["train on"]]),
        _keep_most_repeated([*_list_distilled(pair, results), *of_methods["distil"]]),
    )


def _decide_pair(pair: Pair, results: CampaignResults) -> dict[str, object]:
    untouched = results.pretrained.get((pair.partition, pair.student))
    trained, distilled = list_candidates(pair, results)
    tried = len(trained) + len(distilled)
    before = math.nan if untouched is None else 100 * untouched.test.accuracy
    undecided = {"action": "undecided", "tried": tried, "accuracy_before": before}
    if untouched is None or not distilled:
        return undecided
    records = [untouched, *(o for c in (*trained, *distilled) for o in c.outcomes)]
    if any(outcome.validation.right is None for outcome in records):
        return undecided
    over_leaving = rate_lead(_read_right([untouched]), _stack_right([*trained, *distilled]))
    chances = {"tried": tried, "chance_over_leaving": over_leaving, "accuracy_before": before}
    chosen = distilled[0]
    if trained:
        control = trained[0]
        chance = rate_lead(_read_right(control.outcomes), _stack_right(distilled))
        chances["chance_over_training"] = chance
        if chance >= ERROR_RATE and control.validation_gain > 0:
            chosen = control
    if over_leaving >= ERROR_RATE:
        leaving = _report_leaving(pair, results)
        return {"action": "leave as it is", **chances, **leaving, "accuracy_after": before}
    return {
        "action": chosen.action,
        "method": chosen.method,
        "transfer_set": chosen.transfer_set,
        "temperature": chosen.temperature,
        "alpha": chosen.alpha,
        "setting": chosen.setting,
        "validation_gain": chosen.validation_gain,
        "test_gain": chosen.test_gain,
        "accuracy_after": 100 * compute_mean(o.test.accuracy for o in chosen.outcomes),
        **measure_net_gain(pair, chosen, results),
        **chances,
    }


def measure_net_gain(pair: Pair, chosen: Candidate, results: CampaignResults) -> dict[str, float]:
    """What is left of a candidate's gain over training on, as :func:`tabulate_verdicts` has it.

    Returns:
        ``control_gain`` and ``net_gain``, pp, and the ends ``net_low`` and ``net_high`` of its
        interval over other test images where that is known.
    """
    control_gain = results.measure_control(pair, chosen.transfer_set).test
    found = {"control_gain": control_gain}
    if chosen.action != "distil":
        return {**found, "net_gain": 0.0}
    net = chosen.test_gain - control_gain
    # Without labels there is nothing to train on: the untouched student is the control.
    baseline: Sequence[Outcome] = (
        [results.pretrained[pair.partition, pair.student]]
        if chosen.transfer_set in UNLABELED
        else results.list_control_outcomes(pair, chosen.transfer_set)
    )
    lead = measure_lead(chosen.outcomes, baseline)
    if lead is None:
        return {**found, "net_gain": net}
    return {**found, "net_gain": net, "net_low": net - lead.error, "net_high": net + lead.error}


def _report_leaving(pair: Pair, results: CampaignResults) -> dict[str, object]:
    control = results.measure_control(pair).test
    return {
        "method": "", "transfer_set": "", "temperature": math.nan, "alpha": math.nan,
        "setting": "",
        "validation_gain": 0.0, "test_gain": 0.0, "control_gain": control,
        # A mean over pairs must not take the pairs left alone from campaigns without a control.
        "net_gain": math.nan if math.isnan(control) else 0.0,
    }  # fmt: skip


def _list_controls(pair: Pair, results: CampaignResults) -> list[Candidate]:
    found = []
    for place, name in enumerate(TRANSFER_SETS):
        case = ControlCase(pair.partition, pair.student, name)
        for rank, rows in enumerate(results.controls.get(case, [])):
            outcomes = [row.outcome for row in rows if row.outcome]
            budget = describe_values(get_budget(rows[0].params))
            found.append(
                Candidate("train on", "", name, math.nan, math.nan, outcomes, (place, rank), budget)
            )
    return found


def _list_distilled(pair: Pair, results: CampaignResults) -> list[Candidate]:
    """Every method that ran, on every transfer set, and every point of the search."""
    tune = results.campaign.tune
    points: dict[tuple[float, float], list[Outcome]] = defaultdict(list)
    for row in results.candidates.get(pair, []):
        point = read_point(row)
        # Alpha 0 is the control: no teacher has a part in it.
        if point is not None and point[1] != 0 and row.state == "COMPLETE" and row.outcome:
            points[point].append(row.outcome)
    found = [_make_point(point, outcomes, tune.vanilla_point) for point, outcomes in points.items()]
    for case, rows in results.compared_by_pair.get(pair, {}).items():
        if case[1:] == ("student", "vanilla") and tune.vanilla_point in points:
            continue
        point = tune.vanilla_point if case.method == "vanilla" else (math.nan, math.nan)
        order = _rate_method(case.method, case.transfer_set)
        outcomes = [row.outcome for row in rows if row.outcome]
        found.append(Candidate("distil", case.method, case.transfer_set, *point, outcomes, order))
    return [c for c in found if math.isfinite(c.validation_gain)]


def _make_point(
    point: tuple[float, float], outcomes: Sequence[Outcome], vanilla: tuple[float, float]
) -> Candidate:
    method = "vanilla" if point == vanilla else "tuned"
    return Candidate("distil", method, "student", *point, outcomes, _rate_point(point, vanilla))


def _make_setting(mean: SettingMean) -> Candidate:
    taught = uses_teacher(dict(mean.setting), mean.method)
    return Candidate(
        "distil" if taught else "train on",
        name_tuned(mean.method) if taught else "",
        mean.transfer_set,
        math.nan,
        math.nan,
        mean.outcomes,
        mean.order,
        describe_values(mean.setting),
    )


def _rate_point(point: tuple[float, float], vanilla: tuple[float, float]) -> tuple[float, ...]:
    if point == vanilla:
        return _rate_method("vanilla", "student")
    return (len(METHODS), *rate_point(*point, vanilla))


def _rate_method(method: str, transfer_set: str) -> tuple[float, ...]:
    return METHODS.index(method), TRANSFER_SETS.index(transfer_set)


def rank_trial(
    campaign: Campaign, params: Params, outcome: Outcome, method: str | None = None
) -> tuple[float, ...]:
    """Sorts the single trials of a pair as :attr:`Candidate.rank` sorts what they are trials of.

    Args:
        campaign: Its vanilla point.
        params: Those of a trial of stage ``control``, ``tune`` or ``compare``.
        outcome: What it recorded.
        method: What its study tunes, where that is not temperature and alpha alone.
    """
    if method is not None:
        order = rate_setting(campaign, method, get_setting(params))
    elif "temperature" in params:
        point = float(params["temperature"]), float(params["alpha"])
        order = _rate_point(point, campaign.tune.vanilla_point)
    elif "method" in params:
        order = _rate_method(str(params["method"]), str(params["transfer_set"]))
    else:
        order = (TRANSFER_SETS.index(str(params["transfer_set"])),)
    return (-round(read_number(outcome.validation_gain), TIE_DECIMALS), *order)


def _keep_most_repeated(candidates: Sequence[Candidate]) -> list[Candidate]:
    most = max((len(c.outcomes) for c in candidates), default=0)
    return sorted((c for c in candidates if len(c.outcomes) == most), key=lambda c: c.rank)


def _stack_right(candidates: Iterable[Candidate]) -> npt.NDArray[np.float32]:
    """Every candidate, and every student on its line: the best of them all was chosen."""
    columns = []
    for candidate in candidates:
        columns.append(_read_right(candidate.outcomes))
        columns += _read_lines(candidate.outcomes)
    return np.stack(columns, axis=1)


def _read_lines(outcomes: Sequence[Outcome]) -> Iterator[npt.NDArray[np.float32]]:
    """The same of every position at which all replicates were tried, with either statistics."""
    lines = [
        {
            (point.position, measured): point.right
            for measured, points in enumerate((outcome.line, outcome.measured_line))
            for point in points
        }
        for outcome in outcomes
    ]
    for place in sorted(set.intersection(*map(set, lines))):
        tried = (
            replace(outcome, validation=replace(outcome.validation, right=line[place]))
            for outcome, line in zip(outcomes, lines, strict=True)
        )
        yield _read_right(list(tried))


def _read_right(outcomes: Sequence[Outcome]) -> npt.NDArray[np.float32]:
    """By validation image, in how many replicates it was classified rightly: shares in [0, 1]."""
    bits = [unpack_right(outcome.validation) for outcome in outcomes]
    mean: npt.NDArray[np.float32] = np.mean(bits, axis=0, dtype=np.float32)
    return mean


def is_rival(plan: StudyPlan, params: Params, outcome: Outcome) -> bool:
    """Whether a trial's student can be the best of its pair, or of its student alone."""
    if plan.stage not in ("control", "tune", "compare") or outcome.validation_gain is None:
        return False
    # Plain distillation at alpha 0 is the control: no teacher has a part in it.
    taught = plan.method is not None or params.get("alpha") != 0
    return taught and math.isfinite(outcome.validation_gain)


def name_rivals(campaign: Campaign, plan: StudyPlan, params: Params) -> tuple[tuple[str, ...], str]:
    """The studies whose trials a trial competes with, and who competes within them."""
    if plan.stage == "control":
        return (plan.name,), f"s{int(params['student']):02d}"
    pair = plan.teacher, plan.student
    studies = [
        study_name(plan.campaign, plan.partition, stage, *pair) for stage in ("tune", "compare")
    ]
    studies += [
        study_name(plan.campaign, plan.partition, "tune", *pair, method)
        for method in list_searched_methods(campaign)
    ]
    return tuple(studies), "pair"
