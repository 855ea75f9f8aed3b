"""Live progress of a campaign on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from kdopt.cli.status_view import format_rate
from kdopt.cli.tables import make_console
from kdopt.durations import duration
from kdopt.service.status import read_status
from kdopt.service.status_values import StageStatus, Status
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.worker.heartbeat import requeue_trials_of_dead_workers

LINE_EVERY_S = 10.0

POLLING_SHARE = 0.05
"""Share of the time that may be spent on asking the store."""

Launch = Callable[[Callable[[], None]], None]
"""Runs workers to their end, and calls what it is given every second or so."""


class ProgressBar:
    """Shows how far the stages of a campaign are, with the pace and the ETA of ``kdopt status``."""

    def __init__(self, store: Store, campaign: str) -> None:
        self._store, self._campaign = store, campaign
        self._started = time.monotonic()
        self._done_before = 0
        self._next_look = 0.0
        self._next_line = 0.0
        self._status: Status | None = None
        self._tasks: dict[str, TaskID] = {}
        console = make_console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:>9}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=console,
                # Rich would read escape codes in what others print meanwhile.
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> None:
        status = self._read_status()
        self._done_before = status.complete + status.failed
        self._show_status(status, last=False)
        if self._bar is not None:
            self._bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._show_status(self._read_status(), last=True)
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Ask the store and show the answer; too soon after the last time, do nothing."""
        if time.monotonic() >= self._next_look:
            self._show_status(self._read_status(), last=False)

    @property
    def status(self) -> Status:
        """The status as last read."""
        return self._status or self._read_status()

    def summarize(self) -> str:
        """One line about the whole run."""
        seconds = time.monotonic() - self._started
        done = self.status.complete + self.status.failed
        text = f"{self._campaign}: {done:,} of {self.status.trials:,} trials done, "
        return text + f"{done - self._done_before:,} of them now, in {duration(seconds)}"

    def _read_status(self) -> Status:
        began = time.monotonic()
        self._status = read_status(self._store, self._campaign)
        self._next_look = time.monotonic() + (time.monotonic() - began) / POLLING_SHARE
        return self._status

    def _show_status(self, status: Status, last: bool) -> None:
        if self._bar is not None:
            for stage in status.stages:
                if stage.stage not in self._tasks:
                    self._tasks[stage.stage] = self._bar.add_task(stage.stage)
                self._bar.update(
                    self._tasks[stage.stage],
                    total=stage.trials,
                    completed=stage.complete + stage.failed,
                    note=_describe_pace(stage),
                )
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            notes = [
                f"{s.stage} {s.complete + s.failed:,}/{s.trials:,} {_describe_pace(s)}".strip()
                for s in status.stages
            ]
            print("; ".join(notes), file=sys.stderr, flush=True)


def follow_workers(progress: ProgressBar, store: Store, artifacts: Artifacts, run: Launch) -> None:
    """Show progress while workers of this machine or of Ray work.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
    """
    with progress:
        if not progress.status.left:
            return  # workers would only start, load torch and end
        try:
            run(progress.update)
        finally:
            # A worker that was killed gave nothing back, and the ones that take its trials back
            # may have ended before it; only then is nobody left to do it.
            requeue_trials_of_dead_workers(store, artifacts)


def _describe_pace(stage: StageStatus) -> str:
    notes = [f"{stage.failed:,} failed"] if stage.failed else []
    if stage.left and stage.per_minute:
        notes.append(format_rate(stage.per_minute))
        if stage.eta_s is not None:
            notes.append(f"ETA {duration(stage.eta_s)}")
    return ", ".join(notes)
