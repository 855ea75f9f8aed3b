"""Recorded trials run again from their seeds: the same numbers, and nothing written."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from kdopt.analysis.reruns import compare_outcomes
from kdopt.errors import KdoptError
from kdopt.service.rerun import Rerunner
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
