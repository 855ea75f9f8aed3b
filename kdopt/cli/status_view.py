"""A campaign's status for people: tables that fit the terminal, or plain text without one."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdopt.cli.inputs import campaign_folder, list_store_options
from kdopt.cli.tables import WIDE, fit_table, make_console
from kdopt.errors import StoreError
from kdopt.service.status_values import (
    FailureGroup,
    StageStatus,
    Status,
    WorkerStatus,
)
from kdopt.shown import clean_line, format_count, format_params
from kdopt.store.database import Store
from kdopt.typed import duration

STATE_STYLES = {"gone": "red", "lapsed": "red", "silent": "yellow", "alive": ""}


def render_status(
    status: Status, console: Console, height: int | None = None, notes: Sequence[str] = ()
) -> RenderableType:
    """Headline, stages, partitions, workers, reasons of failures.

    Args:
        status: What is shown.
        console: Where; tables lose columns until they fit its width.
        height: Lines at most; partitions, workers and reasons beyond them are counted only.
        notes: Lines below the headline.
    """
    whole = height is None and console.is_terminal
    top: list[RenderableType] = [
        _render_headline(status),
        *(_render_note(note, whole) for note in (*status.notes, *notes)),
    ]
    used = sum(len(console.render_lines(text)) for text in top)
    room = _allot_lines(status, None if height is None else height - used)
    parts: list[RenderableType] = [*top, "", _render_stages(status, console)]
    if room.partitions:
        parts += ["", _render_partitions(status, console)]
    if room.workers:
        parts += ["", _render_workers(status, console, room.workers)]
        parts += _note_hidden(len(status.workers) - room.workers, "workers")
    if room.failures:
        parts += ["", *_render_failures(status, room.failures, crop=height is not None)]
        parts += _note_hidden(len(status.failures) - room.failures, "reasons")
    return Group(*parts)


def render_plain_text(status: Status, notes: Sequence[str] = ()) -> str:
    """The whole status as text without control characters, for files and pipes."""
    console = make_console(
        width=WIDE, color_system=None, force_terminal=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(render_status(status, console, notes=notes))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def print_status(status: Status, notes: Sequence[str] = ()) -> None:
    """Print the whole status to stdout."""
    console = make_console()
    if console.is_terminal:
        console.print(render_status(status, console, notes=notes), crop=False)
    else:
        print(render_plain_text(status, notes))


def format_eta(status: Status) -> str:
    """When all will be done, or why that is unknown."""
    if status.eta_s is not None:
        return ("about " if status.eta_guessed else "") + duration(status.eta_s)
    return f"unknown ({status.eta_unknown})" if status.eta_unknown else "unknown"


def format_rate(per_minute: float) -> str:
    """Trials per minute, or per hour when these are few.

    >>> format_rate(123.4), format_rate(2.34), format_rate(0.25)
    ('123 per minute', '2.3 per minute', '15.0 per hour')
    """
    if per_minute >= 1:
        return f"{_format_number(per_minute)} per minute"
    return f"{_format_number(60 * per_minute)} per hour"


def list_hints(status: Status, store: Store) -> list[str]:
    """How to go on where nobody works though there is work."""
    if not status.idle:
        return []
    options = shlex.join(["--campaign", status.campaign, *list_store_options(store)])
    hints = [f"no worker is at work; start some with: kdopt launch local {options}"]
    if not _has_slurm_logs(status.campaign, store):
        return hints
    # A job that was put back into the queue starts by itself, and one that was cancelled does not.
    return [
        *hints,
        f"or on Slurm: 'squeue --me --name kdopt-{status.campaign}' lists jobs that will start by "
        "themselves; cancelled ones (scancel, PreemptMode=CANCEL) do not come back: submit others "
        f"with: kdopt launch slurm {options}",
    ]


def _has_slurm_logs(campaign: str, store: Store) -> bool:
    with contextlib.suppress(StoreError):  # a name that no folder has
        return (campaign_folder(store, "logs", campaign) / "slurm").is_dir()
    return False


class _Room(NamedTuple):
    """How many partitions, workers and reasons are shown."""

    partitions: int
    workers: int
    failures: int


def _allot_lines(status: Status, lines: int | None) -> _Room:
    """Share out the lines: the stages always, partitions all or none, the rest as far as it goes.

    Each part has a blank line and a header above it, and a line below it that counts what is left
    out.
    """
    wanted = _Room(len(status.partitions), len(status.workers), len(status.failures))
    if lines is None:
        return wanted
    lines -= len(status.stages) + 2
    if sum(n + 2 for n in wanted if n) <= lines:
        return wanted
    others = sum(n > 0 for n in wanted[1:])
    partitions = wanted.partitions if wanted.partitions + 2 + 4 * others <= lines else 0
    lines -= partitions + 2 if partitions else 0
    left_by_workers = lines - (wanted.workers + 2 if wanted.workers else 0)
    # At least four lines for each part, workers first; and a third for the reasons.
    share = max(min(4, lines - 4), lines // 3, left_by_workers)
    failures = _count_rows_in(wanted.failures, share)
    lines -= min(wanted.failures, failures + 1) + 2 if failures else 0
    return _Room(partitions, _count_rows_in(wanted.workers, lines), failures)


def _count_rows_in(rows: int, lines: int) -> int:
    """Rows of a part that has so many lines."""
    return rows if rows + 2 <= lines else max(0, lines - 3)


def _render_headline(status: Status) -> Text:
    done = "bold green" if status.done and not status.failed else "bold"
    text = Text(f"{status.campaign}: ", style=done)
    text.append(f"{status.complete:,} of {format_count(status.trials, 'trial')} complete")
    if status.failed:
        text.append(f", {status.failed:,} failed", style="red")
    if not status.done and not status.idle:
        text.append(f", {format_rate(status.per_minute)}, ETA {format_eta(status)}")
    if status.blocked:
        text.append(
            f"; {status.blocked:,} cannot start, because a participant that they need was not "
            "pre-trained",
            style="red",
        )
    return text


def _render_note(note: str, whole: bool) -> RenderableType:
    """A note; with ``whole`` a command at its end has a line of its own, to be copied."""
    said, mark, command = clean_line(note).rpartition(": kdopt ")
    if not whole or not mark:
        return Text(clean_line(note), style="yellow")
    # A line that is too long for the terminal is cut by it, which copies as one.
    shown = Text(f"  kdopt {command}", style="yellow", no_wrap=True, overflow="ignore")
    return Group(Text(f"{said}:", style="yellow"), shown)


def _render_stages(status: Status, console: Console) -> Table:
    bars = console.is_terminal and console.encoding.startswith("utf")
    rows: list[dict[str, RenderableType]] = [
        {
            "stage": s.stage,
            "studies": _format_ratio(s.studies_complete, s.studies),
            "trials": _format_ratio(s.complete + s.failed, s.trials),
            " ": ProgressBar(max(1, s.trials), s.complete + s.failed, width=20),
            "done": _format_percent(s.complete + s.failed, s.trials),
            "running": f"{s.running:,}",
            "waiting": f"{s.waiting:,}",
            "failed": _format_failed(s.failed),
            "per minute": _format_number(s.per_minute) if s.per_minute else "-",
            "ETA": _format_stage_eta(s),
        }
        for s in status.stages
    ]
    tiers = [
        ["stage", "studies", "trials", " ", "done", "running", "waiting", "failed", "per minute",
         "ETA"],
        ["stage", "studies", "trials", "done", "running", "waiting", "failed", "per minute", "ETA"],
        ["stage", "trials", "done", "running", "failed", "per minute", "ETA"],
        ["stage", "trials", "failed", "ETA"],
        ["stage", "trials", "ETA"],
        ["stage", "done", "ETA"],
    ]  # fmt: skip
    return fit_table(console, rows, tiers if bars else tiers[1:], left=["stage"])


def _render_partitions(status: Status, console: Console) -> Table:
    rows: list[dict[str, RenderableType]] = [
        {
            "partition": p.partition,
            "pairs finished": _format_ratio(p.pairs_finished, p.pairs),
            "pairs": _format_ratio(p.pairs_finished, p.pairs),
            "trials": _format_ratio(p.complete + p.failed, p.trials),
            "done": _format_percent(p.complete + p.failed, p.trials),
            "running": f"{p.running:,}",
            "waiting": f"{p.waiting:,}",
            "failed": _format_failed(p.failed),
        }
        for p in status.partitions
    ]
    tiers = [
        ["partition", "pairs finished", "trials", "done", "running", "waiting", "failed"],
        ["partition", "pairs", "trials", "done", "failed"],
        ["partition", "pairs", "trials"],
        ["partition", "pairs"],
    ]
    return fit_table(console, rows, tiers, left=["partition"])


def _render_workers(status: Status, console: Console, shown: int) -> Table:
    header = _count_workers(status.workers)
    rows: list[dict[str, RenderableType]] = [
        {
            header: f"{w.host}:{_format_pid(w)}",
            "pid": _format_pid(w),
            "device": w.device or "?",
            "trial": _name_trial(status, w),
            "params": _format_params(w),
            "for": duration(w.running_s),
            "last sign": duration(w.last_sign_s),
            " ": _list_remarks(w),
            "trial ": ("" if w.state == "alive" else f"{w.state}: ") + _name_trial(status, w),
        }
        for w in status.workers[:shown]
    ]
    tiers = [
        [header, "device", "trial", "params", "for", "last sign", " "],
        [header, "trial", "params", "for", " "],
        [header, "trial", "for", " "],
        ["pid", "for", "trial "],
    ]
    styles = [STATE_STYLES[w.state] for w in status.workers[:shown]]
    left = [header, "pid", "device", "trial", "trial ", "params", " "]
    return fit_table(console, rows, tiers, left, styles)


def _render_failures(status: Status, shown: int, crop: bool) -> Iterator[RenderableType]:
    yield Text(f"{status.failed:,} failed, by reason", style="bold")
    for group in status.failures[:shown]:
        yield _render_failure(group, crop)


def _render_failure(group: FailureGroup, crop: bool) -> Text:
    text = Text()
    text.append(f"{group.count:,} x ", style="red")
    text.append(clean_line(group.reason))
    text.append(f"  ({group.study} #{group.number})", style="dim")
    if crop:
        text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _note_hidden(hidden: int, what: str) -> list[RenderableType]:
    return [Text(f"... and {hidden:,} more {what}", style="dim")] if hidden > 0 else []


def _count_workers(workers: Sequence[WorkerStatus]) -> str:
    states = Counter(w.state for w in workers)
    trouble = [f"{n} {state}" for state, n in states.items() if state != "alive"]
    count = format_count(len(workers), "worker")
    return f"{count} ({', '.join(trouble)})" if trouble else count


def _format_pid(worker: WorkerStatus) -> str:
    return "?" if worker.pid is None else str(worker.pid)


def _name_trial(status: Status, worker: WorkerStatus) -> str:
    return f"{worker.study.removeprefix(f'{status.campaign}/')} #{worker.number}"


def _format_params(worker: WorkerStatus) -> str:
    # Most campaigns have no replicates, and a first one needs no mention.
    return format_params({k: v for k, v in worker.params.items() if k != "replicate" or v})


def _list_remarks(worker: WorkerStatus) -> str:
    return ", ".join(
        [
            *([worker.state] if worker.state != "alive" else []),
            *([f"step {worker.step}"] if worker.step is not None else []),
            *([f"attempt {worker.attempt}"] if worker.attempt > 1 else []),
            *([f"{worker.at_once:,} at once"] if worker.at_once > 1 else []),
            *([f"{worker.claimed:,} more claimed"] if worker.claimed else []),
        ]
    )


def _format_ratio(n: int, total: int) -> str:
    return f"{n:,}/{total:,}"


def _format_percent(n: int, total: int) -> str:
    # Rounded down: 100 % means all.
    return f"{100 * n // total if total else 100} %"


def _format_failed(n: int) -> Text:
    return Text(f"{n:,}", style="red" if n else "")


def _format_stage_eta(stage: StageStatus) -> str:
    if stage.eta_s is not None:
        return duration(stage.eta_s)
    return "unknown" if stage.left else "-"


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"
