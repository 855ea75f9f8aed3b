"""Which study a worker takes its next trials from, and how many: the best that may start.

A study may start when its participants are pre-trained and its round has come. Of those, a worker
prefers one that uses again what it keeps in memory. The order has no part in any result: seeds
come from names, and samplers see a study's trials one at a time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import Outcome
from kdopt.store import activity, queries
from kdopt.store.database import Store
from kdopt.store.queries import StudyCounts
from kdopt.trials.runners import RUNNERS

Trained = Mapping[str, Mapping[int, Outcome]]
"""Pre-training outcomes by partition and participant."""


def list_startable(
    states: Sequence[StudyCounts], plans: Mapping[str, StudyPlan], trained: Trained
) -> list[StudyCounts]:
    """The studies with waiting trials that may be claimed, in the order of ``states``.

    A study waits until its participants are pre-trained, and until every study of its partition
    and stage that has an earlier round is finished. One whose participant will never be trained
    (it failed) holds nobody up.

    Args:
        states: Every study of the campaign.
        plans: Plans by study name; studies that are not among them are left alone.
        trained: What is pre-trained.
    """
    known = [s for s in states if s.study in plans]
    training = {s.name.partition for s in known if s.name.stage == "pretrain" and _is_unfinished(s)}
    ready = {
        s.study
        for s in known
        if set(plans[s.study].needs) <= set(trained.get(s.name.partition, {}))
    }
    current: dict[tuple[str, str], int] = {}
    for state in known:
        # One that can never start would hold up all later rounds for ever.
        hopeless = state.study not in ready and state.name.partition not in training
        if _is_unfinished(state) and not (hopeless and not state.running):
            key, number = (state.name.partition, state.name.stage), plans[state.study].round
            current[key] = min(number, current.get(key, number))
    return [
        s
        for s in known
        if s.waiting
        and s.study in ready
        and plans[s.study].round <= current.get((s.name.partition, s.name.stage), 0)
    ]


def list_finished_before(
    plan: StudyPlan, states: Sequence[StudyCounts], plans: Mapping[str, StudyPlan]
) -> list[tuple[StudyCounts, StudyPlan]]:
    """The finished studies of earlier rounds of a study's partition and stage, with their plans."""
    return [
        (s, plans[s.study])
        for s in states
        if s.study in plans
        and (s.name.partition, s.name.stage) == (plan.partition, plan.stage)
        and plans[s.study].round < plan.round
        and not _is_unfinished(s)
    ]


def sort_by_preference(
    ready: Iterable[StudyCounts], plans: Mapping[str, StudyPlan], last: StudyPlan | None
) -> list[StudyCounts]:
    """Sort the studies that are ready, the one to try first at the front.

    1. Long trials (federated averaging) before all else: one that starts last would leave every
       other worker idle.
    2. The control: a few short trials, without which no gain of a teacher is known.
    3. Locality: the study of the last trial, then those of its partition with the same student
       (its images) and the same teacher (its weights, and its logits on public sets), one of
       them, or neither.
    4. Priority: pre-training, which others wait for; then the studies on which fewest work.

    The order of equals is random.

    Args:
        ready: Studies with waiting trials that may start.
        plans: Plans by study name.
        last: Where this worker took its last trial; ``None`` at its start.
    """

    def rank(state: StudyCounts) -> tuple[bool, bool, int, bool, int, float]:
        plan = plans[state.study]
        return (
            RUNNERS[plan.stage].long_run is None,
            plan.stage != "control",
            -measure_locality(plan, last),
            plan.stage != "pretrain",
            state.running,
            # Among equals all workers would otherwise pick the same study and compete for it.
            random.random(),  # noqa: S311
        )

    return sorted(ready, key=rank)


def measure_locality(plan: StudyPlan, last: StudyPlan | None) -> int:
    """How much of what the last trial left in memory a study can use, from 0 to 5."""
    if last is None or plan.partition != last.partition:
        return 0
    if plan.name == last.name:
        return 5
    same_student = plan.student is not None and plan.student == last.student
    same_teacher = plan.teacher is not None and plan.teacher == last.teacher
    # A student's images are needed in every trial; a teacher's logits on them differ by student.
    return 1 + 2 * same_student + same_teacher


def _is_unfinished(state: StudyCounts) -> bool:
    return state.waiting + state.running > 0


BUNDLE_S = 1.0
"""Seconds of work that a worker claims at most, where it runs trials one after the other."""

MOST = 16
"""Trials in a bundle at most."""


class LastTrial(NamedTuple):
    """How long the last trial took.

    Attributes:
        study: Its study.
        seconds: From its claimed parameters to its outcome.
    """

    study: str
    seconds: float


def choose_bundle(plan: StudyPlan, together: int, last: LastTrial | None) -> int:
    """How many trials to claim.

    Args:
        plan: Their study.
        together: How many this worker's device runs at once, where the stage can.
        last: How long the last trial took; trials of the same study take about as long.
    """
    runner = RUNNERS[plan.stage]
    if runner.run_together is not None and together > 1:
        return together
    # Others wait for pre-training, and a long trial is claimed alone.
    if plan.stage == "pretrain" or runner.long_run is not None:
        return 1
    if last is None or last.study != plan.name:
        return 1
    return max(1, min(MOST, int(BUNDLE_S / max(last.seconds, 1e-3))))


WHOLE_S = 600.0
"""Seconds after which a look reads the whole campaign, as other programs may have changed it."""


class StudyBoard:
    """The counts of a campaign's studies.

    A look reads what waits or runs in the store, so it takes less and less time as the campaign
    goes on. Only when there are new trials, and every ``WHOLE_S``, it reads the whole campaign.

    Args:
        store: The store.
        campaign: The campaign.

    Attributes:
        states: Every study, as of the last look; what ended since the last whole one counts as
            complete.
        whole: Whether the last look was a whole one.
    """

    def __init__(self, store: Store, campaign: str) -> None:
        self._store, self._campaign = store, campaign
        self._newest: int | None = None
        self._next_whole = 0.0
        self.states: list[StudyCounts] = []
        self.whole = False

    @property
    def is_running(self) -> bool:
        """Whether any trial of the campaign runs."""
        return any(state.running for state in self.states)

    def look(self, whole: bool = False) -> list[StudyCounts]:
        """The states as they are now.

        Args:
            whole: Whether to read the whole campaign in any case.
        """
        found = activity.read_unfinished(self._store)
        self.whole = whole or found.newest != self._newest or time.monotonic() >= self._next_whole
        if self.whole:
            # The newest trial was asked for before: one that is added meanwhile is seen next time.
            self._newest, self._next_whole = found.newest, time.monotonic() + WHOLE_S
            self.states = queries.read_study_counts(self._store, self._campaign)
        else:
            self.states = [
                _count_again(s, found.waiting.get(s.study_id, 0), found.running.get(s.study_id, 0))
                for s in self.states
            ]
        return self.states


def _count_again(state: StudyCounts, waiting: int, running: int) -> StudyCounts:
    ended = state.total - state.failed - waiting - running
    return state._replace(waiting=waiting, running=running, complete=max(0, ended))
