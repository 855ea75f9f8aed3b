"""The outcomes of pre-training that a worker knows; trials of all later stages rest on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kdopt.campaign.settings import Campaign
from kdopt.outcome import Outcome, TrialRow
from kdopt.store.queries import StudyCounts
from kdopt.worker.inputs import take_pretrained


class KnownPretraining:
    """Pre-training outcomes by partition and participant; they never change.

    Args:
        read_trials: Reads the trials of a study by its id.
        n_classes: Classes of the images.

    Attributes:
        outcomes: What is known.
    """

    def __init__(self, read_trials: Callable[[int], Iterable[TrialRow]], n_classes: int) -> None:
        self._read_trials, self._n_classes = read_trials, n_classes
        self._read: dict[int, int] = {}
        self.outcomes: dict[str, dict[int, Outcome]] = {}

    def read_news(self, states: Sequence[StudyCounts], campaign: Campaign) -> None:
        """Read the studies of which trials ended since the last time.

        Raises:
            StoreError: A trial lacks what a pre-training has.
        """
        for state in states:
            known = self.outcomes.setdefault(state.name.partition, {})
            ended = state.complete + state.failed
            if state.name.stage == "pretrain" and ended != self._read.get(state.study_id, 0):
                for row in self._read_trials(state.study_id):
                    if row.state == "COMPLETE":
                        participant, outcome = take_pretrained(row, campaign, self._n_classes)
                        known[participant] = outcome
                self._read[state.study_id] = ended
