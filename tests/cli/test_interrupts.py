"""Ctrl-C at every moment of a command, in a real terminal: answered at once, with code 130."""

from __future__ import annotations

import sys

import pytest

from tests.terminal import Terminal

SPEC = """
name = "tiny"
participants = 2
model = "mlp"
partitions = ["uniform"]
stages = ["tune"]
control = false
[data]
name = "digits"
[pretrain]
epochs = 1
[distill]
epochs = 1
[tune]
temperatures = [1]
alphas = [0.5]
"""

# The process holds at a function of kdopt, or at an import, until somebody ends it. Interrupting
# what it does there is then interrupting the real thing, and no test guesses how long that takes.
HOLD = """
import sys, time
from importlib.abc import MetaPathFinder

kind, where, *arguments = sys.argv[1:]

def hold(*_, **__):
    print("<holding>", flush=True)
    while True:
        time.sleep(0.01)

class Hold(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == where:
            hold()

if kind == "import":
    sys.meta_path.insert(0, Hold())
else:
    module, name = where.split(":")
    __import__(module)
    owner = sys.modules[module]
    *classes, name = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, name, hold)
sys.argv = ["kdopt", *arguments]
from kdopt.cli import main
main()
"""

BEFORE = "stopped before anything was run; run the same command again"
MOMENTS = [
    ("import", "typer", "stopped before anything was done"),
    ("import", "pandas", "stopped before anything was done"),
    ("call", "kdopt.cli.campaign_file:load_dataset", BEFORE),
    ("call", "kdopt.cli.campaign_file:plan_campaign", BEFORE),
    ("call", "kdopt.launch.local:LocalWorkers._start_worker", "0 of 4 trials done; run the"),
    ("call", "kdopt.cli.run:write_report", "4 of 4 trials done; run the"),
]
"""Where ``kdopt run`` is, and what its last words are then. Training itself is stopped in
``test_cli``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("run")
    (made / "tiny.toml").write_text(SPEC)
    return made


def start_held(folder, kind, where, *arguments):
    command = [sys.executable, "-c", HOLD, kind, where, *arguments]
    terminal = Terminal(command, (24, 80), folder)
    terminal.wait_for(lambda text: "<holding>" in terminal.said())
    return terminal


@pytest.mark.parametrize(("kind", "where", "last_words"), MOMENTS)
def test_ctrl_c_ends_a_run_at_every_moment_with_a_message(folder, kind, where, last_words):
    terminal = start_held(folder, kind, where, "run", "tiny.toml", "--workers", "1")
    try:
        terminal.press_ctrl_c()
        assert terminal.end(600) == 130
        said = terminal.said()
        assert last_words in said.rpartition("<holding>")[2], said
        assert "Traceback" not in said
        assert not list(folder.glob("storage/*-wal")), "the store was left open"
    finally:
        terminal.close()


def test_a_command_that_says_nothing_of_ctrl_c_is_spoken_for(folder):
    terminal = start_held(folder, "call", "kdopt.cli.spec:load_spec", "spec", "tiny.toml")
    try:
        terminal.press_ctrl_c()
        assert terminal.end(600) == 130
        assert terminal.said().splitlines()[-1].endswith("stopped")
    finally:
        terminal.close()


def test_a_run_that_loads_slowly_says_so_before_it_can_do_anything(folder):
    terminal = start_held(folder, "import", "pandas", "run", "tiny.toml")
    try:
        assert "torch" not in terminal.said()
        terminal.wait_for(lambda text: "loading kdopt run ..." in text)
    finally:
        terminal.close()
