"""Check that a campaign lost nothing and did nothing twice, or list the problems.

It reads the rows themselves, without the code that wrote them, and checks:

- every planned trial has one row, and there are no other rows
- no study has two results for the same params
- complete trials have a value and a whole record, failed ones a reason
- running ones have a lease that has not lapsed
- budgets of adaptive samplers are exact
- trial numbers have no gaps
- every artifact that is referred to is there
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import ArtifactError
from kdopt.outcome import Outcome
from kdopt.store import queries
from kdopt.store.attributes import ERROR_KEY, OUTCOME_KEY
from kdopt.store.database import Store
from kdopt.store.queries import RawTrial, read_raw_trials

LATE_S = 30.0
"""Seconds since a lease lapsed before it is a problem: workers look every half a minute."""


class ArtifactReader(Protocol):
    """Where artifacts are kept."""

    def has(self, sha256: str) -> bool:
        """Whether content of that hash is there, its size aside."""
        ...

    def get(self, sha256: str) -> bytes:
        """Read and verify it."""
        ...


@dataclass(frozen=True)
class Checkup:
    """What was found of one campaign.

    Attributes:
        campaign: Its name.
        planned: Trials that its specs ask for.
        rows: Rows that count, failed ones that are tried again left out.
        complete: Trials with a result.
        failed: Trials with a reason instead.
        running: Trials that a worker holds.
        waiting: Trials still to do.
        retried: Failed rows that are tried again in another row.
        duplicates: Results beyond the first for the same params.
        artifacts: Artifacts that were looked for.
        problems: A line each; empty when all is well.
    """

    campaign: str
    planned: int
    rows: int
    complete: int
    failed: int
    running: int
    waiting: int
    retried: int
    duplicates: int
    artifacts: int
    problems: tuple[str, ...]


def check_campaign(
    store: Store, artifacts: ArtifactReader, campaign: str, deep: bool = False
) -> Checkup:
    """Check one campaign.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        deep: Read every artifact and compare its sha256, rather than look whether it is there.
    """
    record = queries.read_record(store, campaign)
    found = read_raw_trials(store, campaign)
    live = [t for t in found if not t.retried]
    by_study: dict[str, list[RawTrial]] = defaultdict(list)
    for trial in live:
        by_study[trial.study].append(trial)
    plans = plan_studies(record.campaign)
    needed = _list_needed(record, found)
    duplicates = list(_find_duplicates(live))
    problems = [
        *_check_studies(plans, by_study),
        *(p for plan in plans for p in _check_study(plan, by_study.get(plan.name, []))),
        *_check_numbers(found),
        *duplicates,
        *(p for t in live for p in _check_trial(t)),
        *_check_artifacts(needed, artifacts, deep),
    ]
    states = Counter(t.state for t in live)
    return Checkup(
        campaign=campaign,
        planned=sum(p.n_trials for p in plans),
        rows=len(live),
        complete=states["COMPLETE"],
        failed=states["FAIL"],
        running=states["RUNNING"],
        waiting=states["WAITING"],
        retried=len(found) - len(live),
        duplicates=len(duplicates),
        artifacts=len(needed),
        problems=tuple(problems),
    )


def _check_studies(
    plans: Sequence[StudyPlan], found: Mapping[str, Sequence[RawTrial]]
) -> Iterator[str]:
    known = {plan.name for plan in plans}
    for name in sorted(found.keys() - known):
        yield f"{name}: {len(found[name])} trials of a study that no spec asks for"


def _check_study(plan: StudyPlan, trials: Sequence[RawTrial]) -> Iterator[str]:
    """Planned cells against rows, and the budget of an adaptive sampler."""
    have = Counter(_make_key(t.params) for t in trials if t.params)
    missing = [c for c in plan.cells if not have[_make_key(dict(c))]]
    if missing:
        yield f"{plan.name}: {len(missing)} planned trials have no row; run 'kdopt plan' again"
    planned = {_make_key(dict(c)) for c in plan.cells}
    extra = len(trials) - sum(_make_key(t.params) in planned for t in trials)
    if extra != plan.open_trials:
        yield (
            f"{plan.name}: {extra} trials beyond the planned cells, "
            f"the budget is {plan.open_trials}"
        )
    for key, n in have.items():
        if n > 1:
            yield f"{plan.name}: {n} rows with the same params ({_format_key(key)})"


def _check_numbers(trials: Sequence[RawTrial]) -> Iterator[str]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        numbers[trial.study].append(trial.number)
    for study, found in numbers.items():
        if sorted(found) != list(range(len(found))):
            yield f"{study}: trial numbers have gaps or repeat; rows were removed or added by hand"


def _find_duplicates(trials: Iterable[RawTrial]) -> Iterator[str]:
    seen = set()
    for trial in trials:
        if trial.state != "COMPLETE":
            continue
        key = (trial.study, _make_key(trial.params))
        if key in seen:
            params = _format_key(key[1])
            yield f"{_name_trial(trial)}: a second result for the same params ({params})"
        seen.add(key)


def _check_trial(trial: RawTrial) -> Iterator[str]:
    name = _name_trial(trial)
    if trial.state == "COMPLETE":
        yield from _check_complete(trial)
    elif trial.state == "FAIL":
        if not trial.attributes.get(ERROR_KEY):
            yield f"{name}: failed without a reason"
    elif trial.state == "RUNNING":
        if not trial.worker:
            yield f"{name}: running without a lease; nobody will requeue it"
        elif trial.lease_left_s < -LATE_S:
            yield (
                f"{name}: its lease lapsed {-trial.lease_left_s:.0f} s ago and no worker "
                "requeued it; start a worker"
            )


def _check_complete(trial: RawTrial) -> Iterator[str]:
    name = _name_trial(trial)
    if trial.values != 1:
        yield f"{name}: complete with {trial.values} values"
    try:
        outcome = Outcome.from_json(trial.attributes[OUTCOME_KEY])
    except (KeyError, TypeError) as error:
        yield f"{name}: complete without a whole record ({type(error).__name__}: {error})"
        return
    if not trial.params:
        yield f"{name}: complete without parameters"
    if not 0 <= outcome.test.accuracy <= 1:
        yield f"{name}: its test accuracy is {outcome.test.accuracy}"


def _list_needed(record: CampaignRecord, trials: Iterable[RawTrial]) -> dict[str, str]:
    """What each artifact is for, by its sha256.

    States of running trials are left out: they come and go, and losing one costs time only.
    """
    return record.artifacts | {t.checkpoint: _name_trial(t) for t in trials if t.checkpoint}


def _check_artifacts(
    needed: Mapping[str, str], artifacts: ArtifactReader, deep: bool
) -> Iterator[str]:
    for sha256, purpose in needed.items():
        try:
            if deep:
                artifacts.get(sha256)
            elif not artifacts.has(sha256):
                yield f"artifact {sha256[:12]}... ({purpose}): missing"
        except ArtifactError as error:
            yield f"{error} ({purpose})"


def _name_trial(trial: RawTrial) -> str:
    return f"{trial.study} #{trial.number}"


def _make_key(params: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(params.items()))


def _format_key(key: tuple[tuple[str, object], ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in key)
