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

from kdopt.cli import process
from kdopt.cli.process import check_memory_limit, explain_os_error
from kdopt.files import find_tight_limit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other limits")
MOST_S = 300
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


def test_a_low_limit_leaves_the_libraries_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    limits = {resource.RLIMIT_AS: no_limit, resource.RLIMIT_DATA: no_limit}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for gigabytes, threads in ((None, None), (100, None), (8, "1")):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        if gigabytes is not None:
            limits[resource.RLIMIT_AS] = (gigabytes * 10**9, gigabytes * 10**9)
        assert check_memory_limit() is None
        assert os.environ.get("OPENBLAS_NUM_THREADS") == threads
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    assert check_memory_limit() is None and os.environ["OPENBLAS_NUM_THREADS"] == "4"
    limits[resource.RLIMIT_DATA] = (process.LEAST_MEMORY - 1,) * 2
    assert NO_MEMORY in str(check_memory_limit())


def test_errors_of_limits_get_their_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.EMFILE, errno.ENFILE):
        assert FEW_FILES in explain_os_error(OSError(number, os.strerror(number), "x"))
        assert FEW_FILES in explain_os_error(OSError(number, os.strerror(number)))
    assert find_tight_limit() is None
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
