"""What a command says while somebody waits for it."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from kdopt.campaign.stages import plan_studies
from kdopt.cli import announce
from kdopt.cli.announce import say_if_slow
from kdopt.cli.app import app
from kdopt.store.planning import write_plan
from tests.conftest import make_record, new_store


class Impatient:
    """A timer whose time is over as it starts."""

    ident = None

    def __init__(self, _seconds, function, arguments):
        self._function, self._arguments = function, arguments

    def start(self):
        self._function(*self._arguments)

    def cancel(self):
        pass


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(announce, "Timer", Impatient)
    monkeypatch.setattr(announce, "_is_watched", lambda: True)


READING = [
    ("list", "counting trials ..."),
    ("status", "reading how far tiny is ..."),
    ("doctor", "checking tiny ..."),
    ("doctor --deep", "checking tiny and its artifacts ..."),
    ("best", "reading the trials of tiny ..."),
    ("report --publish", "publishing the index studies ..."),
    ("recommend --guide", "measuring what the guide loses on finished pairs ..."),
    ("backup copy", "and its artifacts ..."),
    ("retry-failed", "looking for failed trials of tiny ..."),
    ("rename tiny other", "renaming tiny ..."),
    ("delete tiny --yes", "deleting tiny ..."),
]


@pytest.fixture
def folder(tmp_path, campaign):
    opened = new_store(tmp_path / "kdopt.db")
    write_plan(opened, make_record(campaign), plan_studies)
    opened.close()
    return tmp_path


@pytest.mark.parametrize(("command", "said"), READING)
def test_a_command_that_takes_a_while_says_what_it_does(
    folder, impatient, monkeypatch, command, said
):
    monkeypatch.chdir(folder)
    shown = CliRunner().invoke(app, [*command.split(), "--store", "kdopt.db"])
    steps = [line for line in shown.stderr.splitlines() if line.endswith(" ...")]
    assert any(step.endswith(said) for step in steps), shown.stderr
    assert " ..." not in shown.stdout


def test_a_quick_command_and_a_pipe_see_nothing(monkeypatch, capsys):
    with say_if_slow("waiting"):
        pass
    monkeypatch.setattr(announce, "_is_watched", lambda: True)
    monkeypatch.setattr(announce, "SLOW_S", 300.0)
    with say_if_slow("waiting"):
        pass
    assert capsys.readouterr().err == ""


def test_it_is_said_while_the_block_runs(monkeypatch):
    said = []
    monkeypatch.setattr(announce, "_is_watched", lambda: True)
    monkeypatch.setattr(announce, "SLOW_S", 0.0)
    monkeypatch.setattr(announce, "_print_step", said.append)
    with say_if_slow("waiting"):
        while not said:
            pass
    assert said == ["waiting"]


def test_a_shell_that_completes_a_command_shows_nothing_else(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert announce._is_watched()
    monkeypatch.setenv("_KDOPT_COMPLETE", "complete_bash")
    assert not announce._is_watched()
