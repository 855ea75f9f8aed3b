"""Workers of other versions than the campaign's are named by all who know, or refused."""

from __future__ import annotations

import logging

import pytest

from kdopt.errors import StoreError
from kdopt.launch.call import WorkerCall
from kdopt.service.doctor import check_campaign
from kdopt.service.status import read_status
from kdopt.store.attributes import VERSIONS_KEY, update_campaign_attribute
from kdopt.worker.versions import describe_mixture, join_campaign, pick_versions, read_versions
from kdopt.worker.worker import run_worker
from tests.hostile.world import ENGINE, kdopt

OWN = ENGINE.list_versions()
OTHERS = {"kdopt": "0.0.1", "torch": "1.0.0+cpu", "optuna": "4.0.0"}


def forget(store, value=None):
    """As in a store of an older kdopt, or with what a stranger wrote."""
    update_campaign_attribute(store, "tiny", VERSIONS_KEY, lambda _: value)


@pytest.mark.parametrize("package", OTHERS)
def test_a_worker_of_another_version_says_so_and_so_does_the_status(world, caplog, package):
    join_campaign(world.store, "tiny", OWN)
    assert caplog.text == "" and read_status(world.store, "tiny").notes == ()
    other = {**OWN, package: OTHERS[package]}
    join_campaign(world.store, "tiny", other)
    shown = f"{package} {OTHERS[package].partition('+')[0]}"
    assert f"this worker has {', '.join(name_all(other))}" in caplog.text
    assert "campaign 'tiny' was begun with" in caplog.text and "--same-versions" in caplog.text
    (note,) = read_status(world.store, "tiny").notes
    assert note.startswith("workers of several versions: ") and shown in note
    # Whoever comes later is measured by the first, and nothing is noted twice.
    join_campaign(world.store, "tiny", other)
    assert read_versions(world.store, "tiny") == [pick_versions(OWN), pick_versions(other)]


def name_all(versions):
    return [f"{name} {versions[name].partition('+')[0]}" for name in ("kdopt", "torch", "optuna")]


def test_other_versions_are_refused_where_that_is_asked(world):
    join_campaign(world.store, "tiny", OWN, same=True)
    with pytest.raises(StoreError, match="install these, or leave --same-versions out"):
        join_campaign(world.store, "tiny", OWN | OTHERS, same=True)
    assert read_versions(world.store, "tiny") == [pick_versions(OWN)]


def test_another_build_of_the_same_version_is_the_same(world, caplog):
    for build in ("+cpu", "+cu130", ""):
        torch = OWN["torch"].partition("+")[0] + build
        join_campaign(world.store, "tiny", {**OWN, "torch": torch}, same=True)
    assert caplog.text == ""


@pytest.mark.parametrize("value", [None, "x", 3, {}, [1, None], [[1]], [["a"] * 9]])
def test_a_store_without_versions_goes_by_its_results(world, caplog, value):
    for trial_id in world.list_complete():
        world.change_outcome(trial_id, lambda record: record["versions"].update(OTHERS))
    forget(world.store, value)
    with caplog.at_level(logging.WARNING):
        join_campaign(world.store, "tiny", OWN)
    assert "campaign 'tiny' was begun with kdopt 0.0.1, torch 1.0.0, optuna 4.0.0" in caplog.text
    assert read_versions(world.store, "tiny") == [pick_versions(OTHERS), pick_versions(OWN)]


def test_the_commands_say_and_refuse(world):
    forget(world.store, [list(pick_versions(OTHERS))])
    before = world.states
    store = ("--store", "kdopt.db")
    with pytest.raises(StoreError, match="this worker has kdopt"):
        run_worker(world.store, world.artifacts, "tiny", "cpu", same_versions=True)
    call = WorkerCall("sqlite:///x.db", "artifacts", "tiny", same_versions=True)
    assert call.command()[-1] == "--same-versions", "so do all workers that are launched"
    assert world.states == before
    ended = kdopt(world.folder, "worker", *store, "--quiet")
    assert ended.returncode == 0 and "WARNING this worker has kdopt" in ended.stderr
    (note,) = check_campaign(world.store, world.artifacts, "tiny").notes
    assert note.startswith("workers of several versions: kdopt 0.0.1")
    ended = kdopt(world.folder, "status", *store)
    assert "workers of several versions: kdopt 0.0.1, torch 1.0.0, optuna 4.0.0" in ended.stdout


def test_the_doctor_goes_by_the_results_themselves(world):
    assert check_campaign(world.store, world.artifacts, "tiny").notes == ()
    last = world.list_complete()[-1]
    world.change_outcome(last, lambda record: record["versions"].update(OTHERS))
    (note,) = check_campaign(world.store, world.artifacts, "tiny").notes
    assert "torch 1.0.0" in note


def test_one_version_is_no_mixture():
    assert list(describe_mixture([])) == []
    assert list(describe_mixture([pick_versions(OWN)] * 3)) == []
