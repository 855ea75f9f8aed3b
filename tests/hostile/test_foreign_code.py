"""A campaign file or a store runs nothing that its reader did not give or install for kdopt.

Python's own audit events tell what was imported and which code was run, whatever the messages say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from kdopt.cli.campaign_file import plan_spec
from kdopt.plugins.sources import give_plugins
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.plugins.offers import install_package, write_campaign, write_plugin

WATCH = """
import io, json, sys

seen = []

def look(event, arguments):
    if event == "import":
        seen.append(f"import {arguments[0]}")
    elif event == "exec":
        seen.append(f"exec {getattr(arguments[0], 'co_filename', '?')}")
    elif event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
        seen.append(event)

sys.addaudithook(look)
from kdopt.cli import main

ended = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["kdopt", *words]
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        main()
    except SystemExit as end:
        ended.append([end.code or 0, sys.stderr.getvalue()])
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
print(json.dumps([ended, sorted(set(seen))]))
"""

TRAP = """
from pathlib import Path
Path(__file__).with_name("sprung").touch()

def offer(*arguments):
    raise SystemExit("the trap ran")
"""
ENTRY_POINTS = """
[console_scripts]
trap_script = trap_package:offer

[other.models]
trap_net = trap_package:offer

[kdopt.methods]
trap_method = trap_package:offer
"""
HEAD = 'name = "evil"\nparticipants = 2\nmodel = {model}\n[data]\nname = {data}\n'


FORBIDDEN = ("os.system", "os.exec", "socket.connect")


class Watched(NamedTuple):
    """What came of commands.

    Attributes:
        ended: Exit code and stderr of each.
        seen: Modules that were imported and files that were run.
    """

    ended: list[tuple[int, str]]
    seen: list[str]


def watch(folder: Path, commands: Sequence[Sequence[object]], **environment: str) -> Watched:
    """Run commands in one process that is watched, with the trap on its path."""
    text = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", WATCH, text],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path.cwd()}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    ended, seen = json.loads(done.stdout)
    return Watched([(code, text) for code, text in ended], seen)


def assert_nothing_foreign_ran(watched: Watched, folder: Path) -> None:
    assert not (folder / "sprung").exists()
    foreign = [
        event
        for event in watched.seen
        if "trap_package" in event
        or str(folder) in event
        or event in ("os.system", "socket.connect")
    ]
    assert foreign == []
    assert "import kdopt.cli.app" in watched.seen, "the hook saw imports"


def quote(text: str) -> str:
    return json.dumps(text)


HOSTILE_FILES = {
    **{
        f"model {name}": (HEAD.format(model=quote(name), data='"digits"'), "a model is NAME")
        for name in (
            *("os:system", "timm:../../x", "timm:hf-hub:a/b", "timm:local-dir:/x", "timm:"),
            *("trap_package:offer", "./trap_package.py", "trap_package.py:offer", "timm:a/b"),
            *("torchvision:os;x", "kdopt.models:trap_net", "\u0000", "a\nb", "hf_hub:timm/x"),
        )
    },
    "participant": (
        'name = "evil"\n[data]\nname = "digits"\n[[participant]]\nname = "a"\n'
        'model = "os:system"\n[[participant]]\nname = "b"\n',
        "a model is NAME",
    ),
    "models": (HEAD.format(model='["mlp", "os:system"]', data='"digits"'), "a model is NAME"),
    **{
        f"method {name}": (
            HEAD.format(model='"mlp"', data='"digits"') + f"[tune]\nmethods = [{quote(name)}]\n",
            "there is no such method",
        )
        for name in ("os.system", "trap_script", "trap_package:offer", "../x", "__import__", "")
    },
    "method of a group that was not decorated": (
        HEAD.format(model='"mlp"', data='"digits"') + '[tune]\nmethods = ["trap_script"]\n',
        "there is no such method",
    ),
    **{
        f"data {name}": (HEAD.format(model='"mlp"', data=quote(name)), "data.name")
        for name in ("trap_package", "trap_net", "os:system", "../x.py", "kdopt.datasets:x")
    },
    **{
        f"key {key}": (HEAD.format(model='"mlp"', data='"digits"').replace(
            "[data]", f'{key} = "trap_package.py"\n[data]'
        ), "names no code to run")
        for key in ("plugin", "plugins")
    },
    "plugin methods as a store has them": (
        HEAD.format(model='"mlp"', data='"digits"') + "[tune]\nplugin_methods = []\n",
        "unknown key",
    ),
}  # fmt: skip


def test_a_hostile_campaign_file_imports_nothing(tmp_path):
    install_package(tmp_path, "trap_package", TRAP, ENTRY_POINTS)
    commands = []
    for number, (text, _) in enumerate(HOSTILE_FILES.values()):
        (tmp_path / f"{number}.toml").write_text(text)
        commands.append(["plan", f"{number}.toml", "--store", tmp_path / "kdopt.db"])
    watched = watch(tmp_path, commands)
    for (name, (_, words)), (code, message) in zip(
        HOSTILE_FILES.items(), watched.ended, strict=True
    ):
        assert code == 2 and words in message and "Traceback" not in message, (name, message)
    assert_nothing_foreign_ran(watched, tmp_path)
    assert not [event for event in watched.seen if event in ("import torch", "import timm")]
    assert not (tmp_path / "kdopt.db").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with a finished campaign of a plugin file, which is there to be run by mistake."""
    folder = tmp_path_factory.mktemp("plugin")
    give_plugins([write_plugin(folder)])
    done = plan_spec(write_campaign(folder), str(folder / "kdopt.db"), None)
    run_trials(done.store, done.artifacts, "mine", make_engine("fp32", "cpu"))
    done.store.close()
    give_plugins([])
    return folder


