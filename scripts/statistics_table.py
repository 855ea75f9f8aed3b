"""The table of ``batch_norm``: what each of its values chooses, and how far its promise holds.

``scripts/levers.py`` prints it, from what ``scripts/lever_trials.py`` found around the control and
the best cell of the shipped grids, and ``scripts/lever_statistics.py`` at every cell of small ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scripts.lever_tables import (
    CHOICES,
    LINE,
    LINES,
    NO_LINE,
    Found,
    Numbers,
    choose_gains,
    format_mean,
    read_found,
)
from scripts.search_judge import print_head, print_line

STATISTICS = Path(__file__).with_name("lever_statistics.json")
"""What was found at every cell of small grids."""

ALIKE = ("interpolated", "measured")
"""How the students of one place are made."""

VALUES: Mapping[str, Sequence[str]] = {
    "running": ALIKE[:1],
    "measured": ALIKE[1:],
    "both": ALIKE,
}
"""What ``batch_norm`` may be, and which students of a place are tried then."""

SETTINGS: Mapping[tuple[str, str], Sequence[tuple[str, Sequence[str]]]] = {
    (line, value): [(way, (place,)) for place in places for way in ways]
    for line, places in (("no", NO_LINE), ("yes", LINE))
    for value, ways in VALUES.items()
}
"""Whether there is a line, ``batch_norm``, and what is chosen among, the first of equals first."""

DIFFERENCES = (("measured", "running"), ("both", "running"), ("both", "measured"))

HEAD = """
## Both batch-norm statistics

What each value of `batch_norm` chooses, of the control alone or of the control and cells. *Gain* is
that on test in pp, with its 95 % interval over participants; *promise* is how far the gain on
validation exceeds it. Then differences, bold where their intervals leave out 0. *The best cell* is
that of the shipped grids, chosen with `running`, of the pairs above. *All cells* are T of 1 and 4
with alpha of 0.1, 0.5 and 0.9, of {pairs} with participants of their own
(`scripts/lever_statistics.py`).
"""


def print_statistics(lines: Path = LINES, statistics: Path = STATISTICS) -> None:
    """What each value of ``batch_norm`` gives, and the differences."""
    stored, small = read_found(lines), read_found(statistics)
    print(HEAD.format(pairs=small.count()))
    cells = [key for key, value in small.records[0].items() if isinstance(value, dict)]
    choices = [(name, stored, students) for name, students in CHOICES.items()]
    choices.append(("the control and all cells", small, cells))
    print_head(["chosen among", "pairs of", "line", "`batch_norm`", "pairs"], ["gain", "promise"])
    for name, found, students in choices:
        for data, some in found.split():
            for (line, value), gains in list_gains(found, students).items():
                known = some & ~np.isnan(gains[:, 1])
                shown = [format_mean(found, gains[:, 1], known)]
                shown.append(format_mean(found, gains[:, 0] - gains[:, 1], known))
                print_line([name, data, line, f"`{value}`", str(known.sum()), *shown])
    print()
    print_head(["chosen among", "pairs of", "line", "difference", "pairs"], ["gain", "promise"])
    for name, found, students in choices:
        for data, some in found.split():
            gains = list_gains(found, students)
            for line in ("no", "yes"):
                for value, other in DIFFERENCES:
                    more = gains[line, value] - gains[line, other]
                    known = some & ~np.isnan(more[:, 1])
                    shown = [format_mean(found, more[:, 1], known, difference=True)]
                    promise = more[:, 0] - more[:, 1]
                    shown.append(format_mean(found, promise, known, difference=True))
                    about = f"`{value}` - `{other}`"
                    print_line([name, data, line, about, str(known.sum()), *shown])


def list_gains(found: Found, students: Sequence[str]) -> dict[tuple[str, str], Numbers]:
    """Gains on validation and test, (pairs, 2), by setting; NaN where not all was measured."""
    whole = [
        all(way in record.get(student, {}) for student in students for way in ALIKE)
        for record in found.records
    ]
    return {
        setting: np.array(
            [
                choose_gains(record, ways, students) if known else (np.nan, np.nan)
                for record, known in zip(found.records, whole, strict=True)
            ]
        )
        for setting, ways in SETTINGS.items()
    }
