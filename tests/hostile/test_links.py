"""Links that somebody put where kdopt writes, in a folder of many: what they name is left alone."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kdopt.data.given_logits import check_output
from kdopt.errors import KdoptError, StoreError
from kdopt.files import open_log, read_end, write_whole
from kdopt.launch.call import WorkerCall
from kdopt.launch.slurm import JobRequest, read_errors, submit_jobs
from kdopt.service.distill import check_targets
from kdopt.store.database import open_store

LINKS = {
    "a symbolic link": lambda at, target: at.symlink_to(target),
    "a hard link": lambda at, target: at.hardlink_to(target),
    "a link to nothing": lambda at, target: at.symlink_to(target.with_name("nothing")),
    "a link into itself": lambda at, target: at.symlink_to(at.name),
}


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    path = tmp_path / "diary"
    path.write_text("mine")
    return path


@pytest.mark.parametrize("kind", LINKS)
def test_logs_go_through_no_link(tmp_path: Path, diary: Path, kind: str) -> None:
    LINKS[kind](tmp_path / "worker-1.log", diary)
    with pytest.raises(OSError, match="it is a link"):
        open_log(tmp_path / "worker-1.log")
    assert diary.read_text() == "mine" and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_logs_are_ordinary_files(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "worker-1.log")
    with pytest.raises(OSError, match=r"it is a (pipe|folder)"):
        open_log(tmp_path / "worker-1.log")


def test_a_log_is_made_and_appended_to(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        with open_log(tmp_path / "worker-1.log") as file:
            file.write(text)
    assert (tmp_path / "worker-1.log").read_text() == "one\ntwo\n"
    assert read_end(tmp_path / "worker-1.log", 4) == "two\n"
    assert read_end(tmp_path / "worker-1.log", 100, begin=2) == "e\ntwo\n"


@pytest.mark.parametrize("kind", LINKS)
def test_a_page_replaces_a_link_and_not_its_other_end(
    tmp_path: Path, diary: Path, kind: str
) -> None:
    LINKS[kind](tmp_path / "page.html", diary)
    write_whole(tmp_path / "page.html", b"new")
    assert diary.read_text() == "mine" and not (tmp_path / "nothing").exists()
    assert (tmp_path / "page.html").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diary", "page.html"]


@pytest.mark.parametrize("kind", LINKS)
def test_links_count_as_files_that_are_there(tmp_path: Path, diary: Path, kind: str) -> None:
    LINKS[kind](tmp_path / "out.npz", diary)
    LINKS[kind](tmp_path / "out.safetensors", diary)
    with pytest.raises(KdoptError, match="there already"):
        check_output(tmp_path / "out.npz")
    with pytest.raises(KdoptError, match="there already"):
        check_targets(tmp_path / "out.safetensors", [".safetensors"], force=False)


@pytest.mark.parametrize("kind", ["a symbolic link", "a link to nothing"])
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("linked", [False, True])
def test_sqlite_writes_through_no_link(
    tmp_path: Path, diary: Path, kind: str, suffix: str, linked: bool
) -> None:
    path = tmp_path / "kdopt.db"
    open_store(str(path), create=True).close()
    if linked:
        (tmp_path / "link.db").symlink_to(path)
    LINKS[kind](Path(f"{path}{suffix}"), diary)
    for create in (False, True):
        with pytest.raises(StoreError, match=re.escape(f"kdopt.db{suffix} beside it: ")):
            open_store(str(tmp_path / "link.db" if linked else path), create=create)
    assert diary.read_text() == "mine" and not (tmp_path / "nothing").exists()


def test_logs_of_jobs_are_read_where_they_are_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "7_0_log.out")
    (tmp_path / "7_1_log.out").mkdir()
    (tmp_path / "7_2_log.out").symlink_to("/dev/zero")
    (tmp_path / "7_3_log.out").write_text("x\nkdopt: error: no store\n")
    with (tmp_path / "7_4_log.out").open("wb") as file:
        file.truncate(2**40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nkdopt: error: a long log\n")
    assert read_errors(["7"], tmp_path) == ["no store", "a long log"]


def test_jobs_are_not_started_from_a_folder_that_everybody_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    folder = tmp_path / "logs"
    folder.mkdir()
    folder.chmod(0o777 | stat.S_ISVTX)
    call = WorkerCall(campaign="tiny", store="kdopt.db", artifacts="artifacts")
    with pytest.raises(KdoptError, match=r"everybody may write it.*chmod o-w"):
        submit_jobs(call, 1, JobRequest(), folder)
    assert list(folder.iterdir()) == []
