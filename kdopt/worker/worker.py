"""A worker: take the next trial, run it, record it, until nothing is left.

Infrastructure faults (store, artifacts, data) stop the worker with a message and give the trial
back; only the trial's own faults (a loss that diverges, out of memory, a bug in a model) fail it,
with the reason.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from kdopt.campaign.names import StageName
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.data.datasets import load_planned_dataset
from kdopt.errors import ArtifactError, DataError, KdoptError, LeaseLostError, StoreError
from kdopt.outcome import Outcome
from kdopt.search.posterior import Belief
from kdopt.search.samplers import next_cell
from kdopt.search.warm_start import WarmStart
from kdopt.store import leases, rows
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.leases import Claim
from kdopt.store.rows import StudyState
from kdopt.train.engine import Engine
from kdopt.trials.context import CacheUse, Context
from kdopt.trials.registry import RUNNERS
from kdopt.worker.choice import in_order
from kdopt.worker.heartbeat import BEAT_S, LEASE_S, Heartbeat
from kdopt.worker.journal import StoreJournal
from kdopt.worker.rounds import finished_before, startable
from kdopt.worker.stopwatch import Stopwatch
from kdopt.worker.worker_env import PARENT_VARIABLE
from kdopt.worker.worker_id import is_dead, worker_name

logger = logging.getLogger(__name__)

REAP_S = 30.0
"""Seconds between two looks for lost workers while this worker has work."""

IDLE_S = 1.0
"""Seconds to wait when all that is left is running elsewhere."""


class Stopped(BaseException):
    """Raised inside a running trial by Ctrl-C or SIGTERM; not an error."""


@dataclass
class Summary:
    """What a worker did."""

    complete: int = 0
    failed: int = 0
    lost: int = 0
    stopped: bool = False
    blocked: list[str] = field(default_factory=list)
    caches: dict[str, CacheUse] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def work(
    store: Store,
    artifacts: Artifacts,
    campaign: str,
    engine: Engine,
    *,
    beat_s: float = BEAT_S,
    lease_s: float = LEASE_S,
    for_s: float | None = None,
) -> Summary:
    """Run trials of a campaign until none is left or the process is told to stop.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        engine: Where to compute.
        beat_s: Seconds between two signs of life of a running trial.
        lease_s: Seconds that each is good for.
        for_s: Seconds after which to stop as if told to: the trial in hand is given back.

    Raises:
        KdoptError: The store, the data or an artifact cannot be used; the trial was given back.
    """
    return _Worker(store, artifacts, campaign, engine, beat_s, lease_s).run(for_s)


class _Worker:
    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        campaign: str,
        engine: Engine,
        beat_s: float,
        lease_s: float,
    ) -> None:
        self.store, self.artifacts, self.engine = store, artifacts, engine
        self.name = worker_name(str(engine.device))
        self.campaign = campaign
        self.beat_s, self.lease_s = beat_s, lease_s
        self.record = rows.read_record(store, campaign)
        self.dataset = load_planned_dataset(self.record)
        self._adopt(self.record)
        self.planned = 0
        self.pretrained: dict[str, dict[int, Outcome]] = {}
        self.states: list[StudyState] = []
        self.summary = Summary()
        self.last: StudyPlan | None = None
        self.next_reap = 0.0
        self.stop = _StopSignal()
        self.watch = Stopwatch()

    def run(self, for_s: float | None) -> Summary:
        with self.stop.listening(for_s):
            while not self.stop.asked and not _orphaned():
                with self.watch.timing("store"):
                    self._reap_when_due()
                    states = rows.read_states(self.store, self.campaign)
                    self._follow_growth(states)
                    ready = self._ready(states)
                    claim = self._claim(ready)
                if claim is not None:
                    self._run_claim(*claim)
                elif ready or any(s.running for s in states):
                    # Only now may a trial become free: one that runs elsewhere may be lost.
                    self.next_reap = min(self.next_reap, time.monotonic() + 5 * IDLE_S)
                    with self.watch.timing("waiting"):
                        self.stop.wait(IDLE_S * random.uniform(0.5, 1.5))  # noqa: S311
                else:
                    self.summary.blocked = [s.text for s in states if s.waiting]
                    break
        self.summary.stopped = self.stop.asked
        self._count_uses()
        self.summary.seconds = self.watch.seconds
        return self.summary

    def _adopt(self, record: CampaignRecord) -> None:
        self.record = record
        self.context = Context(record, self.dataset, self.artifacts, self.engine)
        self.plans = {plan.name: plan for plan in plan_studies(record.campaign)}
        self.warm: WarmStart | None = None

    def _follow_growth(self, states: list[StudyState]) -> None:
        """Read the record again when trials were added: new studies, or a larger search space."""
        planned = sum(s.total for s in states)
        if planned != self.planned:
            self.planned = planned
            record = rows.read_record(self.store, self.campaign)
            if record != self.record:
                self._count_uses()
                self._adopt(record)

    def _count_uses(self) -> None:
        """Add up how the caches of this campaign's images, weights and logits were used."""
        for name, use in self.context.uses().items():
            before = self.summary.caches.get(name, CacheUse(0, 0))
            self.summary.caches[name] = CacheUse(before.asked + use.asked, before.hits + use.hits)

    def _reap_when_due(self) -> None:
        if time.monotonic() >= self.next_reap:
            self.next_reap = time.monotonic() + REAP_S
            lost = leases.reap(self.store, is_dead, forget=self.artifacts.discard)
            if lost:
                logger.info("took back %d trial(s) of lost workers", lost)

    def _ready(self, states: list[StudyState]) -> list[StudyState]:
        """The studies with waiting trials that may be claimed."""
        self._read_pretrained(states)
        self.states = states
        return startable(states, self.plans, self.pretrained)

    def _read_pretrained(self, states: list[StudyState]) -> None:
        """Keep the outcomes of pre-training at hand; they never change, so only news is read."""
        for state in states:
            known = self.pretrained.setdefault(state.name.partition, {})
            if state.name.stage == "pretrain" and state.complete > len(known):
                for row in rows.read_trials(self.store, self.campaign, state.study_id):
                    if row.outcome is not None:
                        known[int(row.params["participant"])] = row.outcome

    def _claim(self, ready: list[StudyState]) -> tuple[StudyPlan, Claim] | None:
        """Take a trial, from the study whose images and logits are at hand if possible."""
        for state in in_order(ready, self.plans, self.last):
            claim = leases.claim(self.store, state.study_id, self.name, self.lease_s)
            if claim is not None:
                self.last = self.plans[state.text]
                return self.last, claim
        return None

    def _run_claim(self, plan: StudyPlan, claim: Claim) -> None:
        """Run one trial and record how it ended; on the way out the trial is never left behind."""
        label = f"{plan.name} #{claim.number}"
        journal = StoreJournal(self.store, self.artifacts, claim, label, self.stop.shielded)
        try:
            with Heartbeat(self.store, claim, self.beat_s, self.lease_s):
                with self.watch.timing("store"):
                    claim = self._fill(plan, claim)
                result = self._compute(plan, claim, journal)
            if isinstance(result, Outcome):
                with self.watch.timing("store"):
                    leases.finish(self.store, claim, result)
                self.summary.complete += 1
                logger.info("%s: %s", label, _describe(plan.stage, claim, result))
            else:
                leases.fail(self.store, claim, result)
                self.summary.failed += 1
                logger.error("%s: failed: %s", label, result.splitlines()[0])
            journal.close()
        except LeaseLostError as error:
            self.summary.lost += 1
            logger.warning("%s: result dropped: %s", label, error)
        except Stopped:
            leases.release(self.store, claim)
            logger.info("%s: given back", label)
        except BaseException:
            leases.release(self.store, claim)
            raise

    def _compute(self, plan: StudyPlan, claim: Claim, journal: StoreJournal) -> Outcome | str:
        """The outcome of a trial, or the reason why it has none."""
        inputs = self.pretrained.get(plan.partition, {})
        evaluated_s = self.context.evaluating_s
        started = time.perf_counter()
        try:
            with self.stop.interrupting():
                stage = RUNNERS[plan.stage]
                return stage.compute(self.context, plan, claim.params, inputs, journal)
        except (StoreError, ArtifactError, DataError, LeaseLostError):
            raise
        except Exception as error:
            return _reason(error)
        finally:
            evaluated_s = self.context.evaluating_s - evaluated_s
            self.watch.add("training", time.perf_counter() - started - evaluated_s)
            self.watch.add("evaluation", evaluated_s)

    def _fill(self, plan: StudyPlan, claim: Claim) -> Claim:
        if claim.params:
            return claim
        history = rows.read_trials(self.store, self.campaign, claim.study_id)
        believe = partial(self._believe, plan)
        params = next_cell(self.context.campaign, plan, claim.number, history, believe)
        return leases.choose(self.store, claim, params, plan.space)

    def _believe(self, plan: StudyPlan) -> Belief:
        """What is believed of a pair before its first trial (``tune.sampler = "warm"``)."""
        if self.warm is None:
            self.warm = WarmStart(self.store, self.artifacts, self.record)
        earlier = finished_before(plan, self.states, self.plans)
        return self.warm.belief(plan, earlier, self.pretrained[plan.partition])


