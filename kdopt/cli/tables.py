"""Texts and tables that fit the terminal: wrapped, split by columns, or with fewer columns."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import add
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kdopt.shown import clean_line, clean_text

WIDE = 10_000
"""Columns of a file or a pipe, which has no width to fit."""


class _CleanConsole(Console):
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of what is shown; their texts hold nothing that a terminal obeys."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(clean_text(segment.text), segment.style)


def make_console(**settings: Any) -> Console:
    """A console that shows texts as they are: no markup, no emoji codes, no escape codes."""
    return _CleanConsole(markup=False, emoji=False, highlight=False, **settings)


_CELL_GAP = re.compile(r"\S {2,}(?=\S)")
_LABEL = re.compile(r" *(?:\S+(?: \S+)?  +)?")
_COMMAND = re.compile(r"'kdopt [^']*'")
_UNBROKEN = "\N{NO-BREAK SPACE}"


def print_text(text: str, stderr: bool = False) -> None:
    """Print a text, on a terminal by :func:`wrap_text`."""
    for line in wrap_text(text, _find_width(stderr)):
        print(line, file=sys.stderr if stderr else sys.stdout)


def wrap_text(text: str, width: int) -> Iterator[str]:
    """The lines of a text, cut between words where they are too wide.

    What follows a label goes on below itself. A table, three gaps or more in a line, is split by
    columns, and its first is there each time. A command in quotes stays whole, to be copied.
    """
    for is_table, lines in groupby(text.split("\n"), key=lambda line: _count_gaps(line) > 2):
        if is_table:
            yield from _fit_lines([*lines], width)
            continue
        for line in lines:
            label = _LABEL.match(line)
            below = label.end() if label and label.end() <= width // 4 else 2
            kept = _COMMAND.sub(lambda found: found[0].replace(" ", _UNBROKEN), line)
            wrapped = textwrap.wrap(
                kept,
                width,
                subsequent_indent=" " * below,
                break_long_words=False,
                break_on_hyphens=False,
            )
            yield from (part.replace(_UNBROKEN, " ") for part in wrapped or [line])


def _count_gaps(line: str) -> int:
    return len(_CELL_GAP.findall(line))


def _fit_lines(lines: Sequence[str], width: int) -> Iterable[str]:
    return lines if max(map(len, lines)) <= width else _split_table(lines, width)


def _split_table(lines: Sequence[str], width: int) -> Iterator[str]:
    """A table of texts as one below the other, each with the first columns and some others."""
    longest = max(map(len, lines))
    padded = [line.ljust(longest) for line in lines]
    used = "".join("x" if {*column} - {" "} else " " for column in zip(*padded, strict=True))
    starts = [0, *(gap.end() for gap in re.finditer(r"x {2,}(?=x)", used))]
    columns = [slice(*ends) for ends in zip(starts, [*starts[1:], longest], strict=True)]
    # A label before the table is no column: the next one says what each line is of.
    n_head = 2 if sum(not line[columns[0]].isspace() for line in padded) == 1 else 1
    head = [line[: columns[n_head - 1].stop] for line in padded]
    below = list(head)
    for column in columns[n_head:]:
        cells = [line[column] for line in padded]
        if below != head and max(map(len, map(str.rstrip, map(add, below, cells)))) > width:
            yield from map(str.rstrip, below)
            below = list(head)
        below = [*map(add, below, cells)]
    yield from map(str.rstrip, below)


def print_columns(rows: Sequence[Sequence[str]], n_left: int) -> None:
    """Print texts in columns: the first ``n_left`` begin in line, the others end in line.

    On a terminal that is too narrow for them the widest of the first takes several lines.
    """
    lines = [[clean_line(text) for text in row] for row in rows]
    width = _find_width()
    for line in _fit_lines([*lay_out_columns(lines, n_left, width)], width):
        print(line)


def _find_width(stderr: bool = False) -> int:
    console = make_console(stderr=stderr)
    return console.width if console.is_terminal else WIDE


def lay_out_columns(rows: Sequence[Sequence[str]], n_left: int, width: int) -> Iterator[str]:
    """The lines of a table: the first ``n_left`` columns begin in line, the others end in line.

    Args:
        rows: Their cells, each a line without control characters.
        n_left: Columns of text, 1 or more.
        width: Of a line, where wrapping the widest column of text between words can keep it.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widest = max(range(n_left), key=widths.__getitem__)
    others = sum(widths) + 2 * (len(widths) - 1) - widths[widest]
    words = [word for row in rows for word in row[widest].split()]
    least = max(map(len, words), default=0)
    widths[widest] = max(least, min(widths[widest], width - others))
    for row in rows:
        below = list(row)
        below[widest], *more = textwrap.wrap(
            row[widest], widths[widest], break_on_hyphens=False
        ) or [""]
        for cells in [below, *([""] * widest + [text] for text in more)]:
            texts = [
                text.ljust(width) if i < n_left else text.rjust(width)
                for i, (text, width) in enumerate(zip(cells, widths, strict=False))
            ]
            yield "  ".join(texts).rstrip()


def fit_table(
    console: Console,
    rows: Sequence[Mapping[str, RenderableType]],
    tiers: Sequence[Sequence[str]],
    left: Sequence[str],
    styles: Sequence[str] = (),
) -> Table:
    """Build the first choice of columns that fits; if none does, cut the widest column of the last.

    Args:
        console: Where it will be printed.
        rows: Cells by column; the names of columns are their headers, outer blanks aside.
        tiers: Choices of columns, the widest first.
        left: Columns of text; all others are numbers.
        styles: A style per row, if any.
    """
    everything = console.options.update(width=WIDE)
    excess = 0
    for columns in tiers:
        table = _build_table(rows, columns, left, styles)
        excess = Measurement.get(console, everything, table).maximum - console.width
        if excess <= 0:
            return table
    # By itself rich would cut all columns, down to nothing.
    widths = [max(Text(str(cell)).cell_len for cell in c.cells) for c in table.columns]
    widest = max(range(len(widths)), key=widths.__getitem__)
    table.columns[widest].max_width = max(1, widths[widest] - excess)
    return table


def _build_table(
    rows: Sequence[Mapping[str, RenderableType]],
    columns: Sequence[str],
    left: Sequence[str],
    styles: Sequence[str],
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in columns:
        table.add_column(
            name.strip(),
            justify="left" if name in left else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        cells = (row[name] for name in columns)
        table.add_row(
            *(Text(clean_line(c)) if isinstance(c, str) else c for c in cells), style=style
        )
    return table
