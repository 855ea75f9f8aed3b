from __future__ import annotations

import dataclasses
import threading

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import ArtifactError, StoreError
from kdopt.service.doctor import check_campaign
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_distilled, make_pretrained, make_record
from tests.waiting import count_complete


@pytest.fixture
def shelf(tmp_path):
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def planned(tmp_path, shelf):
    store = open_store(str(tmp_path / "store.db"), create=True)
    record = dataclasses.replace(
        make_record(make_campaign()), splits={"uniform": shelf.put(b"splits")}
    )
    write_plan(store, record, plan_studies)
    yield store
    store.close()


def run_one(store, shelf, content=b"weights"):
    state = next(s for s in queries.read_study_counts(store, "tiny") if s.waiting)
    claim = leases.claim_trial(store, state.study_id, "me", 60)
    trained = make_pretrained(0.5, shelf.put(content))
    before = make_pretrained(0.5)
    first = "participant" in claim.params
    leases.finish_trial(store, claim, trained if first else make_distilled(1.0, before))


def test_a_backup_is_a_store_of_its_own_and_is_brought_up_to_date(tmp_path, planned, shelf):
    folder = tmp_path / "copy"
    shelf.put(b"nobody refers to this")
    assert back_up_store(planned, shelf, folder)[1:] == (1, 1, 1)
    run_one(planned, shelf)
    assert back_up_store(planned, shelf, folder)[1:] == (1, 2, 1)
    assert back_up_store(planned, shelf, folder).copied == 0
    copy = open_store(str(folder / "kdopt.db"))
    try:
        assert queries.read_trials(copy, "tiny") == queries.read_trials(planned, "tiny")
        assert (
            check_campaign(copy, Artifacts(folder / "artifacts"), "tiny", deep=True).problems == ()
        )
        # It goes on from there, and the original does not notice.
        run_one(copy, Artifacts(folder / "artifacts"), b"more")
    finally:
        copy.close()
    assert count_complete(planned) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["artifacts", "kdopt.db"]


def test_a_store_in_use_is_copied_whole(tmp_path, planned, shelf):
    path = str(planned.url.database)
    stop = threading.Event()

    def keep_writing():
        mine = open_store(path)
        while not stop.is_set() and any(s.waiting for s in queries.read_study_counts(mine, "tiny")):
            run_one(mine, shelf)
        mine.close()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for number in range(5):
            folder = tmp_path / f"copy{number}"
            back_up_store(planned, shelf, folder)
            copy = open_store(str(folder / "kdopt.db"))
            assert check_campaign(copy, Artifacts(folder / "artifacts"), "tiny").problems == ()
            copy.close()
    finally:
        stop.set()
        writer.join()


def test_what_cannot_be_backed_up_is_said(tmp_path, planned, shelf):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"backup .*cannot be written"):
        back_up_store(planned, shelf, tmp_path / "file")
    run_one(planned, shelf)
    lost = queries.read_trials(planned, "tiny")[0].outcome.checkpoint
    shelf.discard(lost)
    with pytest.raises(ArtifactError, match="missing"):
        back_up_store(planned, shelf, tmp_path / "copy")


def test_the_store_itself_is_no_place_for_its_backup(tmp_path, shelf):
    store = open_store(str(tmp_path / "here" / "kdopt.db"), create=True)
    with pytest.raises(StoreError, match="this is the store itself"):
        back_up_store(store, shelf, tmp_path / "here")
    store.close()


def test_a_server_is_backed_up_by_its_own_means(tmp_path, postgres_url, shelf):
    store = open_store(postgres_url)
    with pytest.raises(StoreError, match=r"only SQLite files .* pg_dump"):
        back_up_store(store, shelf, tmp_path)
    store.close()


def test_what_a_campaign_learns_from_is_copied_too(tmp_path, shelf):
    store = open_store(str(tmp_path / "warm.db"), create=True)
    base = make_campaign()
    warm = dataclasses.replace(base, tune=dataclasses.replace(base.tune, sampler="warm", budget=3))
    prior = shelf.put(b"prior")
    record = dataclasses.replace(
        make_record(warm), splits={"uniform": shelf.put(b"splits")}, prior=prior
    )
    write_plan(store, record, plan_studies)
    assert back_up_store(store, shelf, tmp_path / "copy").copied == 2
    assert Artifacts(tmp_path / "copy" / "artifacts").get(prior) == b"prior"
    shelf.discard(prior)
    with pytest.raises(ArtifactError, match="missing"):
        back_up_store(store, shelf, tmp_path / "other")
    store.close()
