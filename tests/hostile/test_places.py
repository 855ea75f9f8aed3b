"""Paths: whatever lies there, or lies in the way, gets a message, and nothing is waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdopt.data.sources.base import get_cache_folder, list_folders
from kdopt.errors import DataError
from tests.hostile.commands import kdopt

SPEC = """
name = "x"
participants = 2
partitions = ["uniform"]
stages = ["tune"]
model = "mlp"
[data]
name = "{name}"
root = "{root}"
"""
DEADLINE_S = 600


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Cut off what waits for a pipe for ever."""

    def fail(*_: object) -> None:
        raise AssertionError(f"not done in {DEADLINE_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(DEADLINE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def places(here: Path) -> dict[str, str]:
    """Paths by what lies there; the current folder has a store and a campaign file too."""
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("text").write_text("mine")
    Path("empty").touch()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("spec.toml").write_text(SPEC.format(name="digits", root="."))
    found = {name: name for name in ("pipe", "folder", "text", "empty", "dangling", "loop")}
    return {
        **found,
        "below a file": "text/x/y",
        "too long a name": "x" * 300,
        "too long a path": "x/" * 3000 + "x",
        "a null device": "/dev/null",
        "zeros": "/dev/zero",
        "a process": "/proc/self/mem",
        "a terminal": "/dev/tty",
        "no home": "~nobody_of_that_name/x",
        "nothing": "",
        "blanks": "  ",
    }


READ = {
    "--store": ["status", "--store", "{}"],
    "store of doctor": ["doctor", "--store", "{}"],
    "store of report": ["report", "tiny@{}"],
    "store of the dashboard": ["dashboard", "--store", "{}", "--port", "1"],
    "store of recommend": ["recommend", "--gap", "3", "--store", "{}"],
    "store of backup": ["backup", "there", "--store", "{}"],
    "other store": ["merge", "{}"],
    "spec": ["spec", "{}"],
    "spec of plan": ["plan", "{}"],
    "spec of partitions": ["partitions", "{}"],
    "spec of recommend": [
        *("recommend", "--spec", "{}", "--teacher", "text", "--student", "text"),
    ],
}


@pytest.mark.parametrize("command", READ.values(), ids=READ)
def test_nothing_is_read_from_a_place_that_has_nothing(
    places: dict[str, str], command: list[str]
) -> None:
    for name, path in places.items():
        ended = kdopt(*(part.format(path) for part in command))
        assert ended.code == 2, (name, ended)
        assert "Traceback" not in ended.err and len(ended.err) < 2500, (name, ended.err[:500])
    assert Path("text").read_text() == "mine" and Path("empty").stat().st_size == 0


WRITTEN = {
    "store of plan": ["plan", "spec.toml", "--store", "{}"],
    "store of init": ["init", "--store", "{}"],
    "heat maps": ["partitions", "spec.toml", "--html", "{}"],
    "backup": ["backup", "{}"],
}
MADE = {"dangling", "folder", "empty", "blanks", "nothing", "no home"}
"""Where some commands may write: through the link, in the folder, or under that very name."""


@pytest.mark.parametrize("command", WRITTEN.values(), ids=WRITTEN)
def test_nothing_is_written_over_what_is_there(places: dict[str, str], command: list[str]) -> None:
    for name, path in places.items():
        ended = kdopt(*(part.format(path) for part in command))
        assert ended.code == 2 or (name in MADE and ended.code == 0), (name, ended)
        assert "Traceback" not in ended.err and len(ended.err) < 2500, (name, ended.err[:500])
    assert Path("text").read_text() == "mine" and Path("pipe").is_fifo()


@pytest.mark.parametrize("source", ["folder", "cinic10", "cifar10", "fashion_mnist"])
def test_images_are_looked_for_anywhere_and_refused_by_name(
    places: dict[str, str], source: str
) -> None:
    for name, path in places.items():
        Path("data.toml").write_text(SPEC.format(name=source, root=path))
        ended = kdopt("partitions", "data.toml")
        assert ended.code == 2, (name, ended)
        assert "Traceback" not in ended.err and len(ended.err) < 2500, (name, ended.err[:500])


def test_who_has_no_home_is_told_where_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path) -> Path:
        if str(self).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return self

    monkeypatch.setattr(Path, "expanduser", fail)
    monkeypatch.delenv("KDOPT_CACHE", raising=False)
    with pytest.raises(DataError, match=r"~/\.cache/kdopt: Could not determine home directory"):
        get_cache_folder()
    assert Path("/usr/share/datasets") in list_folders(None, [""])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC.format(name="digits", root="."))
    assert kdopt("partitions", "spec.toml").code == 0
    assert kdopt("init", "--store", "~/kdopt.db").code == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can")
@pytest.mark.parametrize("command", [*READ.values(), *WRITTEN.values()], ids=[*READ, *WRITTEN])
def test_a_folder_that_may_not_be_read_is_named(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    closed = tmp_path_factory.mktemp("closed")
    (closed / "x").mkdir()
    closed.chmod(0o700)
    monkeypatch.chdir("/")
    os.seteuid(65534)
    try:
        ended = kdopt(*(part.format(closed / "x") for part in command))
    finally:
        os.seteuid(0)
    assert ended.code == 2 and "Traceback" not in ended.err, ended
