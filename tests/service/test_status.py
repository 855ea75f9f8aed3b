from __future__ import annotations

import pytest

from kdopt.service.status import duration, read_status
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.planning import write_plan
from tests.conftest import make_outcome, make_record


def test_counts_add_up_and_reasons_are_there(store, campaign):
    write_plan(store, make_record(campaign), all_studies)
    ids = [s.study_id for s in rows.read_states(store, "tiny")]
    claims.finish(store, claims.claim(store, ids[1], "host/1/2/3", 60), make_outcome(1.0))
    claims.fail(store, claims.claim(store, ids[1], "host/1/2/3", 60), "out of memory")
    claims.claim(store, ids[2], "host/1/2/3", 60)
    status = read_status(store, "tiny")
    by_stage = {s.stage: s for s in status.stages}
    tune = by_stage["tune"]
    assert (tune.trials, tune.complete, tune.running, tune.waiting, tune.failed) == (8, 1, 1, 5, 1)
    assert (tune.studies, tune.studies_complete) == (2, 0)
    assert by_stage["pretrain"].waiting == 2
    assert (status.trials, status.complete, status.failed, status.left) == (10, 1, 1, 8)
    assert [r.study for r in status.running] == ["tiny/uniform/tune/t01-s00"]
    assert 50 < status.running[0].lease_left_s <= 60
    assert status.failures[0].reason == "out of memory"
    assert status.per_minute == 1
    assert status.eta_s == pytest.approx(60 * 8)


def test_nothing_planned_is_no_division_by_zero(store):
    status = read_status(store, "none")
    assert (status.trials, status.eta_s) == (0, None)


def test_durations_for_people():
    assert [duration(s) for s in (0.4, 59.4, 61, 7322)] == ["0 s", "59 s", "1 min 1 s", "2 h 2 min"]
