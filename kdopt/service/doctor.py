"""Prove that a campaign lost nothing and did nothing twice, or say what is off.

What is checked, of the rows themselves and not of what wrote them: every planned trial has one
row and no other row is there; no cell has two results; complete trials have a value and a whole
record, failed ones a reason; running ones have a lease that has not lapsed; budgets of adaptive
samplers are exact; trial numbers have no gaps; every artifact that is referred to is there.
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
from kdopt.store import rows
from kdopt.store.database import Store
from kdopt.store.raw import RawTrial, read_raw

LATE_S = 30.0
"""A lease that lapsed less than this ago is still to be taken back in the ordinary way."""


class Shelf(Protocol):
    """Where artifacts lie."""

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
        duplicates: Results beyond the first of a cell.
        artifacts: Artifacts that were looked for.
        problems: What is off, a line each; empty when all is well.
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


def check(store: Store, shelf: Shelf, campaign: str, deep: bool = False) -> Checkup:
    """Check one campaign.

    Args:
        store: The store.
        shelf: Its artifacts.
        campaign: The campaign.
        deep: Read every artifact and compare its sha256, rather than look whether it is there.
    """
    record = rows.read_record(store, campaign)
    found = read_raw(store, campaign)
    live = [t for t in found if not t.retried]
    by_study: dict[str, list[RawTrial]] = defaultdict(list)
    for trial in live:
        by_study[trial.study].append(trial)
    plans = plan_studies(record.campaign)
    needed = _needed(record, found)
    duplicates = list(_twice(live))
    problems = [
        *_studies(plans, by_study),
        *(p for plan in plans for p in _study(plan, by_study.get(plan.name, []))),
        *_numbers(found),
        *duplicates,
        *(p for t in live for p in _trial(t)),
        *_artifacts(needed, shelf, deep),
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


def _studies(plans: Sequence[StudyPlan], found: Mapping[str, Sequence[RawTrial]]) -> Iterator[str]:
    known = {plan.name for plan in plans}
    for name in sorted(found.keys() - known):
        yield f"{name}: {len(found[name])} trials of a study that no spec asks for"


def _study(plan: StudyPlan, trials: Sequence[RawTrial]) -> Iterator[str]:
    """Planned cells against rows, and the budget of an adaptive sampler."""
    have = Counter(_key(t.params) for t in trials if t.params)
    missing = [c for c in plan.cells if not have[_key(dict(c))]]
    if missing:
        yield f"{plan.name}: {len(missing)} planned trials have no row; run 'kdopt plan' again"
    planned = {_key(dict(c)) for c in plan.cells}
    extra = len(trials) - sum(_key(t.params) in planned for t in trials)
    if extra != plan.open_trials:
        yield (
            f"{plan.name}: {extra} trials beyond the planned cells, "
            f"the budget is {plan.open_trials}"
        )
    for cell, n in have.items():
        if n > 1:
            yield f"{plan.name}: {n} rows of one cell ({_text(cell)})"


def _numbers(trials: Sequence[RawTrial]) -> Iterator[str]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        numbers[trial.study].append(trial.number)
    for study, found in numbers.items():
        if sorted(found) != list(range(len(found))):
            yield f"{study}: trial numbers have gaps or repeat; rows were removed or added by hand"


def _twice(trials: Iterable[RawTrial]) -> Iterator[str]:
    seen = set()
    for trial in trials:
        if trial.state != "COMPLETE":
            continue
        key = (trial.study, _key(trial.params))
        if key in seen:
            yield f"{_name(trial)}: a second result of one cell ({_text(key[1])})"
        seen.add(key)


def _trial(trial: RawTrial) -> Iterator[str]:
    if trial.state == "COMPLETE":
        yield from _complete(trial)
    elif trial.state == "FAIL":
        if not trial.attributes.get("kd:error"):
            yield f"{_name(trial)}: failed without a reason"
    elif trial.state == "RUNNING":
        if not trial.worker:
            yield f"{_name(trial)}: running without a lease; nobody will take it back"
        elif trial.lease_left_s < -LATE_S:
            yield (
                f"{_name(trial)}: its lease lapsed {-trial.lease_left_s:.0f} s ago and no worker "
                "took it back; start a worker"
            )


def _complete(trial: RawTrial) -> Iterator[str]:
    if trial.values != 1:
        yield f"{_name(trial)}: complete with {trial.values} values"
    try:
        outcome = Outcome.from_json(trial.attributes["kd:metrics"])
    except (KeyError, TypeError) as error:
        yield f"{_name(trial)}: complete without a whole record ({type(error).__name__}: {error})"
        return
    if not trial.params:
        yield f"{_name(trial)}: complete without parameters"
    if not 0 <= outcome.test.accuracy <= 1:
        yield f"{_name(trial)}: its test accuracy is {outcome.test.accuracy}"


def _needed(record: CampaignRecord, trials: Iterable[RawTrial]) -> dict[str, str]:
    """What each artifact is for, by its sha256.

    States of running trials are left out: they come and go, and losing one costs time only.
    """
    return record.artifacts | {t.checkpoint: _name(t) for t in trials if t.checkpoint}


def _artifacts(needed: Mapping[str, str], shelf: Shelf, deep: bool) -> Iterator[str]:
    for sha256, purpose in needed.items():
        try:
            if deep:
                shelf.get(sha256)
            elif not shelf.has(sha256):
                yield f"artifact {sha256[:12]}... ({purpose}): missing"
        except ArtifactError as error:
            yield f"{error} ({purpose})"


def _name(trial: RawTrial) -> str:
    return f"{trial.study} #{trial.number}"


def _key(cell: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(cell.items()))


def _text(key: tuple[tuple[str, object], ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in key)
