"""One student per pair is kept, the best one, whoever finishes when."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store
from kdopt.store.kept import Kept, find_kept, list_kept, read_best
from tests.conftest import make_campaign, make_outcome, make_record, new_store
from tests.store.test_leases import plan_queue

STUDY = "tiny/uniform/tune/t00-s01"
STUDIES = (STUDY, "tiny/uniform/compare/t00-s01")


def offer(rank, of="pair"):
    return Kept(STUDIES, of, f"{abs(int(rank)):064x}", (float(rank), 0.0))


def finish(store, study, student):
    claim = leases.claim_trial(store, study, "me", 60)
    return leases.finish_trial(store, claim, make_outcome(1.0), student)


def test_a_better_student_replaces_the_one_before_and_no_other_does(store):
    study = plan_queue(store, 5)
    assert finish(store, study, offer(-2)) == []
    assert finish(store, study, offer(-1)) == [offer(-1).sha256]
    assert finish(store, study, offer(-2)) == [offer(-2).sha256]  # of equals the first stays
    assert read_best(store, STUDIES, "pair") == offer(-2)
    assert finish(store, study, offer(-3)) == [offer(-2).sha256]
    assert finish(store, study, offer(-1, of="other")) == []
    assert read_best(store, STUDIES, "pair") == offer(-3)
    assert [find_kept(store, STUDY, n) for n in range(4)] == [None, None, None, offer(-3).sha256]
    assert sorted(list_kept(store)) == sorted([offer(-3).sha256, offer(-1).sha256])


def test_a_result_that_is_refused_keeps_no_student(store):
    study = plan_queue(store, 1)
    claim = leases.claim_trial(store, study, "me", 60)
    leases.release_trial(store, claim)
    with pytest.raises(leases.LeaseLostError):
        leases.finish_trial(store, claim, make_outcome(1.0), offer(-1))
    assert list_kept(store) == []


def test_many_workers_at_once_keep_the_best_and_name_every_other_once(store):
    ranks = random.Random(0).sample(range(-40, 0), 12)
    study = plan_queue(store, len(ranks))
    dropped, fault = [], []

    def work(rank):
        try:
            while (claim := leases.claim_trial(store, study, f"w{rank}", 60)) is None:
                pass
            dropped.extend(leases.finish_trial(store, claim, make_outcome(1.0), offer(rank)))
        except Exception as error:
            fault.append(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not fault
    assert list_kept(store) == [offer(min(ranks)).sha256]
    assert sorted(dropped) == sorted(offer(r).sha256 for r in ranks if r != min(ranks))
    assert all(row.state == "COMPLETE" for row in queries.read_trials(store, "tiny"))


@pytest.mark.parametrize("text", ["null", "{", '{"of": "pair"}', '{"of": 1, "sha256": 2}', "[1]"])
def test_what_kdopt_did_not_write_there_is_passed_over(tmp_path, text):
    store = new_store(tmp_path / "kdopt.db")
    study = plan_queue(store, 2)
    finish(store, study, offer(-5))
    with store.write() as connection:
        sql = "UPDATE trial_user_attributes SET value_json = :text WHERE key = 'kd:kept'"
        connection.execute(sa.text(sql), {"text": text})
    assert read_best(store, STUDIES, "pair") is None
    assert finish(store, study, offer(-1)) == []
    assert read_best(store, STUDIES, "pair") == offer(-1)
    store.close()


def test_a_backup_has_the_kept_students_that_are_there(tmp_path):
    store, shelf = new_store(tmp_path / "kdopt.db"), Artifacts(tmp_path / "artifacts")
    record = replace(make_record(make_campaign()), splits={"uniform": shelf.put(b"splits")})
    study = plan_queue(store, 2, record=record)
    sha256 = shelf.put(b"weights")
    finish(store, study, offer(-5)._replace(sha256=sha256))
    finish(store, study, offer(-1, of="replaced meanwhile"))
    assert len(list_kept(store)) == 2
    back_up_store(store, shelf, tmp_path / "copy")
    store.close()
    assert Artifacts(tmp_path / "copy" / "artifacts").get(sha256) == b"weights"
    copy = open_store(str(tmp_path / "copy" / "kdopt.db"))
    assert sha256 in list_kept(copy)
    copy.close()
