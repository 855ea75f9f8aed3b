"""Huge inputs: every command ends, with a message, in little memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kdopt.cli.app import LazyCommands

SPEC = 'name = "x"\nmodel = "mlp"\nparticipants = 2\nstages = ["tune"]\n[data]\nname = "digits"\n'
MOST_S = 600
"""A test that takes as long fails, and a busy machine is no reason to."""


def make_sparse(path: Path, head: bytes = b"") -> None:
    path.write_bytes(head)
    os.truncate(path, 2**41)


def write_spec(**changes: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        lines = [line for line in SPEC.splitlines() if line.split(" ")[0] not in changes]
        given = [f"{key} = {value}" for key, value in changes.items()]
        (folder / "spec.toml").write_text("\n".join([*given, *lines]) + "\n")

    return write


def write_sql(*statements: str) -> Callable[[Path], None]:
    """Change some rows of the store."""

    def write(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "kdopt.db")) as file, file:
            for statement in statements:
                assert file.execute(statement).rowcount > 0, "a case that changes nothing"

    return write


def make_endless_artifacts(folder: Path) -> None:
    for path in (folder / "artifacts").rglob("*.safetensors"):
        make_sparse(path, path.read_bytes())


def make_endless_cache(folder: Path) -> None:
    (folder / "cache/decoded").mkdir(parents=True)
    for number in range(100):
        make_sparse(folder / f"cache/decoded/{number}.pixels")


def of_store(path: str, *commands: str) -> list[str]:
    """Command lines of commands that read a store."""
    return [f"{LINES.get(command, command)} --store {path}" for command in commands]


LINES = {
    "status": "status --campaign tiny",
    "report": "report tiny",
    "best": "best --campaign tiny",
    "doctor": "doctor --deep",
    "recommend": "recommend --pair tiny/uniform/t00-s01",
    "distill": "distill tiny/uniform/t00-s01 --force",
    "worker": "worker --campaign tiny",
    "features": "features --campaign tiny",
    "retry-failed": "retry-failed --campaign tiny",
    "verify": "verify tiny",
    "rename": "rename tiny other",
    "delete": "delete tiny --yes",
    "backup": "backup there",
    "launch": "launch local --campaign tiny --workers 1",
    "merge": "merge other.db",
}

MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
CASES: dict[str, tuple[Callable[[Path], object], list[str], set[int]]] = {
    "ten million participants": (
        write_spec(participants="10000000"),
        [f"{command} spec.toml" for command in ("spec", "partitions", "plan", "run")],
        {2},
    ),
    "the largest campaign": (
        write_spec(participants="1000", replicates="1000", draws="1000"),
        ["plan spec.toml"],
        {2},
    ),
    "a deep campaign file": (
        lambda folder: (folder / "spec.toml").write_text("a = " + "[" * 400_000),
        ["spec spec.toml", "run spec.toml"],
        {2},
    ),
    "an endless campaign file": (
        lambda folder: make_sparse(folder / "spec.toml", SPEC.encode()),
        [
            *(f"{command} spec.toml" for command in ("spec", "plan", "partitions", "new")),
            "images spec.toml --output images.npz",
        ],
        {2},
    ),
    "an endless store": (
        lambda folder: make_sparse(folder / "big.db", b"SQLite format 3\0"),
        [
            *of_store("big.db", *LINES, "list", "dashboard", "init"),
            "merge big.db --store kdopt.db",
        ],
        {0, 2},
    ),
    "an endless earlier copy": (
        lambda folder: make_sparse(folder / "there.db", b"SQLite format 3\0"),
        ["backup . --store there.db", "init --store there.db"],
        {2},
    ),
    "an endless student": (
        lambda folder: make_sparse(folder / "big.safetensors", (2**40).to_bytes(8, "little")),
        ["recommend --teacher big.safetensors --student big.safetensors --spec spec.toml"],
        {2},
    ),
    "endless artifacts": (
        make_endless_artifacts,
        [
            *of_store("kdopt.db", "distill", "worker", "verify", "features", "doctor", "backup"),
            "merge kdopt.db --store other.db",
        ],
        {0, 1, 2},
    ),
    "an endless cache": (make_endless_cache, ["cache", "cache clear"], {0}),
    "a deep record of forty million letters": (
        write_sql(
            "UPDATE kdopt_meta SET value = replace(hex(zeroblob(20000000)), '0', '[') "
            "WHERE key LIKE 'record:%'",
            "UPDATE study_user_attributes SET value_json = "
            "replace(hex(zeroblob(20000000)), '0', '[') WHERE key = 'kd:record'",
        ),
        of_store("kdopt.db", "status", "doctor", "worker", "delete"),
        {0, 1, 2},
    ),
    "an outcome of forty million letters": (
        write_sql(
            "UPDATE trial_user_attributes SET value_json = "
            "'\"' || hex(zeroblob(20000000)) || '\"' WHERE key = 'kd:metrics'"
        ),
        of_store("kdopt.db", "report", "recommend", "retry-failed", "merge"),
        {0, 1, 2},
    ),
    "a name of a million letters": (
        write_sql("UPDATE studies SET study_name = study_name || hex(zeroblob(500000))"),
        of_store("kdopt.db", "list", "status", "backup", "rename"),
        {0, 1, 2},
    ),
    "a hundred thousand studies": (
        write_sql(
            f"INSERT INTO studies (study_name) {MANY.format(100_000)}"
            "SELECT 'tiny/uniform/tune/t' || i || '-s0' FROM n"
        ),
        of_store("kdopt.db", "list", "status", "doctor", "delete"),
        {0, 1, 2},
    ),
    "a million workers": (
        write_spec(),
        ["run spec.toml --workers 1000000", "launch local --workers 1000000 --store kdopt.db"],
        {2},
    ),
}


def test_every_command_has_a_case() -> None:
    """A new one needs some: what of its inputs can be larger than the machine?"""
    tried = {line.split()[0] for _, lines, _ in CASES.values() for line in lines}
    assert tried == set(LazyCommands())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no such limit")
@pytest.mark.parametrize(("make", "lines", "codes"), CASES.values(), ids=CASES)
def test_huge_inputs_end_with_a_message(
    finished_folder: Path,
    tmp_path: Path,
    make: Callable[[Path], object],
    lines: list[str],
    codes: set[int],
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(finished_folder, folder)
    shutil.copy(folder / "kdopt.db", folder / "other.db")
    write_spec()(folder)
    make(folder)
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "KDOPT_CACHE": "cache"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.hostile.limited"],
        input=json.dumps(lines),
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=MOST_S,
    )
    for line, code, said in map(json.loads, ended.stdout.splitlines()):
        assert code in codes, (line, code, said)
        assert "Traceback" not in said and len(said) < 6000, (line, said)
        assert code != 2 or len(re.findall("^(kdopt: error|Error): ", said, re.M)) == 1, (
            line,
            said,
        )
    assert len(ended.stdout.splitlines()) == len(lines)
