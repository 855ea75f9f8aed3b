"""What a worker does for all: give trials of lost workers, and of other programs, back."""

from __future__ import annotations

import logging
import time

from kdopt.campaign.stages import plan_studies
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.foreign import take_back_trials
from kdopt.worker.heartbeat import requeue_trials_of_dead_workers

logger = logging.getLogger(__name__)

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
