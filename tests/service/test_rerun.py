"""Recorded trials run again from their seeds: the same numbers, and nothing written."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from kdopt.analysis.reruns import compare_outcomes
from kdopt.errors import KdoptError, StoreError
from kdopt.service.rerun import Rerunner, draw_trials, verify_trials
from kdopt.store import queries
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store


@pytest.fixture(scope="module")
def rerunner(finished):
    return Rerunner(finished.store, finished.artifacts, "home")


@pytest.mark.parametrize("stage", ["pretrain", "control", "tune", "compare", "combine", "federate"])
def test_a_trial_of_every_stage_gives_its_record_again_and_writes_nothing(
    rerunner, finished, stage, monkeypatch
):
    monkeypatch.setattr(finished.artifacts, "put", None)
    row = [r for r in rerunner.rows if r.stage == stage][-1]
    found = rerunner.run(row)
    assert compare_outcomes(row.outcome, found.outcome) == ()
    assert found.model is not None or stage not in ("control", "tune", "compare")


def test_a_trial_that_rests_on_another_stores_weights_is_left_out(finished, tmp_path):
    back_up_store(finished.store, finished.artifacts, tmp_path)
    copy = open_store(str(tmp_path / "kdopt.db"))
    rows = Rerunner(copy, finished.artifacts, "home").rows
    with copy.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
                "VALUES (:trial, 'kd:other_weights', :true)"
            ),
            {"trial": len(rows), "true": json.dumps(True)},
        )
    rerunner = Rerunner(copy, finished.artifacts, "home")
    mixed = [row for row in rows if not rerunner.can_run(row)]
    assert mixed == rows[-1:]
    with pytest.raises(KdoptError, match="rests on that store's pre-trained weights"):
        rerunner.run(mixed[0])
    copy.close()


def count_rows(store):
    return store.select_rows("SELECT count(*) FROM trial_user_attributes")[0][0]


def test_a_finished_campaign_gives_every_number_again_and_is_left_as_it_is(finished):
    before, seen = count_rows(finished.store), []
    checked = verify_trials(
        finished.store, finished.artifacts, "home", trials=8, on_trial=seen.append
    )
    assert seen == checked and len(checked) == 8
    assert {t.row.stage for t in checked} == {
        "pretrain", "control", "tune", "compare", "combine", "federate"
    }  # fmt: skip
    assert all(t.equal and not t.machine for t in checked)
    assert count_rows(finished.store) == before


def test_the_seed_chooses_the_trials_and_every_stage_has_one(finished):
    rows = queries.read_trials(finished.store, "home")
    first, again, other = (draw_trials(rows, 9, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len({r.stage for r in first}) == len({r.stage for r in other}) == 6
    assert draw_trials(rows, 10_000, 0) == rows
    assert [r.stage for r in draw_trials(rows, 1, 3)] == [draw_trials(rows, 1, 3)[0].stage]


@pytest.fixture
def forged(finished, tmp_path):
    """A copy in which somebody wrote other numbers into every record."""
    back_up_store(finished.store, finished.artifacts, tmp_path)
    copy = open_store(str(tmp_path / "kdopt.db"))

    def forge(versions='"torch": "', other='"torch": "'):
        with copy.write() as connection:
            connection.execute(
                sa.text(
                    "UPDATE trial_user_attributes SET value_json = replace(replace("
                    "value_json, '\"epochs\": ', '\"epochs\": 1'), :versions, :other) "
                    "WHERE key = 'kd:metrics'"
                ),
                {"versions": versions, "other": other},
            )
        return copy

    yield forge
    copy.close()


def test_changed_numbers_are_found_and_another_machine_is_told(finished, forged):
    (found,) = verify_trials(forged(), finished.artifacts, "home", trials=1)
    assert not found.equal and not found.machine
    assert [(d.key, d.unit) for d in found.deviations] == [("epochs", "epochs")]
    (found,) = verify_trials(
        forged('"torch": "', '"torch": "0'), finished.artifacts, "home", trials=1
    )
    assert not found.equal and found.machine.startswith("torch 0")


def test_a_campaign_without_a_finished_trial_is_refused(tmp_path, finished):
    with pytest.raises(StoreError, match="no campaign 'nobody'"):
        verify_trials(finished.store, finished.artifacts, "nobody")
