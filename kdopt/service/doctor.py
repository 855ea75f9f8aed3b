"""Check that a store lost nothing, did nothing twice and holds nothing that kdopt did not write.

It reads the rows themselves, without the code that wrote them, and checks:

- every planned trial has one row, and there are no other rows
- no study has two results for the same params
- every column is one that kdopt could have written (:mod:`kdopt.service.trial_checks`), and what
  follows from something else is as it follows (:mod:`kdopt.service.record_checks`)
- running trials have a lease that has not lapsed
- budgets of adaptive samplers are exact
- trial numbers have no gaps
- the campaign's record is the one that was planned, and studies say what they are
- nothing is left of studies and trials that were deleted
- every artifact that is referred to is there

What cannot be read is listed like the rest, and never ends the check.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sqlalchemy.engine import Connection

from kdopt.campaign.names import campaign_study_name
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import ArtifactError, DataError, StoreError
from kdopt.features.measurements import check_measurements
from kdopt.service.class_counts import ClassCounts
from kdopt.service.outlook import describe_skipped
from kdopt.service.record_checks import check_kept, read_kept
from kdopt.service.study_checks import check_own_study, check_study
from kdopt.service.trial_checks import (
    ExaminedTrial,
    Surroundings,
    check_trial,
    list_set_back,
    read_trial,
)
from kdopt.shown import format_count, format_params
from kdopt.store.attributes import RECORD_KEY
from kdopt.store.database import Store
from kdopt.store.orphans import count_orphans, list_lost_rules, list_triggers
from kdopt.store.raw_rows import (
    RawStudy,
    RawTrial,
    select_raw_studies,
    select_raw_trials,
)
from kdopt.store.reading import parse_record
from kdopt.store.scope import (
    Scope,
    list_unreadable_copies,
    scope_of,
    select_kept_record,
    select_record,
    select_record_text,
)
from kdopt.worker.versions import (
    describe_mixture,
    pick_versions,
    read_versions,
)


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
        retried: Failed rows that are tried again in another row, and trials of other programs.
        duplicates: Results beyond the first for the same params.
        artifacts: Artifacts that were looked for.
        problems: A line each; empty when all is well.
        notes: What is worth knowing and no problem.
    """

    campaign: str
    planned: int = 0
    rows: int = 0
    complete: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    retried: int = 0
    duplicates: int = 0
    artifacts: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Found(NamedTuple):
    """All of a campaign, of one moment."""

    scope: Scope
    trials: list[RawTrial]
    studies: list[RawStudy]
    planned_as: str | None
    problems: list[str]


def check_store(store: Store) -> list[str]:
    """What is wrong with a store apart from its campaigns, such as rows that belong to nothing."""
    return store.run_read(lambda connection: list(_check_store(connection)))


def _check_store(connection: Connection) -> Iterator[str]:
    for table, owner, n in count_orphans(connection):
        cure = "they were written or left by other means"
        if table == "kdopt_lease":
            cure = "'kdopt doctor --repair' removes them"
        yield f"{format_count(n, 'row')} of {table} belong to no {owner}; {cure}"
    for what in list_triggers(connection):
        yield (
            f"the database has a {what}, which kdopt did not make: it may change what is recorded; "
            "drop it, unless you know what it does"
        )
    for fault in list_lost_rules(connection):
        yield f"{fault}; take a backup of the store"
    for key in list_unreadable_copies(connection):
        yield f"kdopt_meta has '{key}', which is no campaign's record: others wrote or changed it"


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
    try:
        found = store.run_read(lambda connection: _read_all(store, connection, campaign))
    except StoreError as error:
        return Checkup(campaign, problems=(str(error),))
    plans = plan_studies(found.scope.record.campaign)
    rows = [read_trial(trial) for trial in found.trials]
    live = [row for row in rows if row.trial.counts]
    by_study: dict[str, list[ExaminedTrial]] = defaultdict(list)
    for row in live:
        by_study[row.trial.study].append(row)
    needed = _list_needed(found.scope.record, rows)
    duplicates = list(_find_duplicates(live))
    problems = [
        *found.problems,
        *_check_studies(plans, found),
        *(p for plan in plans for p in _check_plan(plan, by_study.get(plan.name, []))),
        *_check_numbers(found.trials),
        *duplicates,
        *_check_trials(rows, plans, found),
        *check_kept(live, {plan.name: plan for plan in plans}, found.scope.record.campaign),
        *_check_artifacts(needed, artifacts, deep),
        *_check_measured(store, campaign),
    ]
    states = Counter(row.trial.state for row in live)
    return Checkup(
        campaign=campaign,
        planned=sum(p.n_trials for p in plans),
        rows=len(live),
        complete=states["COMPLETE"],
        failed=states["FAIL"],
        running=states["RUNNING"],
        waiting=states["WAITING"],
        retried=len(rows) - len(live),
        duplicates=len(duplicates),
        artifacts=len(needed),
        problems=tuple(problems),
        notes=(
            *_list_versions(store, campaign, rows),
            *_list_skipped(found.scope.record),
            *list_set_back([row.trial for row in live]),
        ),
    )