LOOKING = ("status", "report", "best", "doctor", "list", "recommend --rules")


def test_commands_that_look_at_a_campaign_run_no_code_of_its_plugin(finished):
    commands = [[*words.split(), "--store", finished / "kdopt.db"] for words in LOOKING]
    watched = watch(finished, commands)
    assert [code for code, _ in watched.ended] == [0] * len(LOOKING), watched.ended
    assert_nothing_foreign_ran(watched, finished)
    assert "import torch" not in watched.seen
    page = (finished / "reports" / "mine" / "report.html").read_text("utf-8")
    assert "Tuned cosine_kd" in page
    assert "Code of others" in page and "dataset stripes, method cosine_kd, model tiny_net" in page


def make_hostile_store(source: Path, folder: Path, change: dict[str, Any]) -> Path:
    """A copy of a store whose record says something else of the campaign's code."""
    target = folder / "kdopt.db"
    target.write_bytes((source / "kdopt.db").read_bytes())
    store = open_store(str(target))
    with store.write() as connection:
        connection.execute(sa.text("DELETE FROM kdopt_meta WHERE key LIKE 'record:%'"))
        select = "SELECT value_json FROM study_user_attributes WHERE key = 'kd:record'"
        (text,) = connection.execute(sa.text(select)).scalars()
        record = json.loads(text)
        for key, value in change.items():
            place = record
            *path, last = key.split(".")
            for name in path:
                place = place[name]
            place[last] = value
        update = "UPDATE study_user_attributes SET value_json = :v WHERE key = 'kd:record'"
        connection.execute(sa.text(update), {"v": json.dumps(record)})
    store.close()
    return target


