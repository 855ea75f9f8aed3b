"""What the doctor found, as text for people and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from kdopt.service.doctor import Checkup

SHOWN_PROBLEMS = 50
COLUMNS = (
    "planned",
    "rows",
    "complete",
    "failed",
    "running",
    "waiting",
    "retried",
    "duplicates",
    "artifacts",
)


def print_json(found: Sequence[Checkup]) -> None:
    """Everything, as one JSON list."""
    print(json.dumps([asdict(checkup) for checkup in found], indent=2))


def print_checkups(found: Sequence[Checkup]) -> None:
    """A table of counts, then what is off."""
    lines: list[tuple[str, ...]] = [("campaign", *COLUMNS)]
    lines += [(c.campaign, *(f"{getattr(c, key):,}" for key in COLUMNS)) for c in found]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        rest = (f"{text:>{width}}" for text, width in zip(line[1:], widths[1:], strict=True))
        print(f"{line[0]:<{widths[0]}}", *rest, sep="  ")
    for checkup in found:
        for problem in checkup.problems[:SHOWN_PROBLEMS]:
            print(f"{checkup.campaign}: {problem}")
        hidden = len(checkup.problems) - SHOWN_PROBLEMS
        if hidden > 0:
            print(f"{checkup.campaign}: ... and {hidden:,} more (--json shows all)")
    n = sum(len(checkup.problems) for checkup in found)
    print(f"{n:,} problems" if n else "nothing is off")
