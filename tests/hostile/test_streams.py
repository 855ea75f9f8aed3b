"""Where the output goes, and how a command is stopped: an exit code, and never a traceback."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdopt.cli import main
from tests.hostile.commands import kdopt

SPEC = 'name = "x"\nparticipants = 2\npartitions = ["uniform"]\nstages = ["tune"]\nmodel = "mlp"\n'
SPEC += '[data]\nname = "digits"\n'
COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "spec": ["spec", "spec.toml"],
    "partitions": ["partitions", "spec.toml"],
    "doctor as JSON": ["doctor", "--json"],
}


class Broken(io.TextIOWrapper):
    """A stream whose other end takes nothing."""

    def __init__(self, number: int, at_once: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.number, self.at_once = number, at_once

    def write(self, text: str) -> int:
        if self.at_once:
            raise OSError(self.number, os.strerror(self.number))
        return len(text)

    def flush(self) -> None:
        if not self.closed:
            raise OSError(self.number, os.strerror(self.number))

    def close(self) -> None:
        pass

    def __del__(self) -> None:
        pass


@pytest.fixture
def with_spec(here: Path) -> Path:
    (here / "spec.toml").write_text(SPEC)
    return here


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 1)])
def test_an_output_that_cannot_be_written_ends_a_command_with_a_message(
    with_spec: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, at_once: bool
) -> None:
    for command in COMMANDS.values():
        log = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["kdopt", *command])
        monkeypatch.setattr(sys, "stdout", Broken(number, at_once))
        monkeypatch.setattr(sys, "stderr", log)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == code, (command, log.getvalue())
        said = log.getvalue()
        assert "Traceback" not in said
        assert code == 1 or (os.strerror(number) in said and ("free" in said or "again" in said))


def test_messages_that_cannot_be_written_change_nothing(
    with_spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, code in ((["spec", "spec.toml"], 0), (["spec", "none.toml"], 2)):
        monkeypatch.setattr(sys, "argv", ["kdopt", *command])
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys, "stderr", Broken(errno.ENOSPC, True))
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == code


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_every_encoding_will_do(with_spec: Path, encoding: str) -> None:
    for command in COMMANDS.values():
        ended = kdopt(*command, encoding=encoding)
        assert (ended.code, "Traceback" in ended.err) == (0, False), (command, ended)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of shell, in which ``kdopt`` is this one."""
    return subprocess.run(
        ["bash", "-c", f'kdopt() {{ "{sys.executable}" -m kdopt "$@"; }}; {command}'],
        cwd=folder,
        capture_output=True,
        check=False,
        # As in most shells: with it, no stream holds anything back that cannot be written.
        env={key: text for key, text in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("kdopt spec spec.toml > /dev/full", 2),
        ("kdopt spec spec.toml | true; exit ${PIPESTATUS[0]}", 1),
        ("kdopt spec spec.toml >&-", 0),
        ("kdopt spec none.toml 2>&-", 2),
        ("kdopt spec none.toml 2> /dev/full", 2),
        ("kdopt spec $'none\\xff.toml'", 2),
        ("LC_ALL=C PYTHONUTF8=0 kdopt spec $'none\\xff.toml'", 2),
        ("kdopt init --store $'none\\xff.db'", 2),
        ("mkdir $'\\xff'; cd $'\\xff'; kdopt init", 2),
        (
            "mkdir gone; cd gone; rmdir ../gone; kdopt init 2>&1 | grep -q 'was removed' && exit 2",
            2,
        ),
    ],
)
def test_a_shell_gets_an_exit_code_and_no_traceback(tmp_path: Path, line: str, code: int) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    ended = run(line, tmp_path)
    assert ended.returncode == code, ended
    assert b"Traceback" not in ended.stderr and b"Exception ignored" not in ended.stderr
    assert len(ended.stderr) < 2000


INTERRUPTED = [
    ("typer", ["--help"]),
    ("kdopt.cli.app", ["--help"]),
    ("rich.console", ["status"]),
    ("sqlalchemy", ["status"]),
    ("numpy", ["recommend", "--gap", "3"]),
    ("pandas", ["recommend", "--gap", "3"]),
    ("pydantic", ["spec", "spec.toml"]),
    ("optuna", ["init"]),
    ("sklearn", ["partitions", "spec.toml"]),
]


@pytest.mark.parametrize(("module", "command"), INTERRUPTED)
def test_ctrl_c_while_importing_is_quiet(tmp_path: Path, module: str, command: list[str]) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    script = f"""
import os, signal, sys

class Interrupt:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(Interrupt)
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["kdopt", *sys.argv[1:]]
sys.meta_path.insert(0, Interrupt)
from kdopt.cli import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=tmp_path, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, b""), ended
    assert b"Traceback" not in ended.stderr
