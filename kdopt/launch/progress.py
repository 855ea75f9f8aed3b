"""Live progress of a campaign on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from kdopt.service.status import StageStatus, count_stages, duration
from kdopt.store import rows
from kdopt.store.open import Store

LINE_EVERY_S = 10.0


class Progress:
    """Shows how far the stages of a campaign are.

    The ETA is what is left over the rate since this run began, per stage in turn: a stage that
    has not begun has no rate yet, so it is shown without one.
    """

    def __init__(self, store: Store, campaign: str) -> None:
        self._store, self._campaign = store, campaign
        self._started = time.monotonic()
        self._at_start: dict[str, int] = {}
        self._stage_started: dict[str, float] = {}
        self._stages: tuple[StageStatus, ...] = ()
        self._next_line = 0.0
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
        self._read()
        for stage in self._stages:
            self._at_start[stage.stage] = stage.complete + stage.failed
            if self._bar is not None:
                self._tasks[stage.stage] = self._bar.add_task(
                    stage.stage, total=stage.trials, note=""
                )
        if self._bar is not None:
            self._bar.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._read()
        self._show(last=True)
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Ask the store and show the answer."""
        self._read()
        self._show(last=False)

    def counts(self) -> tuple[int, int]:
        """Finished and planned trials, as last read."""
        return sum(s.complete + s.failed for s in self._stages), sum(s.trials for s in self._stages)

    def left(self) -> int:
        """Trials that are still to do, as last read."""
        return sum(s.waiting + s.running for s in self._stages)

    def failed(self) -> int:
        """Trials that failed, as last read."""
        return sum(s.failed for s in self._stages)

    def summary(self) -> str:
        """One line about the whole run."""
        seconds = time.monotonic() - self._started
        done, total = self.counts()
        new = done - sum(self._at_start.values())
        text = f"{self._campaign}: {done:,} of {total:,} trials done, {new:,} of them now, "
        text += f"in {duration(seconds)}"
        return text

    def _read(self) -> None:
        self._stages = count_stages(rows.read_states(self._store, self._campaign))

    def _note(self, stage: StageStatus) -> str:
        done = stage.complete + stage.failed
        new = done - self._at_start.get(stage.stage, 0)
        if new or stage.running:
            self._stage_started.setdefault(stage.stage, time.monotonic())
        note = f"{stage.failed} failed  " if stage.failed else ""
        left = stage.trials - done
        if not left or not new:
            return note
        rate = new / max(1e-3, time.monotonic() - self._stage_started[stage.stage])
        return f"{note}{60 * rate:.0f} per minute, ETA {duration(left / rate)}"

    def _show(self, last: bool) -> None:
        if self._bar is not None:
            for stage in self._stages:
                self._bar.update(
                    self._tasks[stage.stage],
                    completed=stage.complete + stage.failed,
                    note=self._note(stage),
                )
            return
        notes = [
            f"{s.stage} {s.complete + s.failed:,}/{s.trials:,} {self._note(s)}".strip()
            for s in self._stages
        ]
        if last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            print("; ".join(notes), file=sys.stderr, flush=True)
