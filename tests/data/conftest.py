"""No test of the data layer may see or write the files of the person who runs it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home, cache, data folder and working directory, all empty; returns the common parent."""
    base = tmp_path_factory.mktemp("places")
    for name in ("home", "cache", "data", "work"):
        (base / name).mkdir()
    monkeypatch.setenv("HOME", str(base / "home"))
    monkeypatch.setenv("KDOPT_CACHE", str(base / "cache"))
    monkeypatch.setenv("KDOPT_DATA", str(base / "data"))
    monkeypatch.chdir(base / "work")
    return base
