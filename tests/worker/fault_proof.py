"""What must be true of a campaign after any fault: all that was planned is there, and once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdopt.service.doctor import Checkup, check_campaign
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from tests.conftest import list_failures
from tests.fault_table import AddLine
from tests.worker.light_worker import diverges

Prove = Callable[[str, Store, Artifacts, int, int], Checkup]


@pytest.fixture
def prove(fault_table: AddLine) -> Prove:
    """Proves, from the fault's name, planned trials and results refused; what doctor found.

    Planned = rows, each cell once, complete or failed with its reason.
    """

    def prove_whole(
        fault: str, store: Store, artifacts: Artifacts, planned: int, refused: int
    ) -> Checkup:
        found = check_campaign(store, artifacts, "tiny")
        fault_table(fault, store.dialect, found, refused)
        assert found.problems == ()
        assert found.planned == found.rows == planned
        assert found.duplicates == 0
        assert (found.running, found.waiting) == (0, 0)
        assert found.complete + found.failed == planned
        reasons = [f.error for f in list_failures(store, "tiny")]
        assert len(reasons) == found.failed
        assert "no reason recorded" not in reasons
        return found

    return prove_whole


def only_diverged(store: Store) -> bool:
    """Whether those trials failed that fail without any fault too, and no others."""
    failed = {(row.study, row.number) for row in list_failures(store, "tiny")}
    trials = queries.read_trials(store, "tiny")
    return failed == {(row.study, row.number) for row in trials if diverges(row.number)}
