"""Ask the store how far a campaign is: counts, pace, who works on what, what failed."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy.engine import Connection

from kdopt.campaign.names import PAIR_STAGES, StageName, campaign_study_name, parse_study_name
from kdopt.campaign.stages import plan_studies
from kdopt.service.stage_progress import (
    AT_MOST_S,
    LEAST,
    RECENT_S,
    RecentTrials,
    Span,
    count_partitions,
    count_stages,
    estimate_campaign_eta,
)
from kdopt.service.status_values import FailureGroup, Status, WorkerState, WorkerStatus
from kdopt.shown import format_count
from kdopt.store import activity, queries
from kdopt.store.activity import FailureReason, RunningTrial
from kdopt.store.database import Store
from kdopt.store.foreign import count_foreign_trials
from kdopt.store.given_back import GivenBack, read_given_back
from kdopt.store.queries import StudyCounts
from kdopt.store.scope import Scope, select_names, select_scope
from kdopt.typed import duration
from kdopt.worker.heartbeat import BEAT_S, LEASE_S
from kdopt.worker.versions import describe_mixture, read_versions
from kdopt.worker.worker_id import is_dead, parse_worker_name

SILENT_S = 3 * BEAT_S
"""Seconds without a sign of life after which a worker is shown as silent."""

TROUBLE: tuple[WorkerState, ...] = ("gone", "lapsed", "silent", "alive")
"""States of workers, the worst first."""


def read_status(store: Store, campaign: str, since_s: float = math.inf) -> Status:
    """Ask the store how far a campaign is, by a few cheap queries.

    Args:
        store: The store.
        campaign: The campaign.
        since_s: Seconds since the workers of now began, if that is known: those before them say
            nothing about the pace.
    """
    return store.run_at_one_moment(lambda: _read_status(store, campaign, since_s))


def _read_status(store: Store, campaign: str, since_s: float) -> Status:
    counts = queries.read_study_counts(store, campaign)
    workers = describe_workers(activity.read_running_trials(store, campaign))
    states = [_count_begun(state, workers) for state in counts]
    blocked = _count_blocked(store, campaign, states)
    recent = _read_recent(store, campaign, workers, since_s)
    stages = count_stages(states, recent, blocked)
    eta = estimate_campaign_eta(stages, recent, blocked, lambda: _read_epochs(store, campaign))
    return Status(
        campaign=campaign,
        trials=sum(s.trials for s in stages),
        complete=sum(s.complete for s in stages),
        failed=sum(s.failed for s in stages),
        left=sum(s.left for s in stages),
        blocked=sum(blocked.values()),
        per_minute=sum(s.per_minute for s in stages),
        eta_s=eta.seconds,
        eta_unknown=eta.unknown,
        eta_guessed=eta.guessed,
        stages=stages,
        partitions=count_partitions(states),
        workers=tuple(sorted(workers, key=lambda w: (TROUBLE.index(w.state), -w.running_s))),
        failures=group_failures(activity.read_failure_reasons(store, campaign)),
        notes=(
            *list_foreign_notes(store, campaign),
            *_advise_on_given_back(read_given_back(store, campaign)),
            *describe_mixture(read_versions(store, campaign)),
        ),
    )


def _advise_on_given_back(given_back: GivenBack | None) -> Iterator[str]:
    if given_back is None:
        return
    trials, times = given_back.trials, given_back.times
    yield (
        f"{trials:,} trial{'s were' if trials > 1 else ' was'} given back unfinished"
        + (f", {format_count(times, 'time')} in all" if times > trials else "")
        + f", after {duration(given_back.longest_s)} at most: its worker was stopped before the "
        "end; give workers more time than a trial takes (--time-limit, --job-time)"
    )


def group_failures(reasons: Sequence[FailureReason]) -> tuple[FailureGroup, ...]:
    """Put reasons together whose first lines differ in numbers only; the most frequent first."""
    groups: dict[str, list[FailureReason]] = defaultdict(list)
    for reason in reasons:
        groups[re.sub(r"\d+(\.\d+)?", "N", _first_line_of(reason.text))].append(reason)
    found = [
        FailureGroup(
            reason=pattern if len({_first_line_of(r.text) for r in some}) > 1
            else _first_line_of(some[0].text),
            count=sum(r.n for r in some),
            example=some[0].text,
            study=some[0].study,
            number=some[0].number,
        )
        for pattern, some in groups.items()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda group: -group.count))


def _first_line_of(text: str) -> str:
    return text.partition("\n")[0].strip()


def describe_workers(trials: Iterable[RunningTrial]) -> list[WorkerStatus]:
    """Who works on what: one entry per worker, however many trials it holds.

    Args:
        trials: The trials that workers hold, in the order in which each takes its own.
    """
    held: dict[str, list[RunningTrial]] = defaultdict(list)
    for trial in trials:
        held[trial.worker].append(trial)
    return [_describe_worker(mine) for mine in held.values()]


def _describe_worker(held: Sequence[RunningTrial]) -> WorkerStatus:
    lease_left_s = max(trial.lease_left_s for trial in held)
    running = held[0]._replace(lease_left_s=lease_left_s)
    host, pid, device = parse_worker_name(running.worker)
    at_once = len(held) if device.startswith("cuda") else 1
    # Leases last LEASE_S from each sign of life, and the database's clock counts both.
    last_sign_s = max(0.0, LEASE_S - lease_left_s)
    return WorkerStatus(
        host=host,
        pid=int(pid) if pid.isdecimal() else None,
        device=device or None,
        state=_judge_state(running, last_sign_s),
        study=running.study,
        number=running.number,
        params=running.params,
        attempt=running.attempt,
        step=running.step,
        running_s=running.running_s,
        last_sign_s=last_sign_s,
        lease_left_s=lease_left_s,
        at_once=at_once,
        claimed=len(held) - at_once,
    )


def _count_begun(state: StudyCounts, workers: Sequence[WorkerStatus]) -> StudyCounts:
    """The study with those as running that the workers run: not all that they have claimed."""
    begun = sum(worker.at_once for worker in workers if worker.study == state.study)
    left = state.waiting + state.running
    running = min(begun, left)  # the two questions to the store are some moments apart
    return state._replace(running=running, waiting=left - running)


def _judge_state(running: RunningTrial, last_sign_s: float) -> WorkerState:
    if is_dead(running.worker):
        return "gone"
    if running.lease_left_s < 0 or running.attempt == 0:
        return "lapsed"
    return "silent" if last_sign_s > SILENT_S else "alive"


def _read_recent(
    store: Store, campaign: str, workers: Sequence[WorkerStatus], since_s: float
) -> RecentTrials:
    ended: dict[StageName, list[Span]] = defaultdict(list)
    for trial in activity.read_recent_endings(store, campaign, RECENT_S, LEAST, AT_MOST_S):
        ended[trial.stage].append(Span(trial.began_ago_s, trial.ended_ago_s))
    running: dict[StageName, list[Span]] = defaultdict(list)
    for worker in workers:
        if worker.state in ("alive", "silent"):
            stage = parse_study_name(worker.study).stage
            running[stage] += [Span(worker.running_s)] * worker.at_once
    return RecentTrials(ended, running, since_s)


def _read_epochs(store: Store, campaign: str) -> dict[StageName, int]:
    """The epochs that a trial of each stage trains at most."""
    settings = queries.read_record(store, campaign).campaign
    federate = settings.federate
    return {
        "pretrain": settings.pretrain.epochs,
        **dict.fromkeys(("control", "tune", "compare"), settings.distill.epochs),
        "combine": settings.combine.epochs or settings.distill.epochs,
        "federate": federate.rounds * federate.local_epochs * settings.participants,
    }


def _count_blocked(
    store: Store, campaign: str, states: Sequence[StudyCounts]
) -> Counter[StageName]:
    """Waiting trials that can never start: a participant that they need was not pre-trained."""
    lost: dict[str, set[int]] = defaultdict(set)
    for state in states:
        if state.name.stage == "pretrain" and state.failed:
            for row in queries.read_trials(store, campaign, state.study_id):
                if row.state == "FAIL":
                    lost[row.partition].add(int(row.params["participant"]))
    blocked: Counter[StageName] = Counter()
    if lost:
        # The plans say what a study needs; making them takes longer than all else here, so this is
        # done, and imported, only where something is blocked.
        record = queries.read_record(store, campaign)
        needs = {plan.name: set(plan.needs) for plan in plan_studies(record.campaign)}
        for state in states:
            if needs.get(state.study, set()) & lost[state.name.partition]:
                blocked[state.name.stage] += state.waiting
    return blocked


def list_foreign_notes(store: Store, campaign: str) -> list[str]:
    """A sentence for each kind of thing that is not as kdopt left it."""

    def read(connection: Connection) -> list[str]:
        scope = select_scope(connection, campaign)
        names = {name for _, name in select_names(connection, campaign)}
        return [*_list_notes(scope, names, count_foreign_trials(connection, scope))]

    return store.run_read(read)


def _list_notes(scope: Scope, names: set[str], n_foreign: int) -> Iterator[str]:
    campaign = scope.record.campaign
    if n_foreign:
        yield (
            f"{format_count(n_foreign, 'trial was', 'trials were')} taken, ended or added by "
            "another program; a worker, 'kdopt plan' or 'kdopt doctor --repair' plans them again"
        )
    if scope.foreign:
        yield (
            f"left out: {format_count(len(scope.foreign), 'study')} under the campaign's name that "
            f"it did not plan ({scope.foreign[0]}); delete them, or give them another name"
        )
    if campaign_study_name(campaign.name) not in names:
        yield (
            f"the study '{campaign_study_name(campaign.name)}' was deleted; 'kdopt plan' and "
            "'kdopt doctor --repair' write it again"
        )
    found = Counter((name.stage, name.method) for _, name in scope.studies.values())
    missing = 0
    for (stage, _), n in found.items():
        each = len(campaign.pairs) if stage in PAIR_STAGES else 1
        missing += max(0, len(campaign.partitions) * each - n)
    if missing:
        yield (
            f"{format_count(missing, 'study was', 'studies were')} deleted; 'kdopt plan' plans "
            "them again"
        )
