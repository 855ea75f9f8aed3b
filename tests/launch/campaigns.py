"""Campaigns that launchers are tested with, and what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from kdopt.cli.campaign_file import plan_spec
from kdopt.service.doctor import check_campaign
from kdopt.store import activity, queries
from kdopt.store.activity import RunningTrial
from tests.small_campaigns import make_spec

FOR_EVER = 10**6
"""Epochs of a trial that does not end by itself."""


class Bench:
    """A planned campaign in a folder of its own.

    Args:
        folder: Where spec, artifacts and logs go.
        url: Store; an SQLite file in the folder if there is none.
        epochs: How long a distillation takes.
        temperatures: The cells of each of the two pairs.
        environment: Variables that commands get.
    """

    def __init__(
        self,
        folder: Path,
        url: str | None = None,
        epochs: int = 1,
        temperatures: tuple[float, ...] = (1, 2, 4, 8),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.url = url or str(folder / "kdopt.db")
        self.environment = {
            **os.environ,
            "KDOPT_STORE": self.url,
            "KDOPT_ARTIFACTS": str(folder / "artifacts"),
            **(environment or {}),
        }
        spec = folder / "tiny.toml"
        spec.write_text(
            make_spec(
                control=False,
                distill={"epochs": epochs},
                tune={"temperatures": list(temperatures)},
            )
        )
        self.store, self.artifacts, *_ = plan_spec(spec, self.url, str(folder / "artifacts"))
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        process = self.start(*arguments)
        said, errors = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, said, errors)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        process = subprocess.Popen(
            [sys.executable, "-m", "kdopt", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Close the store, and end what a test that failed has left behind."""
        for process in self._started:
            if process.poll() is None:
                stop(process, signal.SIGTERM)
        self.store.close()

    def log(self, job: str) -> str:
        """What a Slurm job said."""
        (path,) = self.folder.rglob(f"{job}_0_log.out")
        return path.read_text()

    def states(self) -> Counter[str]:
        """Trials by state."""
        return Counter(row.state for row in queries.read_trials(self.store, "tiny"))

    def running(self) -> tuple[RunningTrial, ...]:
        """Trials that workers hold, without those of pre-training, which are soon over."""
        found = activity.read_running_trials(self.store, "tiny")
        return tuple(r for r in found if "/tune/" in r.study and r.worker not in ("", "?"))

    def prove(self) -> None:
        """Planned = rows, nothing lost, nothing twice, as ``kdopt doctor`` finds it."""
        found = check_campaign(self.store, self.artifacts, "tiny")
        assert found.problems == ()
        assert found.planned == found.rows
        assert (found.duplicates, found.failed) == (0, 0)


def worker_process(running: RunningTrial) -> int:
    """The process number of the worker that holds a trial."""
    return int(running.worker.split("/")[1])


class Titles:
    """The command lines of a campaign's processes, and of engines, as other users see them.

    Args:
        bench: Its processes have its artifacts in their environment.
        engines: Beginnings of the names of an engine's own programs.
    """

    def __init__(self, bench: Bench, *engines: str) -> None:
        self._artifacts, self._engines = bench.environment["KDOPT_ARTIFACTS"], engines
        self.seen: set[str] = set()

    def look(self) -> None:
        """Look once."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name().startswith(self._engines) or (
                    process.environ().get("KDOPT_ARTIFACTS") == self._artifacts
                ):
                    self.seen.add(" ".join(process.cmdline()))


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Send a signal to a command; its exit code and what it said."""
    process.send_signal(number)
    said, errors = process.communicate(timeout=600)
    return process.returncode, said, errors
