"""How far each study of a campaign is, as a worker knows it: changes are read, not everything."""

from __future__ import annotations

import time

from kdopt.store import activity, queries
from kdopt.store.database import Store
from kdopt.store.queries import StudyCounts

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
