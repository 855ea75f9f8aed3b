"""Which trial's student is taken home, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdopt.analysis.paired_test import ImageLead, measure_lead
from kdopt.analysis.reruns import Deviation
from kdopt.analysis.results import CampaignResults, read_point
from kdopt.analysis.stats import compute_mean
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuned_methods import TUNED, list_method_names, name_tuned
from kdopt.analysis.verdicts import PairVerdict, list_candidates, rank_trial
from kdopt.campaign.stage_settings import METHODS, UNLABELED
from kdopt.errors import AdviceError
from kdopt.outcome import Outcome, Pair, TrialRow


class TrialChoice(NamedTuple):
    """Which trial of a pair is wanted; with nothing said, the one that the verdict names.

    Attributes:
        trial: ``N`` of the pair's study of stage ``tune`` (``compare`` where it has none),
            ``STAGE/N``, or ``METHOD/N`` for a method with a study of its own.
        method: A method's name, ``tuned`` or ``tuned_NAME``.
        temperature: Of the trial.
        alpha: Of the trial.
    """

    trial: str | None = None
    method: str | None = None
    temperature: float | None = None
    alpha: float | None = None


class ChosenTrial(NamedTuple):
    """The trial whose student is wanted.

    Attributes:
        row: It; for a student that is left as it is, its pre-training.
        action: What was done with the student.
        by_verdict: Whether the verdict on the pair chose it.
    """

    row: TrialRow
    action: PairVerdict
    by_verdict: bool


@dataclass(frozen=True)
class StudentRecord:
    """All that is known of a student that was taken home, as plain values.

    Attributes:
        campaign: The campaign's name.
        pair: Who taught whom.
        chosen: The trial that it is from.
        method: How it was taught; empty without a teacher.
        temperature: NaN where the method has none.
        alpha: The same.
        images: The transfer set it was trained on.
        source: ``trained again``, ``kept`` or ``pre-trained``.
        found: The outcome as it came out now.
        deviations: What differs from the record.
        machine: How machine or versions differ from those of the record.
        untouched: The student's pre-training.
        gain: The lead of what came out now over the untouched student on test; ``None`` if it is
            not known image by image.
        net_gain: The same over training on without a teacher; ``None`` where that did not run.
        replicates: Trials of the same setting.
        mean_gain: Their mean test gain, pp; NaN without one.
        hashes: What was hashed, and its sha256.
    """

    campaign: str
    pair: Pair
    chosen: ChosenTrial
    method: str
    temperature: float
    alpha: float
    images: str
    source: str
    found: Outcome
    deviations: tuple[Deviation, ...]
    machine: str
    untouched: Outcome
    gain: ImageLead | None
    net_gain: ImageLead | None
    replicates: int
    mean_gain: float
    hashes: Mapping[str, str]

    @property
    def recorded(self) -> Outcome:
        """The outcome on record."""
        return get_outcome(self.chosen.row)

    @property
    def name(self) -> str:
        """The trial, such as ``mine/uniform/tune/t00-s01 #3``."""
        return name_trial(self.chosen.row)


def name_trial(row: TrialRow) -> str:
    """How a trial is called: its study and its number."""
    return f"{row.study} #{row.number}"


def get_outcome(row: TrialRow) -> Outcome:
    """The outcome of a complete trial."""
    assert row.outcome is not None
    return row.outcome


def choose_trial(tables: Tables, pair: Pair, choice: TrialChoice) -> ChosenTrial:
    """The trial of a pair that is wanted.

    Of several replicates it is the best on validation, among equals the first.

    Raises:
        AdviceError: There is no such pair or trial, it is not complete, or nothing is decided.
    """
    results = tables.results
    if pair not in results.pairs:
        raise AdviceError(
            f"{pair.partition}/{pair.label}: campaign '{tables.campaign.name}' has no such pair; "
            f"'kdopt best {tables.campaign.name}' lists all"
        )
    if choice.trial is not None:
        if choice[1:] != (None, None, None):
            raise AdviceError(
                f"trial {choice.trial} is one trial, so it has its method, temperature and alpha; "
                "name the trial, or those"
            )
        return _find_numbered(results, pair, choice.trial)
    if choice != TrialChoice():
        return _find_setting(results, pair, choice)
    return _follow_verdict(tables, pair)


def describe_setting(results: CampaignResults, row: TrialRow) -> tuple[str, float, float]:
    """Method, temperature and alpha of a trial; empty and NaN without a teacher.

    Temperature and alpha are NaN too where they are not plain distillation's.
    """
    if row.method is not None:
        return name_tuned(row.method), math.nan, math.nan
    vanilla = results.campaign.tune.vanilla_point
    if row.stage == "compare":
        method = str(row.params["method"])
        return (method, *(vanilla if method == "vanilla" else (math.nan, math.nan)))
    point = read_point(row)
    if point is None:
        return "", math.nan, math.nan
    return ("vanilla" if point == vanilla else TUNED, *point)


