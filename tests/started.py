"""Processes that tests start, and that never outlive the test, also where it fails."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psutil
import pytest

_STARTED: list[subprocess.Popen[str]] = []


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process whose output, errors included, can be read; see ``subprocess.Popen``."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, **{**pipes, **options})
    _STARTED.append(process)
    return process


def wait_for_ends(processes: Iterable[psutil.Process], timeout_s: float = 600.0) -> None:
    """Wait until processes have ended, their parent gone or not.

    An init that collects nobody, as in many containers, leaves orphans as zombies.
    """
    end = time.monotonic() + timeout_s
    while alive := [p for p in processes if _is_alive(p)]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def nobody_stays_behind() -> Iterator[None]:
    """Workers that train for ever would take the time of all tests to come."""
    yield
    while _STARTED:
        process = _STARTED.pop()
        children = []
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()  # frozen ones too
        process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
