"""A worker: take the next trial, run it, record it, until nothing is left.

Infrastructure faults (store, artifacts, data) stop the worker with a message and give the trial
back; only the trial's own faults (a loss that diverges, out of memory, a bug in a model) fail it,
with the reason.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.data.datasets import load_planned_dataset
from kdopt.errors import LeaseLostError, StoreError
from kdopt.outcome import Outcome, TrialRow
from kdopt.search.posterior import Posterior
from kdopt.search.samplers import choose_params
from kdopt.search.warm_start import PosteriorSource
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.leases import Lease
from kdopt.store.queries import StudyCounts
from kdopt.train.engine import Engine, make_engine
from kdopt.trials.runners import RUNNERS
from kdopt.worker import scheduling
from kdopt.worker.alone import working_alone
from kdopt.worker.heartbeat import BEAT_S, LEASE_S, Heartbeat, Upkeep
from kdopt.worker.inputs import (
    KnownPretraining,
    Materials,
    PretrainedElsewhere,
    check_claimed_params,
    read_runnable_record,
)
from kdopt.worker.journal import StoreJournal
from kdopt.worker.keeping import keep_if_best
from kdopt.worker.stop_signals import Stopped, StopSignal
from kdopt.worker.summary import (
    BrokenDeviceError,
    Stopwatch,
    WorkerSummary,
    describe_result,
    explain_failure,
)
from kdopt.worker.versions import join_campaign
from kdopt.worker.worker_id import is_orphan, name_worker

logger = logging.getLogger(__name__)

LOOK_S = 30.0
"""Seconds for which a worker takes trials without a look at the whole queue."""

BEFORE_LOOK = 3
"""Studies that it tries before it looks: others may have taken what was free at the last look."""

IDLE_S = 1.0
"""Seconds to wait when all that is left is running elsewhere."""


def run_worker(
    store: Store,
    artifacts: Artifacts,
    campaign: str,
    device: str | None = None,
    time_limit_s: float | None = None,
    same_versions: bool = False,
) -> WorkerSummary:
    """Run trials of a campaign on a device, in the precision that the campaign asks for.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        device: Where to compute; ``None`` takes CUDA where there is any.
        time_limit_s: Seconds after which to stop as if told to.
        same_versions: Refuse to work with other versions than the campaign was begun with.

    Raises:
        KdoptError: See :func:`run_trials`; no such device, other versions, or deleted trials.
    """
    settings = read_runnable_record(store, campaign).campaign
    engine = make_engine(settings.precision, device, deterministic=settings.deterministic)
    join_campaign(store, campaign, engine.list_versions(), same_versions)
    done = run_trials(store, artifacts, campaign, engine, time_limit_s=time_limit_s)
    return done.refuse_losses()


def run_trials(
    store: Store,
    artifacts: Artifacts,
    campaign: str,
    engine: Engine,
    *,
    beat_s: float = BEAT_S,
    lease_s: float = LEASE_S,
    time_limit_s: float | None = None,
    materials: Materials | None = None,
) -> WorkerSummary:
    """Run trials of a campaign until none is left or the process is told to stop.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        engine: Where to compute.
        beat_s: Seconds between two signs of life of a running trial.
        lease_s: Seconds that each is good for.
        time_limit_s: Seconds after which to stop as if told to: the trial in hand is given back.
        materials: Images and models that this process has; ``None``: those that settings name.

    Raises:
        KdoptError: The store, the data or an artifact cannot be used, or another thread trains.
    """
    worker = _Worker(store, artifacts, campaign, engine, beat_s, lease_s, materials or Materials())
    return worker.run(time_limit_s)


_Taken = tuple[StudyPlan, list[Lease]]


class _Worker:
    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        campaign: str,
        engine: Engine,
        beat_s: float,
        lease_s: float,
        materials: Materials,
    ) -> None:
        self.store, self.artifacts, self.engine = store, artifacts, engine
        self.materials = materials
        self.name = name_worker(str(engine.device))
        self.campaign = campaign
        self.beat_s, self.lease_s = beat_s, lease_s
        self.record = read_runnable_record(store, campaign)
        self.dataset = materials.dataset or load_planned_dataset(self.record)
        self._use_record(self.record)
        self.elsewhere = PretrainedElsewhere(store, artifacts, engine)
        self.upkeep = Upkeep(store, artifacts, campaign)
        self.board = scheduling.StudyBoard(store, campaign)
        self.known = KnownPretraining(self._read_trials, self.dataset.n_classes)
        self.ready: list[StudyCounts] = []
        self.summary = WorkerSummary()
        self.last: StudyCounts | None = None
        self.pace: scheduling.LastTrial | None = None
        self.ranked: Iterator[StudyCounts] = iter(())
        self.next_look = 0.0
        self.stop = StopSignal()
        self.watch = Stopwatch()

    def run(self, time_limit_s: float | None) -> WorkerSummary:
        with working_alone(), self.stop.listening(time_limit_s):
            while not self.stop.asked and not is_orphan():
                with self.watch.timing("store"):
                    self.upkeep.do_what_is_due()
                    taken = self._take_next()
                if taken is not None:
                    self._run_trials(*taken)
                    self.materials.after_trials()
                elif self.ready or self.board.is_running:
                    # Only now may a trial become free: one that runs elsewhere may be lost.
                    self.upkeep.hasten(5 * IDLE_S)
                    with self.watch.timing("waiting"):
                        # Not all workers at once: the store serves one question after the other.
                        self.stop.wait(IDLE_S * random.uniform(0.5, 1.5))  # noqa: S311
                elif not self.upkeep.take_back():
                    self.summary.blocked = [s.study for s in self.board.states if s.waiting]
                    break
        self.summary.stopped = self.stop.asked
        self.summary.add_cache_uses(self.context.count_cache_uses())
        self.summary.seconds = self.watch.seconds
        return self.summary

    def _use_record(self, record: CampaignRecord) -> None:
        self.record = record
        make_context = self.materials.make_context
        self.context = make_context(record, self.dataset, self.artifacts, self.engine)
        self.plans = {plan.name: plan for plan in plan_studies(record.campaign)}
        self.warm: PosteriorSource | None = None

    def _follow_growth(self) -> None:
        """Read the record again, as trials were added: new studies, or a larger search space."""
        record = read_runnable_record(self.store, self.campaign)
        if record != self.record:
            self.summary.add_cache_uses(self.context.count_cache_uses())
            self._use_record(record)

    def _read_trials(self, study_id: int) -> list[TrialRow]:
        try:
            return queries.read_trials(self.store, self.campaign, study_id)
        except StoreError:
            # Another program may have ended a trial since this worker last looked.
            if not self.upkeep.take_back():
                raise
            return queries.read_trials(self.store, self.campaign, study_id)

    def _take_next(self) -> _Taken | None:
        """Take trials of the last one's study, or of those that come next; else look again."""
        if self.last is not None and time.monotonic() < self.next_look:
            taken = self._take_trials(self.last) or self._take_of_next(BEFORE_LOOK)
            if taken is not None:
                return taken
        taken = self._take_of_ready(self.board.look())
        if not (taken or self.ready or self.board.is_running or self.board.whole):
            # Nothing left ends a worker, so it must be true of the whole campaign.
            taken = self._take_of_ready(self.board.look(whole=True))
        self.next_look = time.monotonic() + LOOK_S if taken else 0.0
        return taken

    def _take_of_ready(self, states: list[StudyCounts]) -> _Taken | None:
        """Take trials from the study whose images and logits are at hand if possible."""
        if self.board.whole:
            self._follow_growth()
        self.known.read_news(states, self.record.campaign)
        self.ready = scheduling.list_startable(states, self.plans, self.known.outcomes)
        last = self.plans[self.last.study] if self.last else None
        self.ranked = iter(scheduling.sort_by_preference(self.ready, self.plans, last))
        return self._take_of_next(None)

    def _take_of_next(self, at_most: int | None) -> _Taken | None:
        """Take trials from the next of the ranked studies, so many of them at most, that has some.

        The ranking goes on from claim to claim: a look is dear in a large campaign.
        """
        studies = islice(self.ranked, at_most)
        return next(filter(None, map(self._take_trials, studies)), None)

    def _take_trials(self, state: StudyCounts) -> _Taken | None:
        plan = self.plans[state.study]
        at_most = scheduling.choose_bundle(plan, self.context.together, self.pace)
        claims = leases.claim_trials(self.store, state.study_id, self.name, self.lease_s, at_most)
        if not claims:
            return None
        self.last = state
        return plan, claims

    def _run_trials(self, plan: StudyPlan, claims: list[Lease]) -> None:
        together = RUNNERS[plan.stage].run_together is not None and self.context.together > 1
        # Around all of it: choosing params may take long too, as a learnt search reads its prior.
        with Heartbeat(self.store, claims, self.beat_s, self.lease_s):
            if together and len(claims) > 1:
                self._run_together(plan, claims)
            else:
                self._run_in_turn(plan, claims)

    def _run_in_turn(self, plan: StudyPlan, claims: list[Lease]) -> None:
        left = list(claims)
        try:
            while left and not self.stop.asked:
                claim = left.pop(0)
                self._run_trial(plan, claim, then=left[0] if left else None)
        finally:
            # Nothing of these was begun, so that they are as free as before.
            for claim in left:
                leases.release_trial(self.store, claim)

    def _run_together(self, plan: StudyPlan, claims: list[Lease]) -> None:
        left = list(claims)
        try:
            results = self._compute_results(plan, claims)
            for claim, result in zip(claims, results, strict=True):
                label = f"{plan.name} #{claim.number}"
                try:
                    self._record_result(plan, claim, label, result)
                except LeaseLostError as error:
                    self.summary.count_lost(label, error)
                left.remove(claim)
        except Stopped:
            for claim in left:
                self._give_back(plan, claim)
        except BrokenDeviceError:
            raise  # The trials are lost with their worker, which counts: one of them may break it.
        except BaseException:
            for claim in left:
                leases.release_trial(self.store, claim)
            raise

    def _compute_results(self, plan: StudyPlan, claims: list[Lease]) -> list[Outcome | str]:
        """Compute the outcomes of several trials, or why one has none."""
        cells = [claim.params for claim in claims]
        for claim in claims:
            check_claimed_params(plan, claim, self.context.campaign)
        try:
            with self._count_computing():
                inputs = self.known.outcomes.get(plan.partition, {})
                found = RUNNERS[plan.stage].compute_together(self.context, plan, cells, inputs)
        except Exception as error:
            return [explain_failure(error)] * len(claims)
        return [r if isinstance(r, Outcome) else explain_failure(r) for r in found]

    def _run_trial(self, plan: StudyPlan, claim: Lease, then: Lease | None) -> None:
        """Run one trial and record how it ended; on the way out the trial is never left behind.

        ``then`` is the one that comes next, where it is claimed already.
        """
        label = f"{plan.name} #{claim.number}"
        journal = StoreJournal(self.store, self.artifacts, claim, label, self.stop.shielded)
        try:
            with self.watch.timing("store"):
                claim = self._choose_params(plan, claim)
                check_claimed_params(plan, claim, self.context.campaign)
                found = self.elsewhere.find(self.record, plan, claim.params)
            result = found or self._compute_result(plan, claim, journal)
            self._record_result(plan, claim, label, result, then)
            # Only now that the end is recorded is the saved state of no use to anybody.
            journal.close()
        except LeaseLostError as error:
            self.summary.count_lost(label, error)
        except Stopped:
            self._give_back(plan, claim)
        except BrokenDeviceError:
            raise  # The trial is lost with its worker, which counts: it may be what breaks devices.
        except BaseException:
            # A fault of the store, the data or the machine is not the trial's: others may run it.
            leases.release_trial(self.store, claim)
            raise

    def _give_back(self, plan: StudyPlan, claim: Lease) -> None:
        leases.release_trial(self.store, claim, stopped=True)
        self.summary.given_back += 1
        logger.info("%s #%d: given back", plan.name, claim.number)

    def _record_result(
        self,
        plan: StudyPlan,
        claim: Lease,
        label: str,
        result: Outcome | str,
        then: Lease | None = None,
    ) -> None:
        if isinstance(result, Outcome):
            with self.watch.timing("store"):
                student = keep_if_best(
                    self.store, self.artifacts, self.context, plan, claim, result
                )
                # One that was written for a lost lease stays: who runs the trial now writes it too.
                for sha256 in leases.finish_trial(self.store, claim, result, student, then):
                    self.artifacts.discard(sha256)
            self.summary.complete += 1
            logger.info("%s: %s", label, describe_result(plan.stage, claim, result))
        else:
            leases.fail_trial(self.store, claim, result, then)
            self.summary.failed += 1
            logger.error("%s: failed: %s", label, result.splitlines()[0])

    def _compute_result(
        self, plan: StudyPlan, claim: Lease, journal: StoreJournal
    ) -> Outcome | str:
        """Compute the outcome of a trial, or the reason why it has none."""
        try:
            with self._count_computing():
                inputs = self.known.outcomes.get(plan.partition, {})
                stage = RUNNERS[plan.stage]
                began = time.perf_counter()
                outcome = stage.compute(self.context, plan, claim.params, inputs, journal)
                self.pace = scheduling.LastTrial(plan.name, time.perf_counter() - began)
                return outcome
        except Exception as error:
            return explain_failure(error)

    @contextmanager
    def _count_computing(self) -> Iterator[None]:
        """Around what a request to stop interrupts, and what counts as training or evaluation."""
        evaluated_s = self.context.evaluating_s
        started = time.perf_counter()
        try:
            with self.stop.interrupting():
                yield
        finally:
            evaluated_s = self.context.evaluating_s - evaluated_s
            self.watch.add("training", time.perf_counter() - started - evaluated_s)
            self.watch.add("evaluation", evaluated_s)

    def _choose_params(self, plan: StudyPlan, claim: Lease) -> Lease:
        if claim.params:
            return claim
        # Read after the claim: nothing else of an adaptive study runs from then on, so that it is
        # whole.
        history = self._read_trials(claim.study_id)
        get_posterior = partial(self._get_posterior, plan)
        params = choose_params(self.context.campaign, plan, claim.number, history, get_posterior)
        return leases.record_params(self.store, claim, params, plan.space)

    def _get_posterior(self, plan: StudyPlan) -> Posterior:
        """The posterior of a pair before its first trial (``tune.sampler = "warm"``)."""
        if self.warm is None:
            self.warm = PosteriorSource(self.store, self.artifacts, self.record)
        earlier = scheduling.list_finished_before(plan, self.board.states, self.plans)
        return self.warm.get_posterior(plan, earlier, self.known.outcomes[plan.partition])
