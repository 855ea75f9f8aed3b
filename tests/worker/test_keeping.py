"""keep = "best": one student per pair, the best on record, whoever dies on the way."""

from __future__ import annotations

import signal
from collections import defaultdict

import pytest

from kdopt.analysis.verdicts import rank_trial
from kdopt.store import queries
from kdopt.store.kept import find_kept, list_kept
from kdopt.train.students import read_student
from tests.waiting import count_complete, wait_until
from tests.worker.test_worker import SPEC as TINY
from tests.worker.test_worker import plan, start_worker

SPEC = TINY.replace("control = false", 'keep = "{keep}"')


def test_two_workers_of_which_one_is_killed_leave_the_best_student_of_each_pair(tmp_path):
    store, artifacts = plan(tmp_path, epochs=4, text=SPEC.replace("{keep}", "best"))
    workers = [start_worker(tmp_path) for _ in range(2)]
    wait_until(lambda: count_complete(store) > 10)
    workers[0].send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate()
    assert workers[1].returncode == 0

    rows = [r for r in queries.read_trials(store, "tiny") if r.stage in ("tune", "control")]
    rivals = defaultdict(list)
    for row in rows:
        assert row.state == "COMPLETE" and row.outcome is not None
        rivals[row.pair or row.params["student"]].append(row)
    campaign = queries.read_record(store, "tiny").campaign
    for those in rivals.values():
        kept = [r for r in those if find_kept(store, r.study, r.number)]
        best = min(rank_trial(campaign, r.params, r.outcome) for r in those)
        assert [rank_trial(campaign, r.params, r.outcome) for r in kept] == [best]
        student = read_student(artifacts.path(find_kept(store, kept[0].study, kept[0].number)))
        assert student.facts.trial == f"{kept[0].study} #{kept[0].number}"
        assert student.facts.test_accuracy == kept[0].outcome.test.accuracy
    assert len(list_kept(store)) == len(rivals) == 4
    store.close()


@pytest.mark.parametrize(("keep", "students"), [("none", 0), ("best", 4)])
def test_students_are_kept_only_when_asked_for_and_older_ones_are_dropped(tmp_path, keep, students):
    from kdopt.train.engine import make_engine
    from kdopt.worker.worker import run_trials

    store, artifacts = plan(tmp_path, epochs=1, text=SPEC.replace("{keep}", keep))
    run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert len(list_kept(store)) == students
    checkpoints, splits = 2, 1
    files = [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()]
    assert len(files) == checkpoints + splits + students
    store.close()