NO_SHA = "0" * 64
HOSTILE_RECORDS = {
    "no code is named": {"code": {}},
    "a package that offers it under another name": {
        "code": {"method cosine_kd": ["package", "trap_package", "1.0", NO_SHA]}
    },
    "a module of Python": {"code": {"method cosine_kd": ["package", "os", "1.0", NO_SHA]}},
    "a path for a package": {"code": {"model tiny_net": ["package", "../trap", "", NO_SHA]}},
    "a path for a file": {"code": {"model tiny_net": ["file", "trap_package.py", "", NO_SHA]}},
    "an own kind of code": {"code": {"hook trap": ["package", "trap_package", "1.0", NO_SHA]}},
    "no hash": {"code": {"model tiny_net": ["file", "trap_package.py", "", "../x"]}},
    "another kind of source": {"code": {"model tiny_net": ["url", "trap", "", NO_SHA]}},
    "a model with a path": {"campaign.model": "timm:../../trap_package"},
    "a model of Python": {"campaign.model": "os:system"},
    "data of Python": {"campaign.data.name": "trap_package:offer"},
    "a method of Python": {
        "campaign.tune.plugin_methods": [
            {"name": "os.system", "params": [{"name": "x", "values": [1.0], "published": 1.0}]}
        ]
    },
    "a method that hides one of kdopt's": {
        "campaign.tune.plugin_methods": [
            {"name": "dkd", "params": [{"name": "x", "values": [1.0], "published": 1.0}]}
        ]
    },
}  # fmt: skip


LIBRARY_NAMES = (
    "torchvision:__import__",
    "torchvision:cnn",
    "os.system",
    "trap_net",
    "trap_script",
)


class Refused(NamedTuple):
    """What came of commands that must refuse, by what was asked; they share a process."""

    stores: list[tuple[int, str]]
    names: list[tuple[int, str]]
    training: list[tuple[int, str]]
    watched: Watched
    folder: Path


@pytest.fixture(scope="module")
def refused(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    install_package(folder, "trap_package", TRAP, ENTRY_POINTS)
    stores, names = [], []
    for number, change in enumerate(HOSTILE_RECORDS.values()):
        (folder / str(number)).mkdir()
        store = make_hostile_store(finished, folder / str(number), change)
        stores += [["worker", "--store", store], ["status", "--store", store]]
    for name in LIBRARY_NAMES:
        (folder / f"{name}.toml").write_text(HEAD.format(model=quote(name), data='"digits"'))
        names.append(["plan", f"{name}.toml", "--store", folder / "kdopt.db"])
    store = ["--store", finished / "kdopt.db"]
    training = [
        ["worker", *store],
        ["launch", "local", *store],
        ["verify", *store, "--trials", "1"],
        ["distill", "uniform/t00-s01", *store, "--output", folder / "student.safetensors"],
    ]
    watched = watch(folder, [*stores, *names, *training])
    n, m = len(stores), len(stores) + len(names)
    parts = watched.ended[:n], watched.ended[n:m], watched.ended[m:]
    return Refused(*parts, watched, folder)


def test_a_hostile_store_is_refused(refused):
    for name, (code, message) in zip(HOSTILE_RECORDS, refused.stores[::2], strict=True):
        assert code == 2 and message and "Traceback" not in message, (name, message)
    assert all("Traceback" not in message for _, message in refused.stores)


def test_names_that_only_libraries_can_refuse_are_refused(refused):
    for code, message in refused.names:
        assert code == 2 and ("no such model" in message or "a model is NAME" in message), message


def test_commands_that_train_say_which_file_to_give(refused):
    for code, message in refused.training:
        assert code == 2 and "--plugin PATH/mine.py" in message, message


def test_none_of_these_ran_or_imported_anything_foreign(refused, finished):
    for folder in (refused.folder, finished):
        assert_nothing_foreign_ran(refused.watched, folder)


def test_a_plugin_runs_where_it_is_given(finished):
    command = ["verify", "--store", finished / "kdopt.db", "--trials", "1"]
    watched = watch(finished, [command], KDOPT_PLUGINS=str(finished / "mine.py"))
    assert watched.ended[0][0] == 0, watched.ended
    assert f"exec {finished / 'mine.py'}" in watched.seen, "the hook sees what runs"
