from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kdopt.campaign.data_settings import DataSettings
from kdopt.data.datasets import read_dataset
from kdopt.data.sources.base import get_cache_folder, get_download_folder, list_folders
from kdopt.errors import DataError
from tests.data.test_fashion_mnist import write_fashion


def test_the_environment_comes_before_the_usual_places(own_folders: Path) -> None:
    assert list_folders(None, ("x", "")) == [
        own_folders / "data/x",
        own_folders / "data",
        Path("data/x"),
        Path("data"),
        own_folders / "home/.cache/kdopt/data/x",
        own_folders / "home/.cache/kdopt/data",
        Path("/usr/share/datasets/x"),
        Path("/usr/share/datasets"),
    ]
    assert list_folders("~/mine", ("x",)) == [own_folders / "home/mine/x"]


def test_folders_follow_the_environment(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_cache_folder() == own_folders / "cache"
    assert get_download_folder(None) == own_folders / "data"
    assert get_download_folder("here") == Path("here")
    monkeypatch.delenv("KDOPT_CACHE")
    monkeypatch.delenv("KDOPT_DATA")
    assert get_cache_folder() == own_folders / "home/.cache/kdopt"
    assert get_download_folder(None) == own_folders / "home/.cache/kdopt/data"


def wanted(root: Path) -> DataSettings:
    return DataSettings("fashion_mnist", root=str(root), checksum="none", download=True)


def test_a_download_is_moved_into_place_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision.datasets

    def fetch(root: str, download: bool) -> None:
        assert download
        print("progress")
        write_fashion(Path(root) / "FashionMNIST/raw", zipped=True)

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fetch)
    assert len(read_dataset(wanted(tmp_path), 0).train_labels) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["FashionMNIST"]
    captured = capsys.readouterr()
    assert captured.out == "" and "progress" in captured.err  # stdout carries results only


def test_nothing_is_fetched_when_the_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion(tmp_path, zipped=True)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert len(read_dataset(wanted(tmp_path), 0).train_labels) == 20


def test_a_failed_download_gives_its_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def fail(root: str, download: bool) -> None:
        (Path(root) / "half").write_text("x")
        raise RuntimeError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)
    with pytest.raises(DataError, match=r"failed \(RuntimeError: no route to host\); fetch"):
        read_dataset(wanted(tmp_path), 0)
    assert list(tmp_path.iterdir()) == []


def test_without_torchvision_the_download_fails_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataError, match=r"failed \(ModuleNotFoundError: "):
        read_dataset(wanted(tmp_path), 0)
