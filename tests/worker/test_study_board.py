"""What a worker knows of the studies is what the store holds, whoever changed it and how."""

from __future__ import annotations

import pytest

from kdopt.store import leases, queries
from kdopt.worker import study_board
from kdopt.worker.study_board import StudyBoard
from tests.conftest import make_outcome
from tests.store.test_leases import plan_queue


def finish(store, claim):
    leases.finish_trial(store, claim, make_outcome(1.0))


def lose(store, claim):
    leases.requeue_lost_trials(store, lambda worker: True)


CHANGES = {
    "claimed": lambda store, claim: None,
    "finished": finish,
    "given back": leases.release_trial,
    "lost": lose,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_look_reads_what_changed(store, change):
    study = plan_queue(store, 3)
    board = StudyBoard(store, "tiny")
    assert board.look() == queries.read_study_counts(store, "tiny") and board.whole
    CHANGES[change](store, leases.claim_trial(store, study, "me", 60))
    assert board.look() == queries.read_study_counts(store, "tiny")
    assert not board.whole
    assert board.is_running == (change == "claimed")


def test_what_failed_has_ended(store):
    """A look cannot tell it from what is complete until it reads all."""
    study = plan_queue(store, 2)
    board = StudyBoard(store, "tiny")
    board.look()
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "nan")
    (state,) = board.look()
    assert (state.waiting, state.complete + state.failed, state.total) == (1, 1, 2)
    assert board.look(whole=True) == queries.read_study_counts(store, "tiny")


def test_new_trials_are_seen_at_once_and_other_changes_in_the_end(store, monkeypatch):
    plan_queue(store, 2)
    board = StudyBoard(store, "tiny")
    board.look()
    plan_queue(store, 4)
    assert board.look()[0].total == 4 and board.whole
    board.look()
    assert not board.whole
    monkeypatch.setattr(study_board.time, "monotonic", lambda: 1e9)
    board.look()
    assert board.whole
