"""Huge inputs: every command ends, with a message, in little memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SPEC = 'name = "x"\nmodel = "mlp"\nparticipants = 2\nstages = ["tune"]\n[data]\nname = "digits"\n'
MOST_BYTES = 6 * 2**30
"""Of address space: libraries reserve a part of it that they never use."""

MOST_S = 300
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


CASES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "ten million participants": (
        write_spec(participants="10000000"),
        ["spec spec.toml", "partitions spec.toml", "plan spec.toml", "run spec.toml"],
    ),
    "the largest campaign": (
        write_spec(participants="1000", replicates="1000", draws="1000"),
        ["plan spec.toml"],
    ),
    "a deep campaign file": (
        lambda folder: (folder / "spec.toml").write_text("a = " + "[" * 400_000),
        ["spec spec.toml", "run spec.toml"],
    ),
    "an endless campaign file": (
        lambda folder: make_sparse(folder / "spec.toml", SPEC.encode()),
        ["spec spec.toml", "plan spec.toml", "partitions spec.toml"],
    ),
    "an endless store": (
        lambda folder: make_sparse(folder / "big.db", b"SQLite format 3\0"),
        ["status --store big.db", "doctor --store big.db", "merge big.db --store kdopt.db"],
    ),
    "an endless student": (
        lambda folder: make_sparse(folder / "big.safetensors", (2**40).to_bytes(8, "little")),
        ["recommend --teacher big.safetensors --student big.safetensors --spec spec.toml"],
    ),
    "a million workers": (
        write_spec(),
        ["run spec.toml --workers 1000000", "launch local --workers 1000000 --store kdopt.db"],
    ),
}


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no such limit")
@pytest.mark.parametrize(("make", "commands"), CASES.values(), ids=CASES)
def test_huge_inputs_end_with_a_message(
    empty_store: Path, tmp_path: Path, make: Callable[[Path], object], commands: list[str]
) -> None:
    shutil.copy(empty_store, tmp_path / "kdopt.db")
    make(tmp_path)
    for command in commands:
        ended = subprocess.run(
            [sys.executable, "-m", "kdopt", *command.split()],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_S,
            preexec_fn=limit_memory,  # no threads here
        )
        assert ended.returncode == 2, (command, ended)
        assert "Traceback" not in ended.stderr and len(ended.stderr) < 2500, (command, ended)
