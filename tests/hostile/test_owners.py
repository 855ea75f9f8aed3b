"""Stores, artifacts and places of another user: one message each, nothing changed, nothing failed.

Files are taken from whoever runs the commands: by its user where the tests run as root, else by the
permissions alone.
"""

from __future__ import annotations

import grp
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from kdopt.errors import KdoptError
from kdopt.launch.slurm import describe_trusted_group, make_log_folder
from tests.hostile.as_other import NOBODY
from tests.hostile.commands import Ended
from tests.hostile.test_files_of_others import SPEC, dump_store
from tests.hostile.world import copy_world

NO_GROUP = 54_321
"""A number that no group has."""

STORE = "--store {at}/kdopt.db"
OPENS_A_STORE = [
    f"status {STORE}",
    f"list {STORE}",
    f"doctor {STORE}",
    f"doctor --repair {STORE}",
    f"init {STORE}",
    f"worker {STORE}",
    f"features {STORE}",
    f"retry-failed {STORE}",
    f"rename tiny other {STORE}",
    f"delete tiny --yes {STORE}",
    f"verify tiny {STORE}",
    f"best uniform/t00-s01 {STORE}",
    f"recommend --gap 3 {STORE}",
    f"report tiny --out {{mine}}/report {STORE}",
    f"distill uniform/t00-s01 --output {{mine}}/s.safetensors {STORE}",
    f"backup {{mine}}/backup {STORE}",
    f"launch local --logs {{mine}}/logs {STORE}",
    f"merge {{mine}}/kdopt.db {STORE}",
    "merge {at}/kdopt.db --store {mine}/kdopt.db",
]
WRITES_THERE = [
    "new {at}/x.toml",
    "plan {mine}/spec.toml --store {at}/new.db",
    "run {mine}/spec.toml --store {at}/new.db",
    "plan {mine}/spec.toml --store {mine}/new.db --artifacts {at}/artifacts",
    "partitions {mine}/spec.toml --html {at}/maps.html",
    "images {mine}/spec.toml --output {at}/images.npz",
    "report tiny --out {at}/report --store {mine}/kdopt.db",
    "backup {at}/backup --store {mine}/kdopt.db",
    "backup {at} --store {mine}/kdopt.db",
    "launch local --logs {at}/logs --store {mine}/kdopt.db",
]
LOGS_THERE = [
    f"launch local --workers 2 {STORE}",
    f"launch local --workers 2 --logs {{at}}/all {STORE}",
    "run {at}/spec.toml --workers 2 --store {at}/new.db",
    f"launch slurm {STORE}",
    f"launch slurm --logs {{at}}/closed {STORE}",
]
"""Logs in a folder that only another user may write; and a second worker's log in one that all
may."""
NEEDS_ARTIFACTS = [
    f"worker {STORE}",
    f"run {{mine}}/spec.toml {STORE}",
    f"backup {{mine}}/backup {STORE}",
]
CHECKS = [f"doctor {STORE}", f"doctor --deep {STORE}"]
WARM = [
    f"launch slurm {STORE}",
    "plan {at}/spec.toml --store {at}/new.db",
    "partitions {at}/spec.toml --html {at}/maps.html",
    "images {at}/spec.toml --output {at}/images.npz",
    f"worker {STORE}",
    f"verify tiny --trials 1 {STORE}",
    f"report tiny --out {{at}}/report {STORE}",
    f"distill uniform/t00-s01 --output {{at}}/s.safetensors {STORE}",
    f"backup {{at}}/backup {STORE}",
    f"merge {{at}}/new.db {STORE}",
    f"doctor --deep {STORE}",
]
"""What loads whatever else is needed."""
PLACES = ("closed", "secret", "unreadable", "logged", "mine")
"""Folders: nothing in it may be written; nor read; the artifacts alone may not; nor the logs; all
may."""


class Done(NamedTuple):
    """What became of everything.

    Attributes:
        ended: How each command ended, by what was typed and which place it was about.
        changed: The places whose files are not as they were.
        states: How many trials are in each state, of the store whose artifacts cannot be read.
    """

    ended: dict[tuple[str, str], Ended]
    changed: list[str]
    states: dict[str, int]


@pytest.fixture(scope="module")
def done(pretrained_folder: Path) -> Iterator[Done]:
    # Not where pytest keeps its files: others may not look in there at all.
    root = Path(tempfile.mkdtemp(prefix="owners"))
    try:
        yield run_all(root, pretrained_folder)
    finally:
        open_again(root)
        shutil.rmtree(root)