def measure_leads(
    results: CampaignResults, pair: Pair, row: TrialRow, found: Outcome
) -> tuple[ImageLead | None, ImageLead | None]:
    """The gain of a trial's student on test, and what is left of it beyond the control.

    Args:
        results: The campaign's trials.
        pair: Whose student it is.
        row: The trial.
        found: What came of it, now or on record.
    """
    untouched = [results.pretrained[pair.partition, pair.student]]
    images = str(row.params.get("transfer_set", "student"))
    control = results.list_control_outcomes(pair, images)
    gain = measure_lead([found], untouched)
    return gain, measure_lead([found], untouched if images in UNLABELED else control)


def average_replicates(results: CampaignResults, row: TrialRow) -> tuple[int, float]:
    """How many trials share a trial's setting, and their mean test gain (pp)."""

    def name_setting(other: TrialRow) -> dict[str, object]:
        return {key: value for key, value in other.params.items() if key != "replicate"}

    wanted = name_setting(row)
    gains = [
        other.outcome.test_gain
        for other in results.by_stage[row.stage]
        if other.study == row.study and other.outcome and name_setting(other) == wanted
    ]
    return len(gains), compute_mean(gain for gain in gains if gain is not None)


def _follow_verdict(tables: Tables, pair: Pair) -> ChosenTrial:
    verdicts, results = tables.verdicts, tables.results
    mine = (verdicts[["partition", "teacher", "student"]] == list(pair)).all(axis=1)
    action: PairVerdict = verdicts.loc[mine, "action"].iloc[0]
    if action == "leave as it is":
        rows = results.by_stage["pretrain"]
        row = next(
            r
            for r in rows
            if r.partition == pair.partition and r.params["participant"] == pair.student
        )
        return ChosenTrial(row, action, by_verdict=True)
    if action == "undecided":
        raise AdviceError(
            f"{pair.partition}/{pair.label}: nothing is decided about this pair yet; 'kdopt best' "
            "says why. Run the campaign to its end, or name a trial with --trial or --method"
        )
    trained, distilled = list_candidates(pair, results)
    outcomes = (distilled if action == "distil" else trained)[0].outcomes
    # Candidates hold the very outcomes of the rows, whichever stage counts them as its own.
    rows = [r for r in results.rows if any(r.outcome is outcome for outcome in outcomes)]
    return ChosenTrial(_choose_best(results, rows), action, by_verdict=True)


def _find_numbered(results: CampaignResults, pair: Pair, text: str) -> ChosenTrial:
    named, _, number = text.rpartition("/")
    stage = named or ("tune" if pair in results.tuned else "compare")
    rows = [
        row
        for row in results.rows
        if (row.method or row.stage) == stage
        and _is_of_pair(row, pair)
        and str(row.number) == number
    ]
    if not rows:
        raise AdviceError(
            f"trial '{text}': {pair.partition}/{pair.label} has no such trial; write its number in "
            f"study {results.campaign.name}/{pair.partition}/tune/{pair.label}, or STAGE/NUMBER "
            "with tune, compare, control or pretrain, or METHOD/NUMBER for a tuned method"
        )
    if rows[0].state != "COMPLETE" or rows[0].outcome is None:
        raise AdviceError(
            f"trial '{text}': it is {rows[0].state.lower()}, so it has no student; "
            "run the campaign, or choose a complete trial"
        )
    return ChosenTrial(rows[0], _name_action(rows[0]), by_verdict=False)


def _find_setting(results: CampaignResults, pair: Pair, choice: TrialChoice) -> ChosenTrial:
    rows = [
        row
        for stage in ("compare", "tune")
        for row in results.by_stage.get(stage, [])
        if row.pair == pair and row.outcome is not None and _is_choice(results, row, choice)
    ]
    if not rows:
        others = map(name_tuned, list_method_names(results))
        wanted = ", ".join(
            f"{key} {value}" for key, value in choice._asdict().items() if value is not None
        )
        raise AdviceError(
            f"{pair.partition}/{pair.label}: no complete trial with {wanted}; methods are "
            f"{', '.join((*METHODS, TUNED, *others))}, and the report lists what was tried"
        )
    row = _choose_best(results, rows)
    return ChosenTrial(row, _name_action(row), by_verdict=False)


def _is_choice(results: CampaignResults, row: TrialRow, choice: TrialChoice) -> bool:
    method, *point = describe_setting(results, row)
    # Vanilla's point is one of those that tuning tries.
    methods = (method, TUNED) if row.stage == "tune" else (method,)
    return (choice.method is None or choice.method in methods) and all(
        wanted is None or wanted == value
        for wanted, value in zip((choice.temperature, choice.alpha), point, strict=True)
    )


def _choose_best(results: CampaignResults, rows: Sequence[TrialRow]) -> TrialRow:
    return min(
        rows, key=lambda row: rank_trial(results.campaign, row.params, get_outcome(row), row.method)
    )


def _is_of_pair(row: TrialRow, pair: Pair) -> bool:
    if row.pair is not None:
        return row.pair == pair
    who = row.params.get("participant", row.params.get("student"))
    return row.partition == pair.partition and who == pair.student


def _name_action(row: TrialRow) -> PairVerdict:
    if row.stage == "pretrain":
        return "leave as it is"
    # Plain distillation at alpha 0 is the control: no teacher has a part in it.
    alone = row.stage == "control" or (row.method is None and row.params.get("alpha") == 0)
    return "train on" if alone else "distil"
