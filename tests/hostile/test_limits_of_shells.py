"""Limits that a shell sets (``ulimit``): one message that names them, no hang, nothing lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdopt.cli import app, limits
from kdopt.cli.limits import NO_MORE_PROCESSES, can_start_threads, check_limits
from kdopt.cli.process import explain_os_error

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
MOST_S = 600
LIMITS = {
    "v": resource.RLIMIT_AS,
    "d": resource.RLIMIT_DATA,
    "n": resource.RLIMIT_NOFILE,
    "f": resource.RLIMIT_FSIZE,
}
NO_MEMORY = "GB of memory (ulimit -v or -d), and the libraries need 1.0 GB to be loaded; raise"
FEW_FILES = "let a program open more files (ulimit -n 1024)"
SMALL_FILES = "let a program write larger files (ulimit -f unlimited)"
CASES = [
    # Where OpenBLAS asked again for ever for the memory that it did not get.
    ("v", 400_000 * 1024, "report", NO_MEMORY),
    ("v", 60_000 * 1024, "--help", NO_MEMORY),
    ("d", 300_000 * 1024, "status", NO_MEMORY),
    ("n", 6, "status", FEW_FILES),
    ("n", 6, "init --store new.db", FEW_FILES),
    ("f", 0, "status", SMALL_FILES),
    ("f", 20_000, "init --store new.db", SMALL_FILES),
]


def run_limited(folder: Path, limit: str, value: int, command: str) -> tuple[int, str]:
    kind = LIMITS[limit]
    ended = subprocess.run(
        [sys.executable, "-m", "kdopt", *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_S,
        preexec_fn=lambda: resource.setrlimit(kind, (value, value)),  # no threads here
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(("limit", "value", "command", "fix"), CASES)
def test_a_limit_is_named(here: Path, limit: str, value: int, command: str, fix: str) -> None:
    before = (here / "storage/kdopt.db").read_bytes()
    code, said = run_limited(here, limit, value, command)
    assert code == 2 and "Traceback" not in said, said
    assert said.count("kdopt: error: ") == 1 and fix in said, said
    assert (here / "storage/kdopt.db").read_bytes() == before


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """What this machine of 64 cores lets a program take; to be changed."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_NPROC)
    allowed = dict.fromkeys(kinds, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (allowed[kind], allowed[kind]))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(limits, "can_start_threads", lambda n: n <= 100)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")  # so that it is put back
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    return allowed


@pytest.mark.parametrize(
    ("kind", "value", "threads"),
    [
        (resource.RLIMIT_AS, resource.RLIM_INFINITY, None),
        (resource.RLIMIT_AS, 100 * 10**9, None),
        (resource.RLIMIT_AS, 8 * 10**9, "1"),
        (resource.RLIMIT_DATA, 8 * 10**9, "1"),
        (resource.RLIMIT_NPROC, 100_000, None),
        (resource.RLIMIT_NPROC, 200, "1"),
    ],
)
def test_a_low_limit_leaves_the_libraries_one_thread(
    monkeypatch: pytest.MonkeyPatch,
    allowed: dict[int, int],
    kind: int,
    value: int,
    threads: str | None,
) -> None:
    allowed[kind] = value
    assert check_limits() is None
    assert os.environ.get("OPENBLAS_NUM_THREADS") == threads
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    assert check_limits() is None and os.environ["OPENBLAS_NUM_THREADS"] == "4"


def test_a_limit_below_what_libraries_need_is_refused(allowed: dict[int, int]) -> None:
    allowed[resource.RLIMIT_DATA] = limits.LEAST_MEMORY - 1
    assert NO_MEMORY in str(check_limits())


def test_threads_that_cannot_be_started_are_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert can_start_threads(3)

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(app, "app", fail)
    monkeypatch.setattr(sys, "argv", ["kdopt", "status"])
    with pytest.raises(SystemExit) as end:
        app.run_command_line()
    assert end.value.code == 2 and NO_MORE_PROCESSES in capsys.readouterr().err
    monkeypatch.setattr("threading.Thread.start", fail)
    assert not can_start_threads(1)
    error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # of fork
    assert NO_MORE_PROCESSES in explain_os_error(error)


def test_errors_of_limits_get_their_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.EMFILE, errno.ENFILE):
        assert FEW_FILES in explain_os_error(OSError(number, os.strerror(number), "x"))
        assert FEW_FILES in explain_os_error(OSError(number, os.strerror(number)))
    assert "permissions" in explain_os_error(PermissionError(errno.EACCES, "no", "x"))
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1, 1))
    assert SMALL_FILES in explain_os_error(OSError(errno.EFBIG, os.strerror(errno.EFBIG), "x"))


def test_a_worker_that_cannot_read_its_store_does_not_say_that_it_was_replaced(
    here: Path, empty_store: Path
) -> None:
    """It is there, and the same."""
    script = """
import os, resource, sys
from kdopt.store.database import open_store
store = open_store("store.db")
kept = []
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
try:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    store.select_rows("SELECT 1")
except Exception as error:
    for handle in kept:
        os.close(handle)
    print(type(error).__name__, error)
"""
    shutil.copy(empty_store, here / "store.db")
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=False
    )
    assert "StoreError store store.db: unable to open database file; " in ended.stdout, ended
    assert "was replaced" not in ended.stdout and FEW_FILES in ended.stdout
