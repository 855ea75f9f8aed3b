"""Random trials of all stages run again; a number that was changed is found."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from kdopt.errors import StoreError
from kdopt.service.rerun import draw_trials, verify_trials
from kdopt.store import queries
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store


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
