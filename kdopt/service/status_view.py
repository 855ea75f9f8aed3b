"""A campaign's status as text for people and as JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict

from kdopt.service.identity import short
from kdopt.service.status import Status, eta

SHOWN_FAILURES = 10


def print_json(status: Status) -> None:
    """The whole status as one JSON object."""
    values = asdict(status)
    values["running"] = [r._asdict() for r in status.running]
    values["failures"] = [f._asdict() for f in status.failures]
    print(json.dumps(values, indent=2))


def print_text(status: Status) -> None:
    """Stages, what runs, failures with reasons."""
    print(f"{status.campaign}: {status.complete:,} of {status.trials:,} trials complete", end="")
    print(f", {status.per_minute:.0f} per minute, ETA {eta(status)}" if status.left else "")
    header = ("stage", "studies", "complete", "trials", "complete", "running", "waiting", "failed")
    lines = [
        (
            s.stage,
            *(
                f"{n:,}"
                for n in (
                    s.studies,
                    s.studies_complete,
                    s.trials,
                    s.complete,
                    s.running,
                    s.waiting,
                    s.failed,
                )
            ),
        )
        for s in status.stages
    ]
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    for line in (header, *lines):
        rest = (f"{c:>{w}}" for c, w in zip(line[1:], widths[1:], strict=True))
        print(f"  {line[0]:<{widths[0]}}", *rest, sep="  ")
    for running in status.running:
        again = f", attempt {running.attempt}" if running.attempt > 1 else ""
        step = "" if running.step is None else f", step {running.step}"
        late = ", lease lapsed" if running.lease_left_s < 0 else ""
        trial = f"{running.study} #{running.number}"
        print(f"  running: {trial} on {short(running.worker)}{step}{again}{late}")
    for failure in status.failures[:SHOWN_FAILURES]:
        print(f"  failed: {failure.study} #{failure.number}: {failure.reason.splitlines()[0]}")
    hidden = len(status.failures) - SHOWN_FAILURES
    if hidden > 0:
        print(f"  ... and {hidden:,} more failures (--json shows all)")
