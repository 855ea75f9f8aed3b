"""The command line as a whole: what `kdopt --help` lists, and what it need not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kdopt import cli
from kdopt.campaign.stages import plan_studies
from kdopt.cli.app import COMMANDS, LazyCommands, app
from kdopt.errors import KdoptError
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record, new_store

HELP = {name: text for group in COMMANDS.values() for name, text in group.items()}


@pytest.mark.parametrize("name", HELP)
def test_the_overview_shows_the_first_line_of_a_commands_help(name):
    assert LazyCommands()[name].help.splitlines()[0] == HELP[name]


def test_every_module_with_a_command_is_listed():
    modules = Path(cli.__file__).parent.glob("*.py")
    found = {m.stem for m in modules if f"{m.stem}_command" in m.read_text("utf-8")}
    assert found == {name.replace("-", "_") for name in HELP}


def test_help_shows_every_command_on_one_line_under_its_purpose():
    shown = CliRunner().invoke(app, ["--help"]).output.splitlines()
    for purpose, group in COMMANDS.items():
        at = shown.index(f"{purpose}:")
        lines = [line.split(maxsplit=1) for line in shown[at + 1 : at + 1 + len(group)]]
        assert lines == [[name, text] for name, text in group.items()]


def test_help_imports_no_command_and_none_of_the_libraries_behind():
    script = """
import sys
from kdopt.cli.app import app
try:
    app(["--help"])
except SystemExit as end:
    assert not end.code
helpers = ("announce", "app", "interrupts", "limits", "process", "suggestions")
heavy = {"numpy", "sqlalchemy", "pydantic", "rich", "torch", "optuna"} & sys.modules.keys()
loaded = {m for m in sys.modules if m.startswith("kdopt.cli.")}
loaded -= {f"kdopt.cli.{name}" for name in helpers}
assert not heavy | loaded, heavy | loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_mistyped_command_is_refused_and_the_nearest_one_is_named():
    result = CliRunner().invoke(app, ["staus"])
    assert result.exit_code == 2
    assert "No such command 'staus'" in result.output
    assert "'status'" in result.output


def test_no_command_at_all_shows_the_help():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert "Look after the store:" in result.output


def list_commands(command, *typed):
    """A command and all below it, each with what is typed for it."""
    yield typed, command
    for name, below in getattr(command, "commands", {}).items():
        yield from list_commands(below, *typed, name)


EVERY = [
    pytest.param(*found, id=" ".join(found[0]))
    for name in HELP
    for found in list_commands(LazyCommands()[name], name)
]


@pytest.mark.parametrize(("typed", "command"), EVERY)
def test_the_help_of_every_command_ends_with_an_example_that_is_taken(typed, command):
    shown = CliRunner().invoke(app, [*typed, "--help"]).output.splitlines()
    example = shown[-1].strip().removeprefix("Example: ")
    assert example.startswith(" ".join(["kdopt", *typed]))
    for line in example.split(" && "):
        asked, words = get_command(app), line.split()[1:]
        while words and words[0] in getattr(asked, "commands", {}):
            asked = asked.commands[words.pop(0)]
        asked.make_context(line, words)  # raises where it does not take the words


def list_texts_taken(command, typed=()):
    """Every argument and option with a value, of a command and of those below it."""
    for name, below in getattr(command, "commands", {}).items():
        yield from list_texts_taken(below, (*typed, name))
    for param in command.params:
        if not getattr(param, "is_flag", False) and param.name != "help":
            yield typed, param


TAKEN = [
    pytest.param((name, *below), param, id=" ".join([name, *below, param.opts[0]]))
    for name in HELP
    for below, param in list_texts_taken(LazyCommands()[name])
]


@pytest.mark.parametrize(("typed", "param"), TAKEN)
def test_no_argument_or_option_takes_an_empty_text(tmp_path, monkeypatch, typed, param):
    monkeypatch.chdir(tmp_path)
    is_option = param.param_type_name == "option"
    result = CliRunner().invoke(app, [*typed, *([param.opts[0]] if is_option else []), ""])
    assert isinstance(result.exception, KdoptError), result.output
    name = param.opts[0] if is_option else ""
    assert f"{name} '': an empty text is no value; give one" in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("typed", "param"), TAKEN)
def test_nothing_that_is_left_out_stands_for_an_empty_text(typed, param):
    """Which would be refused although nobody typed it."""
    assert param.default != ""


ON_ONE_CAMPAIGN = [
    *("status", "doctor", "report", "verify", "worker", "features", "retry-failed"),
    *("launch local", "launch slurm", "launch ray"),
]


@pytest.mark.parametrize("typed", ON_ONE_CAMPAIGN)
def test_a_campaign_is_named_as_an_argument_or_with_the_option(tmp_path, typed):
    store = new_store(tmp_path / "kdopt.db")
    write_plan(store, make_record(make_campaign()), plan_studies)
    store.close()
    where = ["--store", str(tmp_path / "kdopt.db")]
    for named in (["other"], ["--campaign", "other"]):
        result = CliRunner().invoke(app, [*typed.split(), *named, *where])
        assert "no campaign 'other'; it has: tiny; give one of these" in str(result.exception)
    result = CliRunner().invoke(app, [*typed.split(), "tiny", "--campaign", "other", *where])
    assert "leave" in str(result.exception) and "out" in str(result.exception)
