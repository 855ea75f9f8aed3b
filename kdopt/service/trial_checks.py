"""Whether kdopt can have written what a row of ``trials`` and all that belongs to it say.

What follows from something else is computed again: a gain from two accuracies, an accuracy from
the images that were right, the value from the record.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kdopt.campaign.plain import describe_value
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Param, ParamValue, StudyPlan
from kdopt.outcome import Outcome
from kdopt.service.class_counts import ClassCounts
from kdopt.service.record_checks import check_outcome
from kdopt.shown import format_count
from kdopt.store.attributes import (
    ERROR_KEY,
    FIXED_PARAMS_KEY,
    GIVEN_BACK_KEY,
    IGNORED_KEY,
    OTHER_WEIGHTS_KEY,
    OUTCOME_KEY,
    RETRIED_KEY,
    RETRY_OF_KEY,
    STATE_KEY,
    list_shown_values,
    parse_saved_state,
)
from kdopt.store.given_back import is_note_of_giving_back
from kdopt.store.leases import MAX_ATTEMPTS
from kdopt.store.params import decode_value, write_distribution
from kdopt.store.queries import STATES
from kdopt.store.raw_rows import RawTrial
from kdopt.store.reading import UnreadableError, parse_json, parse_outcome, parse_plain

LATE_S = 30.0
"""Seconds since a lease lapsed before it is a problem: workers look every half a minute."""

LONGEST_LEASE_S = 3600.0
"""Seconds that no lease is good for; workers renew theirs every quarter of a minute."""

LONG_AGO_S = 20 * 365 * 86_400.0
"""Seconds before now in which there was no kdopt."""

FUTURE_S = 86_400.0
"""Seconds that clocks of machines may differ by, whose databases were merged."""

ROUNDING_S = 0.002
"""Seconds by which a difference of two stored times may be off."""

SET_BACK_S = FUTURE_S / 2
"""Seconds that the clock of a database may be set back by while a trial runs."""

SAVES_STATES = ("federate",)
"""Stages whose trials may save a state to go on from."""


@dataclass
class Surroundings:
    """What a trial is compared with.

    Attributes:
        campaign: The settings.
        classes: Classes of the data set; 0 while no record says.
        pretrained: Pre-training outcomes by partition and participant.
        by_id: All rows of the campaign.
        class_counts: How many images of each class its sets have, as far as that is known.
    """

    campaign: Campaign
    classes: int = 0
    class_counts: ClassCounts = field(default_factory=ClassCounts)
    pretrained: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    by_id: dict[int, RawTrial] = field(default_factory=dict)


@dataclass
class ExaminedTrial:
    """A row that was looked through.

    Attributes:
        trial: The row.
        params: Its parameters, as far as they can be read.
        outcome: Its record, if it can be read.
        problems: What is wrong, a line each without the trial's name.
    """

    trial: RawTrial
    params: dict[str, ParamValue]
    outcome: Outcome | None
    problems: list[str]


def read_trial(trial: RawTrial) -> ExaminedTrial:
    """Read a row; what cannot be read is a problem of it."""
    problems, params, outcome = [], {}, None
    for name, (stored, distribution) in trial.params.items():
        try:
            params[name] = decode_value(name, stored, distribution)
        except UnreadableError as error:
            problems.append(f"parameter {name}: {error}")
    if OUTCOME_KEY in trial.attributes:
        try:
            outcome = parse_outcome(trial.attributes[OUTCOME_KEY])
        except UnreadableError as error:
            problems.append(f"its record cannot be read: {error}")
    return ExaminedTrial(trial, params, outcome, problems)


def check_trial(
    checked: ExaminedTrial, plan: StudyPlan | None, around: Surroundings
) -> Iterator[str]:
    """What is wrong with a row, besides what could not be read.

    Args:
        checked: The row.
        plan: Its study's plan; ``None`` if no spec asks for the study.
        around: What it is compared with.
    """
    trial = checked.trial
    if type(trial.number) is not int or trial.number < 0:
        yield f"its number is {describe_value(trial.number)}"
    if trial.state not in STATES:
        yield f"state {trial.state}, which kdopt never writes; another program ended it"
        return
    yield from _check_links(trial, around.by_id)
    if IGNORED_KEY in trial.attributes:
        if trial.state != "FAIL":
            yield f"{IGNORED_KEY}, although it did not fail"
        return
    if plan is not None:
        yield from _check_params(checked, plan)
    yield from _check_times(trial)
    yield from _check_values(checked)
    yield from _check_lease(trial, plan)
    yield from _check_state(checked)
    yield from _check_notes(trial, plan)
    if checked.outcome is not None and trial.state == "COMPLETE" and plan is not None:
        yield from check_outcome(checked, plan, around)


def _check_links(trial: RawTrial, by_id: Mapping[int, RawTrial]) -> Iterator[str]:
    for key, back in ((RETRIED_KEY, RETRY_OF_KEY), (RETRY_OF_KEY, RETRIED_KEY)):
        if key not in trial.attributes:
            continue
        if key == RETRIED_KEY and trial.state != "FAIL":
            yield f"{key}, although it did not fail"
        try:
            other = by_id.get(parse_plain(int, trial.attributes[key]))
            known = other and parse_plain(int, other.attributes.get(back))
        except UnreadableError as error:
            yield f"{key}: {error}"
            continue
        if other is None or other.study_id != trial.study_id or known != trial.trial_id:
            yield f"{key} names a trial that does not name it"


def _check_params(checked: ExaminedTrial, plan: StudyPlan) -> Iterator[str]:
    trial, params = checked.trial, checked.params
    missing = sorted(plan.space.keys() - trial.params.keys())
    if missing and (trial.params or not plan.open_trials or trial.state == "COMPLETE"):
        yield f"no parameter {missing[0]}" if trial.params else "no parameters"
    for name in sorted(params.keys() & plan.space.keys()):
        param, value = plan.space[name], params[name]
        if param.kind != "category" and not param.low <= float(value) <= param.high:
            yield f"parameter {name} = {value}, where {param.low:g} to {param.high:g} is planned"
        if not _is_own_distribution(trial.params[name][1], param):
            yield f"the distribution of parameter {name} is none that kdopt writes"


@functools.lru_cache(maxsize=4096)  # most trials share a few texts
def _is_own_distribution(text: object, param: Param) -> bool:
    """Whether it is as kdopt writes it, for this campaign or an earlier, smaller one."""
    found, own = parse_json(text), parse_json(write_distribution(param))
    attributes = dict(found["attributes"])
    if param.kind == "category":
        n = min(len(attributes["choices"]), len(param.choices))
        return bool(attributes["choices"][:n] == own["attributes"]["choices"][:n])
    bounds = {"low": attributes["low"], "high": attributes["high"]}
    within = param.low <= bounds["low"] and bounds["high"] <= param.high
    return bool(
        within and found["name"] == own["name"] and attributes == own["attributes"] | bounds
    )


def _check_times(trial: RawTrial) -> Iterator[str]:
    began, ended = trial.has_times
    wanted = {
        "WAITING": (False, False),
        "RUNNING": (True, False),
        "COMPLETE": (True, True),
        "FAIL": (True, True),
    }[trial.state]
    for what, has, wants, ago_s in (
        ("start", began, wanted[0], trial.started_ago_s),
        ("end", ended, wanted[1], trial.ended_ago_s),
    ):
        if has != wants:
            yield f"{trial.state} with{'' if has else 'out'} a time of its {what}"
        elif has and (ago_s is None or not math.isfinite(ago_s)):
            yield f"the time of its {what} cannot be read"
        elif has and ago_s is not None and not -FUTURE_S <= ago_s <= LONG_AGO_S:
            yield f"its {what} is in the future, or before kdopt was"
    if _measure_reversal(trial) > SET_BACK_S:
        yield "it ended before it began"


def list_set_back(trials: Sequence[RawTrial]) -> list[str]:
    """What is to be noted of trials that ended before they began, by less than half a day.

    A clock that is set back while a trial runs is no fault of the store's.
    """
    found = {t.label: s for t in trials if ROUNDING_S < (s := _measure_reversal(t)) <= SET_BACK_S}
    if not found:
        return []
    worst = max(found, key=found.__getitem__)
    return [
        f"{format_count(len(found), 'trial ended before it', 'trials ended before they')} began, "
        f"the most by {found[worst]:.3g} s ({worst}): the clock was set back meanwhile, or the "
        "times were changed"
    ]


def _measure_reversal(trial: RawTrial) -> float:
    """Seconds by which a trial ended before it began; less than 0 for one that did not."""
    if trial.started_ago_s is None or trial.ended_ago_s is None:
        return -math.inf
    return trial.ended_ago_s - trial.started_ago_s


def _check_values(checked: ExaminedTrial) -> Iterator[str]:
    trial, outcome = checked.trial, checked.outcome
    if trial.state != "COMPLETE":
        if trial.values:
            yield f"{trial.state} with a value"
    elif len(trial.values) != 1:
        yield f"complete with {format_count(len(trial.values), 'value')}"
    elif outcome is not None and trial.values[0] != (0, outcome.value, "FINITE"):
        shown = ", ".join(map(describe_value, trial.values[0]))
        yield f"its value is ({shown}), its record says {outcome.value}"
    rounds = {} if outcome is None else dict(enumerate(outcome.rounds))
    for step, value, kind in trial.steps:
        fits = type(step) is int and step >= 0 and kind == "FINITE" and _is_share(value)
        # One that failed keeps what it reported before.
        if not fits or "/federate" not in trial.study or trial.state == "WAITING":
            yield f"an intermediate value that no run reports: step {describe_value(step)}"
        elif rounds and (step not in rounds or rounds[step].validation_accuracy != value):
            yield f"the intermediate value of step {step} is not that of its record"
    reported = {step for step, *_ in trial.steps}
    if rounds and trial.state == "COMPLETE" and len(reported) < len(rounds):
        yield (
            f"{format_count(len(reported), 'intermediate value')}, and its record has "
            f"{format_count(len(rounds), 'round')}"
        )
    if outcome is not None and trial.state == "COMPLETE":
        yield from _check_scalars(trial, outcome)


def _check_scalars(trial: RawTrial, outcome: Outcome) -> Iterator[str]:
    """What is shown as columns in the dashboard."""
    values = list_shown_values(outcome)
    for key, value in values.items():
        shown = trial.attributes.get(key)
        if shown is None and value is not None and values.keys() & trial.attributes.keys():
            yield f"{key} is missing, its record says {value}"
        elif shown is not None and shown != json.dumps(value):
            yield f"{key} = {describe_value(shown)}, its record says {value}"


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _check_lease(trial: RawTrial, plan: StudyPlan | None) -> Iterator[str]:
    lease = trial.lease
    if trial.state == "RUNNING" and (lease is None or not lease.worker):
        yield "running without a lease: another program took it"
    if lease is None:
        return
    if not isinstance(lease.worker, str) or type(lease.attempt) is not int or lease.attempt < 0:
        yield f"its lease names {describe_value(lease.worker)}, {describe_value(lease.attempt)}"
    elif plan is not None and plan.stage not in SAVES_STATES and lease.attempt > MAX_ATTEMPTS:
        yield f"its lease is of run {lease.attempt:,}, and a trial has {MAX_ATTEMPTS} at most"
    if trial.state == "WAITING" and lease.worker:
        yield "waiting, and a worker has its lease"
    if lease.left_s is None or not abs(lease.left_s) <= LONG_AGO_S:
        yield "the time of its lease cannot be read, or is none that kdopt writes"
    elif trial.state != "RUNNING" or not lease.worker:
        return
    elif lease.left_s < -LATE_S:
        late = f"its lease lapsed {-lease.left_s:.0f} s ago"
        yield f"{late} and no worker requeued it; start a worker"
    elif lease.left_s > LONGEST_LEASE_S:
        yield f"its lease ends in {lease.left_s:.3g} s; workers take a minute or two at a time"


def _check_state(checked: ExaminedTrial) -> Iterator[str]:
    trial, attributes = checked.trial, checked.trial.attributes
    complete = trial.state == "COMPLETE"
    if complete and OUTCOME_KEY not in attributes:
        yield "complete without a record: another program ended it"
    if not complete and OUTCOME_KEY in attributes:
        yield f"{trial.state} with the record of a result"
    if trial.state == "FAIL":
        try:
            if not parse_plain(str, attributes.get(ERROR_KEY)):
                yield "failed without a reason"
        except UnreadableError:
            yield "failed without a reason that can be read"
    elif ERROR_KEY in attributes:
        yield f"{trial.state} with the reason of a failure"
    if STATE_KEY in attributes:
        saved = parse_saved_state(attributes[STATE_KEY])
        attempt = trial.lease.attempt if trial.lease else 0
        if trial.state not in ("WAITING", "RUNNING"):
            yield f"{trial.state} with a state to go on from"
        elif saved is None:
            yield "its saved state cannot be read; it starts from the beginning"
        elif isinstance(attempt, int) and not 0 <= saved.attempt <= attempt:
            yield f"its saved state is of run {saved.attempt}, and it had {attempt}"
    if trial.state == "WAITING" and FIXED_PARAMS_KEY in trial.system:
        yield "enqueued by another program: it is not run"


def _check_notes(trial: RawTrial, plan: StudyPlan | None) -> Iterator[str]:
    """What another program noted of a trial, or noted in kdopt's name."""
    if trial.state != "WAITING":
        for key in sorted(trial.system):
            yield f"Optuna's attribute {describe_value(key)}: another program wrote it"
    if trial.beat:
        yield "a heartbeat of Optuna: another program ran it, and Optuna may end it"
    # One that ended by a merge keeps it, and nobody reads it there.
    note = trial.attributes.get(GIVEN_BACK_KEY) if trial.state in ("WAITING", "RUNNING") else None
    if note is not None and not is_note_of_giving_back(note):
        yield f"{GIVEN_BACK_KEY} cannot be read"
    if OTHER_WEIGHTS_KEY in trial.attributes and (
        trial.attributes[OTHER_WEIGHTS_KEY] != "true"
        or trial.state != "COMPLETE"
        or (plan is not None and plan.stage == "pretrain")
    ):
        yield f"{OTHER_WEIGHTS_KEY}, which only merged results that rest on pre-training have"