def _orphaned() -> bool:
    """Whether the `kdopt run` that started this worker is gone (it sets the variable)."""
    parent = os.environ.get(PARENT_VARIABLE)
    return parent is not None and os.getppid() != int(parent)


class _StopSignal:
    """SIGINT, SIGTERM and the end of the time: remembered, raised only inside a running trial.

    Raised anywhere else they could cut a database call in two.
    """

    def __init__(self) -> None:
        self.asked = False
        self._raise = False

    @contextmanager
    def listening(self, for_s: float | None = None) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM, *([] if for_s is None else [signal.SIGALRM])]
        kept = {s: signal.signal(s, self._handle) for s in numbers}
        if for_s is not None:
            signal.setitimer(signal.ITIMER_REAL, for_s)
        try:
            yield
        finally:
            if for_s is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in kept.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        self._raise = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self._raise = False

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Within :meth:`interrupting`: a signal waits until the block is done."""
        kept, self._raise = self._raise, False
        try:
            yield
        finally:
            self._raise = kept
        if kept and self.asked:
            self._raise = False
            raise Stopped

    def wait(self, seconds: float) -> None:
        # Short sleeps rather than an Event: setting an Event in a signal handler can deadlock.
        end = time.monotonic() + seconds
        while not self.asked and time.monotonic() < end:
            time.sleep(0.05)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._raise:
            self._raise = False
            raise Stopped


def _describe(stage: StageName, claim: Claim, outcome: Outcome) -> str:
    params = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in claim.params.items()
    )
    if stage not in ("tune", "compare") or outcome.validation_gain is None:
        result = f"validation accuracy {100 * outcome.validation.accuracy:.1f} %"
    else:
        result = f"gain {outcome.validation_gain:+.2f} pp on validation"
    return f"{params}: {result}, {outcome.epochs} epochs, {outcome.seconds:.2f} s"


def _reason(error: Exception) -> str:
    """A failure as the store keeps it: what it was, then where, shortest first."""
    if isinstance(error, KdoptError):
        return str(error)
    head = f"{type(error).__name__}: {error}"
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{head}\n{where}"
