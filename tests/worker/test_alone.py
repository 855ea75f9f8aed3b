"""One worker in a process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kdopt.errors import KdoptError
from kdopt.worker.alone import working_alone
from tests.hostile.world import World, copy_world, make_pretrained


@pytest.fixture
def world(tmp_path: Path) -> World:
    return copy_world(make_pretrained(tmp_path / "made"), tmp_path / "world")


def call_elsewhere(call: Callable[[], None]) -> list[BaseException]:
    """What a call in another thread raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except KdoptError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def test_a_second_thread_is_refused_while_a_worker_works(world: World) -> None:
    with working_alone():
        (error,) = call_elsewhere(world.run)
        assert "one worker at a time" in str(error) and "another process" in str(error)
    assert world.states["WAITING"] and not world.states["RUNNING"]
    assert call_elsewhere(world.run) == []
    assert world.states.keys() == {"COMPLETE"}


def test_the_same_thread_may_work_within_its_work(world: World) -> None:
    with working_alone():
        world.run()
    assert world.states.keys() == {"COMPLETE"}


def test_it_is_free_again_after_a_fault() -> None:
    with pytest.raises(ZeroDivisionError), working_alone():
        raise ZeroDivisionError
    assert call_elsewhere(enter) == []


def enter() -> None:
    with working_alone():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_copy_is_a_process_of_its_own_whoever_works_in_its_parent() -> None:
    command = [sys.executable, "-m", "tests.worker.forking_program"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "copy while nobody works: True",
        "copy of the thread that works: True",
        "copy of another thread: True",
        "another thread of the parent: False",
        "the parent afterwards: True",
    ]
