"""kdopt verify: a table by stage, and an exit code that says whether numbers can be trusted."""

from __future__ import annotations

import sqlalchemy as sa
from typer.testing import CliRunner

from kdopt.cli.app import app
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store


def verify(path, artifacts, *options):
    arguments = ["verify", "home", "--store", str(path), "--artifacts", str(artifacts.root)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_a_finished_campaign_is_confirmed_stage_by_stage(finished):
    end = verify(finished.path, finished.artifacts, "--trials", "7")
    assert end.exit_code == 0, end.output
    head, *lines, last = end.stdout.splitlines()
    assert head.split()[:4] == ["stage", "trials", "equal", "differing"]
    assert sum(int(line.split()[1]) for line in lines) == 7
    assert {line.split()[0] for line in lines} >= {"pretrain", "tune", "federate"}
    assert last == "home: 7 trials ran again; every recorded number is the same"


def test_a_changed_number_ends_with_code_1_unless_the_machine_is_another(finished, tmp_path):
    back_up_store(finished.store, finished.artifacts, tmp_path)
    path = tmp_path / "kdopt.db"
    for old, new, code, expected in (
        ('"best_epoch": ', '"best_epoch": 1', 1, "best_epoch"),
        ('"torch": "', '"torch": "0', 0, "recorded on another machine or with other versions"),
    ):
        copy = open_store(str(path))
        with copy.write() as connection:
            connection.execute(
                sa.text(
                    "UPDATE trial_user_attributes SET value_json = "
                    "replace(value_json, :old, :new) WHERE key = 'kd:metrics'"
                ),
                {"old": old, "new": new},
            )
        copy.close()
        end = verify(path, finished.artifacts, "--trials", "2")
        assert end.exit_code == code, end.output
        assert expected in end.stdout
        assert "home: 2 trials ran again, 2 differ" in end.stdout
