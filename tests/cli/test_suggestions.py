"""One suggestion for an unknown name; commands that take a campaign all do so in the same way."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from kdopt.cli.app import COMMANDS, LazyCommands, app
from kdopt.cli.suggestions import find_closest

NAMES = [name for group in COMMANDS.values() for name in group]
WITHOUT_CAMPAIGN = {"backup", "cache", "images", "init", "list", "new", "partitions", "plan", "run"}
WITHOUT_CAMPAIGN |= {"spec"}
"""They read a file, or act on all of a store."""

BY_OTHER_ARGUMENTS = {"delete", "distill", "rename"}
"""They must name their campaign or pair, so they need no option for it, or have it in the pair."""


def list_commands():
    """Every command and every command of a group, with the words that call it."""
    for name in NAMES:
        command = LazyCommands()[name]
        yield [name], command
        yield from (([name, b], c) for b, c in getattr(command, "commands", {}).items())


def suggested(*arguments):
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 2, result.output
    assert "Possible options" not in result.output
    return re.findall(r"Did you mean '(\S+)'\?", result.output)


@pytest.mark.parametrize(("words", "command"), [*list_commands()], ids=lambda v: str(v)[:30])
def test_an_option_without_its_last_letter_is_answered_with_that_option_alone(words, command):
    options = {o for p in command.params for o in p.opts if o.startswith("--")}
    for option in options:
        if option[:-1] not in options:
            assert suggested(*words, option[:-1]) == [option]


def test_a_command_without_its_last_letter_is_answered_with_that_command_alone():
    for words, _ in list_commands():
        assert suggested(*words[:-1], words[-1][:-1]) == words[-1:]


def test_what_is_like_nothing_gets_no_suggestion():
    assert suggested("run", "--zzz") == suggested("zzz") == []


def test_the_one_name_that_begins_so_is_meant_rather_than_a_more_similar_one():
    assert find_closest("rec", ["recommend", "reed"]) == "recommend"
    assert find_closest("--worker", ["--store", "--workers"]) == "--workers"
    assert find_closest("--job", ["--job-time", "--jobs"]) == "--jobs"


def test_every_command_on_a_campaign_takes_it_as_an_argument_and_as_an_option():
    for words, command in list_commands():
        if words[0] in WITHOUT_CAMPAIGN | BY_OTHER_ARGUMENTS or hasattr(command, "commands"):
            continue
        metavars = [p.metavar or "" for p in command.params if p.param_type_name == "argument"]
        assert any("CAMPAIGN" in metavar for metavar in metavars), words
        assert any("--campaign" in p.opts for p in command.params), words
