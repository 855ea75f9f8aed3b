"""Live progress of a campaign on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from kdopt.cli.status_view import rate
from kdopt.durations import duration
from kdopt.service.status import read_status
from kdopt.service.status_values import StageStatus, Status
from kdopt.store.database import Store

LINE_EVERY_S = 10.0

LOAD = 0.05
"""Share of the time that may be spent on asking the store."""


class Progress:
    """Shows how far the stages of a campaign are, with the pace and the ETA of ``kdopt status``."""

    def __init__(self, store: Store, campaign: str) -> None:
        self._store, self._campaign = store, campaign
        self._started = time.monotonic()
        self._done_before = 0
        self._next_look = 0.0
        self._next_line = 0.0
        self._status: Status | None = None
        self._tasks: dict[str, TaskID] = {}
        console = Console(stderr=True)
        self._bar: Bar | None = None
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description:>9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )

    def __enter__(self) -> None:
        status = self._read()
        self._done_before = status.complete + status.failed
        self._show(status, last=False)
        if self._bar is not None:
            self._bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._show(self._read(), last=True)
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Ask the store and show the answer; too soon after the last time, do nothing."""
        if time.monotonic() >= self._next_look:
            self._show(self._read(), last=False)

    def counts(self) -> tuple[int, int]:
        """Finished and planned trials, as last read."""
        status = self._last()
        return status.complete + status.failed, status.trials

    def left(self) -> int:
        """Trials that are still to do, as last read."""
        return self._last().left

    def failed(self) -> int:
        """Trials that failed, as last read."""
        return self._last().failed

    def summary(self) -> str:
        """One line about the whole run."""
        seconds = time.monotonic() - self._started
        done, total = self.counts()
        text = f"{self._campaign}: {done:,} of {total:,} trials done, "
        return text + f"{done - self._done_before:,} of them now, in {duration(seconds)}"

    def _last(self) -> Status:
        return self._status or self._read()

    def _read(self) -> Status:
        began = time.monotonic()
        self._status = read_status(self._store, self._campaign)
        self._next_look = time.monotonic() + (time.monotonic() - began) / LOAD
        return self._status

    def _show(self, status: Status, last: bool) -> None:
        if self._bar is not None:
            for stage in status.stages:
                if stage.stage not in self._tasks:
                    self._tasks[stage.stage] = self._bar.add_task(stage.stage)
                self._bar.update(
                    self._tasks[stage.stage],
                    total=stage.trials,
                    completed=stage.complete + stage.failed,
                    note=_note(stage),
                )
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            notes = [
                f"{s.stage} {s.complete + s.failed:,}/{s.trials:,} {_note(s)}".strip()
                for s in status.stages
            ]
            print("; ".join(notes), file=sys.stderr, flush=True)


def _note(stage: StageStatus) -> str:
    notes = [f"{stage.failed:,} failed"] if stage.failed else []
    if stage.left and stage.per_minute:
        notes.append(rate(stage.per_minute))
        if stage.eta_s is not None:
            notes.append(f"ETA {duration(stage.eta_s)}")
    return ", ".join(notes)
