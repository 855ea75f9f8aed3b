"""The table that the fault tests yield: fault by store, of the facts that the tests assert.

It is printed below the tests' summary; ``--fault-table FILE`` also writes it as Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kdopt.service.doctor import Checkup

KEY = "fault"
MODULES = ("test_faults", "test_full_disks")
STORES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


class Line(NamedTuple):
    """What one fault left of a campaign."""

    fault: str
    store: str
    planned: int
    rows: int
    complete: int
    failed_with_reason: int
    duplicates: int
    late_results_refused: int


AddLine = Callable[[str, str, Checkup, int], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-table", metavar="FILE", help="Write the table of the fault tests as Markdown."
    )


@pytest.fixture
def fault_table(record_property: Callable[[str, object], None]) -> AddLine:
    """Adds this test's line: fault, dialect, what doctor counted, late results refused."""

    def add(fault: str, dialect: str, found: Checkup, refused: int) -> None:
        line = Line(
            fault,
            STORES[dialect],
            found.planned,
            found.rows,
            found.complete,
            found.failed,
            found.duplicates,
            refused,
        )
        record_property(KEY, line._asdict())

    return add


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = [_cells(r, dict(r.user_properties)[KEY]) for r in _reports(terminalreporter)]
    missing = [
        f"not run: {report.nodeid.rpartition('::')[2]}: {report.longrepr[2]}"
        for report in terminalreporter.getreports("skipped")
        if any(module in report.nodeid for module in MODULES)
    ]
    if not lines and not missing:
        return
    table = [[name.replace("_", " ") for name in Line._fields], *lines]
    widths = [max(len(row[i]) for row in table) for i in range(len(Line._fields))]
    texts = [_row(row, widths) for row in table]
    numbers = ["-" * (w - 1) + ":" for w in widths[2:]]
    texts.insert(1, _row(["-" * w for w in widths[:2]] + numbers, widths))
    terminalreporter.section("faults")
    for text in [*texts, *missing]:
        terminalreporter.write_line(text)
    file = config.getoption("--fault-table")
    if file:
        Path(file).write_text("\n".join([*texts, *(f"\n{m}" for m in missing)]) + "\n")


def _reports(terminalreporter: Any) -> Iterator[Any]:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call" and KEY in dict(report.user_properties):
                yield report


def _cells(report: Any, line: dict[str, object]) -> list[str]:
    fault, *rest = map(str, line.values())
    return [fault if report.passed else f"{fault} (TEST FAILED)", *rest]


def _row(cells: list[str], widths: list[int]) -> str:
    sides = [
        c.ljust(w) if i < 2 else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(sides)} |"