def _list_skipped(record: CampaignRecord) -> list[str]:
    try:
        return describe_skipped(record.campaign)
    except DataError:
        return []  # the images may lie elsewhere, where they can be read


def _list_versions(store: Store, campaign: str, rows: Iterable[ExaminedTrial]) -> Iterator[str]:
    results = [row.outcome.versions for row in rows if row.outcome is not None]
    found = [pick_versions(versions) for versions in results if versions]
    return describe_mixture([*read_versions(store, campaign), *found])


def _read_all(store: Store, connection: Connection, campaign: str) -> _Found:
    """Read everything; a record that cannot be read is replaced by kdopt's own copy."""
    problems = []
    kept = None
    try:
        kept = select_kept_record(connection, campaign)
    except StoreError as error:
        problems.append(str(error))
    try:
        record = select_record(connection, campaign)
    except StoreError as error:
        if kept is None or select_record_text(connection, campaign) is None:
            raise
        record = parse_record(kept.record)
        problems.append(str(error))
    scope = scope_of(connection, record)
    studies = select_raw_studies(connection, campaign)
    own = campaign_study_name(campaign)
    if not any(study.name == own and RECORD_KEY in study.attributes for study in studies):
        problems.append(
            f"{own}: this study, or the campaign's record in it, was deleted; 'kdopt plan SPEC' "
            "and 'kdopt doctor --repair' write it again"
        )
    if kept is not None and parse_record(kept.record) != record:
        problems.append(
            f"{own}: {RECORD_KEY} is not what was planned last, in settings that change no result; "
            "run 'kdopt plan SPEC' again"
        )
    problems += [
        f"{name}: no study of this campaign is called so, and it is left out; delete it or give it "
        "a name that does not begin with the campaign's"
        for name in scope.foreign
    ]
    trials = select_raw_trials(store, connection, scope)
    return _Found(scope, trials, studies, kept and kept.planned_as, problems)


def _check_studies(plans: Sequence[StudyPlan], found: _Found) -> Iterator[str]:
    """Studies of no plan, and those that do not say what they are."""
    by_name = {plan.name: plan for plan in plans}
    rows = Counter(trial.study for trial in found.trials)
    own = {name for name, _ in found.scope.studies.values()}
    for name in sorted(own - by_name.keys()):
        yield f"{name}: {format_count(rows[name], 'trial')} of a study that no spec asks for"
    missing = [plan.name for plan in plans if plan.name not in own]
    if missing:
        yield (
            f"{format_count(len(missing), 'planned study is', 'planned studies are')} not there "
            f"({missing[0]}, ...): they were deleted; run 'kdopt plan SPEC' again"
        )
    for study in found.studies:
        if study.name == campaign_study_name(found.scope.record.campaign.name):
            yield from check_own_study(study, found.planned_as)
        plan = by_name.get(study.name)
        if plan is not None:
            yield from check_study(study, plan, found.planned_as)


