"""What several hostile tests start from, and copies of it to break."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kdopt.store.database import open_store
from tests.hostile.world import World, copy_world, make_pretrained


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without campaigns, to copy: making one takes a second."""
    path = tmp_path_factory.mktemp("store") / "kdopt.db"
    open_store(str(path), create=True).close()
    return path


@pytest.fixture
def here(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a store as ``store.db`` and in the usual place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "storage").mkdir()
    for path in ("store.db", "storage/kdopt.db"):
        shutil.copy(empty_store, tmp_path / path)
    return tmp_path


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose participants are trained, and nothing else is."""
    return make_pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="session")
def finished_folder(pretrained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same campaign finished; its store is one file."""
    done = copy_world(pretrained_folder, tmp_path_factory.mktemp("finished") / "world")
    done.run()
    done.store.close()
    with closing(sqlite3.connect(done.folder / "kdopt.db")) as file:
        file.execute("PRAGMA journal_mode = delete")
    return done.folder


@pytest.fixture
def world(pretrained_folder: Path, tmp_path: Path) -> World:
    """A copy of it to break."""
    return copy_world(pretrained_folder, tmp_path / "world")
