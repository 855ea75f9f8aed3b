"""Tables: plain columns, and a table that drops columns until it fits its terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def print_columns(rows: Sequence[Sequence[str]], n_left: int) -> None:
    """Print texts in columns: the first ``n_left`` begin in line, the others end in line.

    On a terminal that is too narrow for them the widest of the first takes several lines.
    """
    console = make_console()
    width = console.width if console.is_terminal else WIDE
    for line in lay_out_columns(
        [[clean_line(text) for text in row] for row in rows], n_left, width
    ):
        print(line)


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