def _check_plan(plan: StudyPlan, trials: Sequence[ExaminedTrial]) -> Iterator[str]:
    """Planned cells against rows, and the budget of an adaptive sampler."""
    have = Counter(_make_key(t.params) for t in trials if t.params)
    missing = [c for c in plan.cells if not have[_make_key(dict(c))]]
    if missing:
        yield (
            f"{plan.name}: "
            f"{format_count(len(missing), 'planned trial has', 'planned trials have')} no row; "
            "run 'kdopt plan' again"
        )
    planned = {_make_key(dict(c)) for c in plan.cells}
    extra = len(trials) - sum(_make_key(t.params) in planned for t in trials)
    if extra != plan.open_trials:
        yield (
            f"{plan.name}: {format_count(extra, 'trial')} beyond the planned cells, "
            f"the budget is {plan.open_trials}"
        )
    for key, n in have.items():
        if n > 1:
            params = format_params(dict(key))
            yield f"{plan.name}: {format_count(n, 'row')} with the same params ({params})"


def _check_numbers(trials: Sequence[RawTrial]) -> Iterator[str]:
    numbers: dict[str, list[object]] = defaultdict(list)
    for trial in trials:
        numbers[trial.study].append(trial.number)
    for study, found in numbers.items():
        if set(found) != set(range(len(found))):
            yield f"{study}: trial numbers have gaps or repeat; rows were removed or added by hand"


def _find_duplicates(trials: Iterable[ExaminedTrial]) -> Iterator[str]:
    seen = set()
    for found in trials:
        if found.trial.state != "COMPLETE":
            continue
        key = (found.trial.study, _make_key(found.params))
        if key in seen:
            params = format_params(found.params)
            yield f"{found.trial.label}: a second result for the same params ({params})"
        seen.add(key)


def _check_trials(
    rows: Sequence[ExaminedTrial], plans: Sequence[StudyPlan], found: _Found
) -> Iterator[str]:
    by_name = {plan.name: plan for plan in plans}
    around = Surroundings(found.scope.record.campaign)
    around.by_id = {trial.trial_id: trial for trial in found.trials}
    lengths: Counter[int] = Counter()
    results = [row.outcome for row in rows if row.outcome is not None]
    one_validation = found.scope.record.campaign.data.validation == "global"
    around.class_counts = ClassCounts(results, one_validation)
    for row in rows:
        plan = by_name.get(row.trial.study)
        if row.outcome is None or row.trial.state != "COMPLETE" or plan is None:
            continue
        lengths[len(row.outcome.test.per_class)] += 1
        who = row.params.get("participant")
        if plan.stage == "pretrain" and who is not None:
            around.pretrained[plan.partition, int(who)] = row.outcome
    # The images are not here to count their classes: what most records say.
    around.classes = max(lengths, key=lengths.__getitem__, default=0)
    for row in rows:
        for problem in row.problems if row.trial.counts else ():
            yield f"{row.trial.label}: {problem}"
        for problem in check_trial(row, by_name.get(row.trial.study), around):
            yield f"{row.trial.label}: {problem}"


def _list_needed(record: CampaignRecord, rows: Iterable[ExaminedTrial]) -> dict[str, str]:
    """What each artifact is for, by its sha256.

    States of running trials are left out: they come and go, and losing one costs time only.
    """
    weights = {
        row.outcome.checkpoint: row.trial.label
        for row in rows
        if row.outcome is not None and row.outcome.checkpoint
    }
    students = {
        kept.sha256: f"student of {row.trial.label}"
        for row in rows
        if (kept := read_kept(row)) is not None
    }
    return record.artifacts | weights | students


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


def _check_measured(store: Store, campaign: str) -> list[str]:
    try:
        return check_measurements(store, campaign)
    except StoreError as error:
        return [str(error)]


def _make_key(params: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(params.items()))
