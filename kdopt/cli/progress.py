"""Live progress of a campaign on stderr: a view on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar as RichBar
from rich.table import Table
from rich.text import Text

from kdopt.cli.results_so_far import ResultsSoFar
from kdopt.cli.status_view import format_eta, render_status
from kdopt.cli.tables import make_console
from kdopt.service.status import read_status
from kdopt.service.status_values import StageStatus, Status
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.typed import duration
from kdopt.worker.heartbeat import requeue_trials_of_dead_workers

LINE_EVERY_S = 10.0

POLLING_SHARE = 0.05
"""Share of the time that may be spent on asking the store."""

Launch = Callable[[Callable[[], None], Callable[[], None]], None]
"""Runs workers to their end. It calls its first argument every second or so, and the second at once
when it is told to stop."""


class ProgressBar:
    """Shows how far a campaign is, who works on what, and what was found so far.

    Args:
        store: The store.
        campaign: The campaign.
        quiet: Show nothing.
    """

    def __init__(self, store: Store, campaign: str, quiet: bool = False) -> None:
        self._store, self._campaign, self._quiet = store, campaign, quiet
        self._started = time.monotonic()
        self._done_before = self._planned = 0
        self._next_look = 0.0
        self._next_line = 0.0
        self._said = ""
        self._status: Status | None = None
        self._note = "workers are starting: each loads torch and the images first"
        self.results = ResultsSoFar(store, campaign)
        console = make_console(stderr=True)
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal and not quiet:
            self._live = Live(
                get_renderable=lambda: self._render(console),
                console=console,
                # Drawn by a thread of its own, so that the time goes on while the store is asked.
                refresh_per_second=2,
                # Rich would read escape codes in what others print meanwhile.
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> None:
        status = self._read_status()
        self._done_before = status.complete + status.failed
        self._planned = status.trials
        if self._live is not None:
            self._live.start()
        self._print_line(status)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What workers do is over; the rest stays on the screen.
        self._status = replace(self._read_status(), workers=())
        self._note = ""
        self._next_line = 0.0
        if not self._status.left:
            self.results.answer = ""  # of some moments ago: the command ends with the whole one
        self._print_line(self._status)
        if self._live is not None:
            self._live.stop()

    def update(self) -> None:
        """Ask the store and show the answer; too soon after the last time, do nothing."""
        if time.monotonic() >= self._next_look:
            status = self._read_status()
            if status.workers:
                self._note = ""
            self._print_line(status)
        self.results.look_when_due()

    def announce_stop(self) -> None:
        """Say at once that the stop was heard, as workers take a moment to give trials back."""
        # Those that are claimed and not begun go back as well, and cost nobody anything.
        n = sum(worker.at_once for worker in self.status.workers)
        trials = f"giving {format_count(n, 'trial')} back" if n else "stopping the workers"
        self._note = f"stop: {trials} ..."
        if self._live is not None:
            self._live.refresh()
        elif not self._quiet:
            print(self._note, file=sys.stderr, flush=True)

    @property
    def status(self) -> Status:
        """The status as last read."""
        return self._status or self._read_status()

    @property
    def gone(self) -> int:
        """Trials that were there when it began, and are not any more."""
        return max(0, self._planned - self.status.trials)

    def summarize(self) -> str:
        """One line about the whole run."""
        done = self.status.complete + self.status.failed
        text = f"{self._campaign}: {done:,} of {format_count(self.status.trials, 'trial')} done, "
        return text + f"{done - self._done_before:,} of them now, in {duration(self._elapsed_s)}"

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def _read_status(self) -> Status:
        began = time.monotonic()
        self._status = read_status(self._store, self._campaign, since_s=self._elapsed_s)
        self._next_look = time.monotonic() + (time.monotonic() - began) / POLLING_SHARE
        return self._status

    def _render(self, console: Console) -> RenderableType:
        # Partitions are left to 'kdopt status': this view stays small, and above it all is kept.
        status = replace(self.status, partitions=())
        bar = Table.grid(padding=(0, 1))
        done = status.complete + status.failed
        elapsed = f"{duration(self._elapsed_s)} elapsed"
        bar.add_row(RichBar(max(1, status.trials), done, width=40), Text(elapsed))
        lines = [self._note, f"so far: {self.results.answer}" if self.results.answer else ""]
        below = [Text(line, style="cyan") for line in lines if line]
        used = 2 + sum(len(text.wrap(console, console.width)) for text in below)
        return Group(bar, render_status(status, console, console.height - used), *below)

    def _print_line(self, status: Status) -> None:
        if self._quiet or self._live is not None or time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_EVERY_S
        n = len(status.workers)
        notes = [
            *(_describe_stage(stage) for stage in status.stages),
            *([format_count(n, "worker")] if n else []),
            *([f"ETA {format_eta(status)}"] if status.left and n else []),
            *([self._note] if self._note and status.left else []),
            *([self.results.answer] if self.results.answer not in ("", self._said) else []),
        ]
        self._said = self.results.answer
        print(f"{duration(self._elapsed_s)}: {'; '.join(notes)}", file=sys.stderr, flush=True)


def follow_workers(progress: ProgressBar, store: Store, artifacts: Artifacts, run: Launch) -> None:
    """Show progress while workers of this machine or of Ray work.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
    """
    with progress:
        if not progress.status.left:
            return  # workers would only start, load torch and end
        try:
            run(progress.update, progress.announce_stop)
        finally:
            # A worker that was killed gave nothing back, and the ones that take its trials back
            # may have ended before it; only then is nobody left to do it.
            requeue_trials_of_dead_workers(store, artifacts)


def describe_gone(trials: int) -> str:
    """What is to be said of trials that were deleted meanwhile."""
    return (
        f"{format_count(trials, 'trial was', 'trials were')} deleted from the store by another "
        "program meanwhile; 'kdopt run' and 'kdopt plan' plan them again"
    )


def _describe_stage(stage: StageStatus) -> str:
    text = f"{stage.stage} {stage.complete + stage.failed:,}/{stage.trials:,}"
    return f"{text} {stage.failed:,} failed" if stage.failed else text