def run_all(root: Path, source: Path) -> Done:
    root.chmod(0o755)
    for name in PLACES:
        copy_world(source, root / name).store.close()
        with closing(sqlite3.connect(root / name / "kdopt.db")) as file:
            file.execute("PRAGMA journal_mode = delete")
        (root / name / "logs").mkdir()
        (root / name / "spec.toml").write_text(SPEC)
    warm = root / "warm"
    shutil.copytree(root / "mine", warm)
    table = [
        *(("closed", line) for line in [*OPENS_A_STORE, *WRITES_THERE]),
        *(("secret", line) for line in [*OPENS_A_STORE, *WRITES_THERE]),
        *(("unreadable", line) for line in [*NEEDS_ARTIFACTS, *CHECKS]),
        *(("logged", line) for line in LOGS_THERE),
    ]
    for path in (root / "bin" / "sbatch", root / "bin" / "srun"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    before = {name: dump(root / name) for name in PLACES}
    close(root)
    asked = {key: key[1].format(at=root / key[0], mine=root / "mine").split() for key in table}
    to_warm = [line.format(at=warm, mine=warm).split() for line in WARM]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hostile.as_other"],
        input=json.dumps([to_warm, list(asked.values())]),
        env={
            **os.environ,
            "KDOPT_CACHE": str(root / "closed"),
            "HOME": str(root / "secret"),
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr
    ends = [Ended(*json.loads(line)) for line in ran.stdout.splitlines()]
    open_again(root)
    changed = [name for name in PLACES[:2] if dump(root / name) != before[name]]
    with closing(sqlite3.connect(root / "unreadable" / "kdopt.db")) as file:
        states = dict(file.execute("SELECT state, count(*) FROM trials GROUP BY state"))
    return Done(dict(zip(asked, ends, strict=True)), changed, states)


def close(root: Path) -> None:
    """Take all but what is ``mine`` from the user who is to run commands."""
    if os.geteuid() == 0:
        for name in ("mine", "unreadable", "logged"):
            for path in [root / name, *(root / name).rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        os.chown(root / "unreadable" / "artifacts", 0, 0)
    for name, mode in (("logs/tiny", 0o555), ("closed/slurm", 0o555), ("all", 0o777)):
        (root / "logged" / name).mkdir(parents=True)
        (root / "logged" / name).chmod(mode)
    (root / "logged" / "all" / "worker-2.log").write_text("theirs")
    (root / "logged" / "all" / "worker-2.log").chmod(0o444)
    (root / "unreadable" / "artifacts").chmod(0o000)
    for name, folder, file in (("closed", 0o555, 0o444), ("secret", 0o000, 0o000)):
        # From below: what is closed cannot be looked through.
        for path in [*sorted((root / name).rglob("*"), reverse=True), root / name]:
            path.chmod(folder if path.is_dir() else file)


def open_again(root: Path) -> None:
    for name in PLACES:
        for folder in (root / name, root / name / "artifacts"):
            folder.chmod(0o755)
        for path in (root / name).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def dump(folder: Path) -> object:
    return dump_store(folder / "kdopt.db"), sorted(map(str, folder.rglob("*")))


def says_so(error: str) -> bool:
    """Whether a message says that something is another user's."""
    said = ("ermission", "not readable", "you may not write into this folder")
    return any(text in error for text in said)


@pytest.mark.parametrize("line", [*OPENS_A_STORE, *WRITES_THERE])
@pytest.mark.parametrize("place", ["closed", "secret"])
def test_what_is_another_users_is_refused_by_its_name(done: Done, place: str, line: str) -> None:
    ended = done.ended[place, line]
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err and len(ended.err) < 2500, ended.err
    assert says_so(ended.err), ended.err
    assert f"/{place}" in ended.err, ended.err


@pytest.mark.parametrize("line", LOGS_THERE)
def test_logs_that_may_not_be_written_stop_a_launch(done: Done, line: str) -> None:
    ended = done.ended["logged", line]
    assert ended.code == 2 and "Traceback" not in ended.err, ended
    assert "workers are starting" not in ended.err, ended
    where = "/all/worker-2.log: " if "--logs {at}/all" in line else "/logged/"
    error = ended.err.rpartition("kdopt: error: ")[2]
    assert where in error and says_so(error), ended


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_jobs_run_nothing_of_a_folder_that_another_may_change(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, -1)
    with pytest.raises(KdoptError, match=r"belongs to another user, .*; give another --logs"):
        make_log_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
def test_a_shared_group_that_may_change_what_jobs_run_is_named(tmp_path: Path) -> None:
    logs = tmp_path / "our logs"
    assert describe_trusted_group(logs) is None
    logs.mkdir()
    for group, mode, named in ((1, 0o775, grp.getgrgid(1).gr_name), (NO_GROUP, 0o770, "54321")):
        os.chown(logs, -1, group)
        logs.chmod(mode)
        said = describe_trusted_group(logs)
        assert said is not None and str(logs) in said and f"'{named}'" in said
        assert f"chmod g-w '{logs}'" in said and "--logs" in said
        make_log_folder(logs)
        logs.chmod(0o755)
        assert describe_trusted_group(logs) is None
    os.chown(logs, -1, 0)
    logs.chmod(0o775)
    assert describe_trusted_group(logs) is None  # the user's own


def test_new_folders_of_jobs_are_their_makers_alone(tmp_path: Path) -> None:
    old = os.umask(0o002)
    try:
        make_log_folder(tmp_path / "logs" / "mine")
    finally:
        os.umask(old)
    made = (tmp_path / "logs", tmp_path / "logs" / "mine")
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o755, 0o755]


@pytest.mark.parametrize("line", NEEDS_ARTIFACTS)
def test_artifacts_that_may_not_be_read_stop_a_command(done: Done, line: str) -> None:
    ended = done.ended["unreadable", line]
    assert ended.code == 2 and "Traceback" not in ended.err, ended
    assert "artifacts" in ended.err and says_so(ended.err), ended.err


@pytest.mark.parametrize("line", CHECKS)
def test_the_doctor_lists_artifacts_that_may_not_be_read(done: Done, line: str) -> None:
    ended = done.ended["unreadable", line]
    assert ended.code == 1 and "Permission denied" in ended.out and "problems" in ended.out, ended


def test_nothing_is_changed_and_no_trial_fails(done: Done) -> None:
    assert done.changed == []
    assert done.states.keys() <= {"COMPLETE", "WAITING"}, done.states
