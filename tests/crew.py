"""A crew of cheap worker processes, which a test steers, kills, freezes and listens to."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from kdopt.store.database import Store
from tests.freezing import freeze, thaw
from tests.held_trials import list_holders
from tests.waiting import wait_until

LEASE_S = 600.0
"""No lease lapses by itself while a test runs, on however busy a machine."""


class Crew:
    """Workers of ``tests.worker.light_worker`` on one store; what they said is kept.

    Args:
        folder: Where the file is that steers them.
        url: The store.
        size: How many there are; one that is killed is replaced.
        may_end: After how many trials of the campaign all others wait within theirs.
    """

    def __init__(self, folder: Path, url: str, size: int, may_end: float = math.inf) -> None:
        self._control = folder / "control"
        self.steer(may_end=may_end)
        self._options = [url, str(LEASE_S), str(self._control)]
        self.said: list[str] = []
        self._ears: list[threading.Thread] = []
        self._started: list[subprocess.Popen[str]] = []
        self.running = [self._start() for _ in range(size)]

    @property
    def pids(self) -> set[int]:
        """The process numbers of those that run."""
        return {process.pid for process in self.running}

    def steer(self, may_end: float = math.inf, hours: float = 0.0) -> None:
        """So many trials may end, and the clocks are off by so much."""
        new = self._control.with_suffix(".new")
        new.write_text(f"{3600 * hours} {may_end}")
        new.replace(self._control)

    def kill_holders(
        self,
        store: Store,
        kills: int,
        chance: random.Random,
        of: Callable[[Store], set[int]] = list_holders,
    ) -> None:
        """Kill -9 workers that hold a trial, one after the other; each is replaced."""
        for _ in range(kills):
            victims = wait_until(lambda: [p for p in self.running if p.pid in of(store)])
            victim = chance.choice(victims)
            victim.kill()
            victim.wait()
            self.running.remove(victim)
            self.running.append(self._start())

    def freeze_holder(self, store: Store, but: Collection[int] = ()) -> int:
        """Stop a worker in mid-trial, as if its machine were suspended; its process number."""

        def try_each() -> int | None:
            for pid in list_holders(store) & self.pids - set(but):
                freeze(pid, store)
                if pid in list_holders(store):
                    return pid
                thaw(pid)
            return None

        frozen = wait_until(try_each)
        assert frozen is not None
        return frozen

    def finish(self, timeout_s: float = 600.0) -> None:
        """Let every trial end, and wait until all workers have ended well."""
        self.steer()
        end = time.monotonic() + timeout_s
        for process in self.running:
            process.wait(timeout=max(1.0, end - time.monotonic()))
        assert [p.returncode for p in self.running] == [0] * len(self.running), self.said[-20:]
        for ear in self._ears:
            ear.join(600)

    def close(self) -> None:
        """End those whom a test that failed has left behind."""
        for process in self._started:
            process.kill()
            process.wait()

    def count(self, word: str) -> int:
        """How often somebody said it: ``finished`` or ``refused``, of a trial."""
        return sum(line.startswith(word) for line in self.said)

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.worker.light_worker", *self._options]
        root = Path(__file__).parents[1]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root
        )
        self._started.append(process)
        self._ears.append(threading.Thread(target=self._listen, args=(process,), daemon=True))
        self._ears[-1].start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                self.said.append(line)


@pytest.fixture
def crews(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    """Starts crews, each with a folder of its own, that end with the test."""
    made: list[Crew] = []

    def start(url: str, size: int, may_end: float = math.inf) -> Crew:
        folder = tmp_path / f"crew{len(made)}"
        folder.mkdir()
        made.append(Crew(folder, url, size, may_end))
        return made[-1]

    yield start
    for crew in made:
        crew.close()
