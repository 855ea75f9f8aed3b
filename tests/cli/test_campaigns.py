"""Campaign files and campaigns as a whole: new, spec, list, rename, delete; and the cache."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from kdopt.campaign.stages import plan_studies
from kdopt.cli.app import app
from kdopt.errors import KdoptError
from kdopt.store import queries
from kdopt.store.planning import write_plan
from tests.cli.test_cli import command
from tests.conftest import make_record, new_store
from tests.terminal import STYLE, Terminal


def run(*arguments, answer=None):
    return CliRunner().invoke(app, [*map(str, arguments)], input=answer)


@pytest.fixture
def path(tmp_path, campaign):
    opened = new_store(tmp_path / "kdopt.db")
    write_plan(opened, make_record(campaign), plan_studies)
    opened.close()
    return tmp_path / "kdopt.db"


def test_a_new_campaign_is_called_like_its_file_and_can_be_planned(tmp_path):
    file = tmp_path / "my first.toml"
    made = run("new", file)
    assert made.exit_code == 0, made.output
    planned = run("plan", file, "--store", tmp_path / "kdopt.db", "--quiet")
    assert planned.exit_code == 0, planned.output
    assert "my-first: 28 studies" in planned.output
    assert "warning" not in planned.output
    kept = file.read_text("utf-8")
    with pytest.raises(KdoptError, match="is there already"):
        app(["new", str(file)], standalone_mode=False)
    assert file.read_text("utf-8") == kept


@pytest.mark.parametrize("file", ["my first.toml", "a b/it's", "./-x.toml", "$HOME *.toml"])
def test_the_command_that_new_advises_runs_as_it_is_printed(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    advised = run("new", file).output.splitlines()[-1]
    program, command, *arguments = shlex.split(advised)
    assert (program, command) == ("kdopt", "run")
    read = run("spec", *arguments)
    assert read.exit_code == 0, read.output
    text = next(tmp_path.rglob("*.toml")).read_text("utf-8")
    assert f"kdopt run {shlex.join(arguments)}\n" in text


def test_a_name_of_two_lines_is_refused_as_the_file_could_not_be_read(tmp_path):
    with pytest.raises(KdoptError, match="no line can show"):
        app(["new", str(tmp_path / "a\nb.toml")], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_the_settings_in_force_are_shown_within_the_terminal(tmp_path):
    run("new", tmp_path / "mine.toml")
    terminal = Terminal(command("spec", "mine.toml"), (24, 60), tmp_path)
    assert terminal.end() == 0
    lines = [STYLE.sub("", line) for line in terminal.said().splitlines()]
    assert max(map(len, lines)) <= 60
    assert any(line.split()[:2] == ["min_size", "32"] for line in lines), lines
    assert "no stage reads: [compare], [combine], [federate]" in lines
    assert "rounds" not in terminal.said()


def test_campaigns_are_listed_renamed_and_deleted_when_somebody_says_so(path):
    (line,) = json.loads(run("list", "--store", path, "--json").output)
    assert (line["campaign"], line["trials"], line["left"]) == ("tiny", 10, 10)
    assert run("rename", "tiny", "other", "--store", path).exit_code == 0
    assert "other" in run("list", "--store", path).output
    with pytest.raises(KdoptError, match="give --yes"):
        app(["delete", "other", "--store", str(path)], standalone_mode=False)
    terminal = Terminal(command("delete", "other", "--store", path), (24, 80))
    terminal.wait_for(lambda text: "with 0 finished trials? [y/N]" in text, 60)
    terminal.type("n\n")
    assert terminal.end() == 1
    assert "other" in run("list", "--store", path).output
    assert run("delete", "other", "--store", path, "--yes").exit_code == 0
    opened = new_store(path)
    assert queries.list_campaigns(opened) == []
    opened.close()


def test_the_cache_of_decoded_images_is_shown_and_cleared(tmp_path, monkeypatch):
    monkeypatch.setenv("KDOPT_CACHE", str(tmp_path))
    folder = tmp_path / "decoded"
    assert "0 data sets" in run("cache").output
    folder.mkdir()
    (folder / "x.pixels").write_bytes(bytes(3 * 2**20))
    (folder / "mine.txt").write_text("stays")
    assert "1 data set, 3 MiB" in run("cache").output
    assert "3 MiB removed" in run("cache", "clear").output
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
