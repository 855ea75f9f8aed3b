"""Texts of the store that are not UTF-8: SQLite checks none, and one may not end all reading."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.hostile.commands import kdopt

COLUMNS = (
    "studies.study_name",
    "study_user_attributes.key",
    "study_user_attributes.value_json",
    "study_system_attributes.value_json",
    "trials.datetime_start",
    "trials.state",
    "trial_params.param_name",
    "trial_params.distribution_json",
    "trial_values.value_type",
    "trial_user_attributes.key",
    "trial_user_attributes.value_json",
    "kdopt_meta.key",
    "kdopt_meta.value",
)
COMMANDS = ("status", "list", "doctor", "report tiny", "recommend --gap 3", "verify", "worker")
NOT_UTF_8 = "CAST(substr({0}, 1, length({0}) / 2) || X'ff' || substr({0}, -9) AS TEXT)"
ONE_BYTE = "CAST(replace({0}, 'cpu', 'c' || X'ff' || 'u') AS TEXT)"
"""Still JSON, with one broken text in it."""


@pytest.mark.parametrize("column", COLUMNS)
def test_a_text_with_other_bytes_is_named_and_not_waited_for(
    column: str, finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, name = column.split(".")
    spoiled, codes = tmp_path / "world", set()
    shutil.copytree(finished_folder, spoiled)
    with closing(sqlite3.connect(spoiled / "kdopt.db")) as file:
        changed = file.execute(f"UPDATE {table} SET {name} = {NOT_UTF_8.format(name)}").rowcount
        file.commit()
    assert changed
    monkeypatch.chdir(spoiled)
    for command in COMMANDS:
        ended = kdopt(*command.split(), "--store", "kdopt.db")
        said = ended.err + ended.out
        assert ended.code in (0, 1, 2) and "Traceback" not in said, (command, ended)
        assert "trying again" not in said and len(ended.err) < 4000, (command, ended)
        codes.add(ended.code)
    assert codes != {0}, "nothing says that it is broken"


def test_one_broken_text_within_a_record_is_named(
    finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = tmp_path / "world"
    shutil.copytree(finished_folder, spoiled)
    where = "key = 'kd:metrics' AND trial_id = (SELECT max(trial_id) FROM trials)"
    with closing(sqlite3.connect(spoiled / "kdopt.db")) as file:
        set_value = f"SET value_json = {ONE_BYTE.format('value_json')}"
        file.execute(f"UPDATE trial_user_attributes {set_value} WHERE {where}")
        file.commit()
    monkeypatch.chdir(spoiled)
    for command in ("doctor", "report tiny"):
        ended = kdopt(*command.split(), "--store", "kdopt.db")
        assert ended.code in (1, 2) and "not UTF-8" in ended.err + ended.out, (command, ended)
