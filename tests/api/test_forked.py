"""Copies of a process: their faults are told, their deaths made good, their results are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kdopt.api.forked import ForkedWorkers
from kdopt.errors import KdoptError


def run(work, count=2):
    forked = []
    group = ForkedWorkers(count, work, before_fork=lambda: forked.append(os.getpid()))
    try:
        group.run(lambda: None, tick_s=0.05)
    finally:
        assert set(forked) == {os.getpid()} and not group._running
    return len(forked)


def test_every_worker_works_in_a_process_of_its_own(tmp_path):
    def work():
        (tmp_path / str(os.getpid())).touch()

    assert run(work) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert str(os.getpid()) not in {path.name for path in tmp_path.iterdir()}


def test_what_a_worker_gives_up_for_is_told():
    def fail():
        raise KdoptError("the disk is full")

    with pytest.raises(KdoptError, match=r"^the disk is full$"):
        run(fail)
    with pytest.raises(KdoptError, match=r"Traceback(.|\n)*ZeroDivisionError"):
        run(lambda: 1 // 0)


def test_a_killed_worker_is_replaced_but_not_for_ever(tmp_path):
    def die_once():
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert run(die_once, count=1) == 2
    with pytest.raises(KdoptError, match=r"workers were killed \d+ times?; out of memory\?"):
        run(lambda: os.kill(os.getpid(), signal.SIGKILL), count=1)


def test_workers_are_stopped_when_the_caller_is(tmp_path):
    def wait():
        (tmp_path / str(os.getpid())).touch()
        signal.pause()

    def interrupt():
        if len(list(tmp_path.iterdir())) == 2:
            raise KeyboardInterrupt

    group = ForkedWorkers(2, wait, before_fork=lambda: None)
    with pytest.raises(KeyboardInterrupt):
        group.run(interrupt, tick_s=0.05)
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_program_that_trained_may_tune_in_copies_of_itself(tmp_path):
    command = [sys.executable, "-m", "tests.api.forking_program", str(tmp_path / "kdopt.db")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    names = ("first", "parent", "second")
    assert ended.stdout.splitlines() == [f"{name} ['COMPLETE']" for name in names]
