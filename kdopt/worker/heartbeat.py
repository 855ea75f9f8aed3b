"""Signs of life of a running trial, and what happens to trials whose worker gives none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from kdopt.campaign.stages import plan_studies
from kdopt.store import leases
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.foreign import take_back_trials
from kdopt.store.leases import Lease
from kdopt.worker.worker_id import is_dead

BEAT_S = 15.0
"""Seconds between two signs of life of a running trial."""

LEASE_S = 90.0
"""Seconds without a sign of life after which a trial is taken away: longer than a database takes
to restart."""

logger = logging.getLogger(__name__)


class Heartbeat:
    """A thread that prolongs the leases of the trials that a worker has in hand.

    It must outlive any fault of the database: a beat that died silently would let a live trial
    be taken for a lost one.

    Args:
        store: The store.
        claims: The trials.
        beat_s: Seconds between two signs of life.
        lease_s: Seconds that each is good for.
    """

    def __init__(
        self, store: Store, claims: Sequence[Lease], beat_s: float, lease_s: float
    ) -> None:
        self._store, self._claims = store, list(claims)
        self._beat_s, self._lease_s = beat_s, lease_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_lease, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        # Not waited for: a beat may hang in a database that does not answer. One that comes late
        # finds no lease of this run, and changes nothing.
        self._end.set()

    def _renew_lease(self) -> None:
        while self._claims and not self._end.wait(self._beat_s):
            for claim in tuple(self._claims):
                try:
                    if not leases.renew_lease(self._store, claim, self._lease_s):
                        # Lost, or given back: recording the result will find out.
                        self._claims.remove(claim)
                except Exception as error:
                    logger.warning("heartbeat: %s", error)


def requeue_trials_of_dead_workers(store: Store, artifacts: Artifacts) -> int:
    """Put trials back into the queue whose lease has lapsed, or whose worker has died here.

    Returns:
        How many.
    """
    return leases.requeue_lost_trials(
        store, is_dead, discard_state=artifacts.discard, lease_s=LEASE_S
    )


REQUEUE_S = 30.0
"""Seconds between two looks for lost workers while this worker has work."""


class Upkeep:
    """Looks for lost trials, now and then.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: Whose trials other programs may have ended.
    """

    def __init__(self, store: Store, artifacts: Artifacts, campaign: str) -> None:
        self._store, self._artifacts, self._campaign = store, artifacts, campaign
        self._next_requeue = self._next_look = 0.0

    def do_what_is_due(self) -> None:
        """Look for trials of lost workers, and for those of other programs, if it is time."""
        if time.monotonic() >= self._next_requeue:
            self._next_requeue = time.monotonic() + REQUEUE_S
            lost = requeue_trials_of_dead_workers(self._store, self._artifacts)
            if lost:
                logger.info("requeued %d trial(s) of lost workers", lost)
        if time.monotonic() >= self._next_look:
            # Other programs are rare and the question is not cheap: as a rule it is asked when
            # this worker has nothing else to do.
            self._next_look = time.monotonic() + 20 * REQUEUE_S
            self.take_back()

    def take_back(self) -> int:
        """Give back the trials that another program ended or added; how many there were."""
        return take_back_trials(self._store, self._campaign, plan_studies)

    def hasten(self, seconds: float) -> None:
        """Look again in so many seconds at the latest."""
        soon = time.monotonic() + seconds
        self._next_requeue = min(self._next_requeue, soon)
        self._next_look = min(self._next_look, soon)
