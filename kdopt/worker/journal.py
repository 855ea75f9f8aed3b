"""What a long trial tells the store while it runs: its curve, and a state to go on from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from kdopt.errors import LeaseLostError, LostArtifactError
from kdopt.store import long_trials
from kdopt.store.artifacts import Artifacts
from kdopt.store.attributes import SavedState
from kdopt.store.database import Store
from kdopt.store.leases import Lease

logger = logging.getLogger(__name__)


class StoreJournal:
    """The journal of one claimed trial.

    Every call checks the lease, so a worker that was taken for lost stops at its next report
    instead of at its end.

    Args:
        store: The store.
        artifacts: Where states go.
        claim: The trial.
        label: How it is called in the log.
        shielded: A context in which a stop signal waits, as it must not cut a call in two.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        claim: Lease,
        label: str,
        shielded: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._store, self._artifacts, self._claim = store, artifacts, claim
        self._label, self._shielded = label, shielded
        self._last: SavedState | None = None

    def saved(self) -> bytes | None:
        """The last state of this trial, or ``None``; a state that was lost is no error.

        Starting again from nothing gives the same result, only later.

        Raises:
            ArtifactError: It cannot be read now, which may pass.
        """
        with self._shielded():
            self._last = long_trials.read_state(self._store, self._claim)
            if self._last is None:
                return None
            try:
                content = self._artifacts.get(self._last.sha256)
            except LostArtifactError as error:
                logger.warning("%s: starts again from the beginning: %s", self._label, error)
                return None
            logger.info("%s: goes on after step %d", self._label, self._last.step)
            return content

    def save(self, step: int, state: bytes) -> None:
        """Keep a state; the one before is removed once the new one is recorded.

        Raises:
            LeaseLostError: Another worker has the trial by now.
            ArtifactError: The state cannot be written.
        """
        with self._shielded():
            before = self._last
            sha256 = self._artifacts.put(state)
            try:
                long_trials.save_state(self._store, self._claim, step, sha256)
            except LeaseLostError:
                self._artifacts.discard(sha256)
                raise
            self._last = SavedState(step, sha256, self._claim.attempt)
            if before is not None and before.sha256 != sha256:
                self._artifacts.discard(before.sha256)
            logger.info("%s: step %d saved", self._label, step)

    def report(self, values: Mapping[int, float]) -> None:
        """Show the objective at these steps, in the dashboard and in the status.

        Raises:
            LeaseLostError: Another worker has the trial by now.
        """
        with self._shielded():
            long_trials.report_values(self._store, self._claim, values)

    def close(self) -> None:
        """Remove the last state, once the trial is recorded as ended."""
        if self._last is not None:
            self._artifacts.discard(self._last.sha256)
