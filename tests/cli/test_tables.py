from __future__ import annotations

import pytest
from rich.console import Console

from kdopt.cli.tables import fit_table

ROWS = [
    {"name": "label_dirichlet", "n": "1,234", "note": "of long ago", "n ": "1"},
    {"name": "[red]uniform[/]", "n": "9", "note": "", "n ": "22"},
]
TIERS = [["name", "n", "note"], ["name", "n"], ["name", "n "]]


def lines(width, styles=()):
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(fit_table(console, ROWS, TIERS, ["name", "note"], styles))
    return captured.get().splitlines()


def test_the_widest_choice_that_fits_is_taken():
    assert lines(200)[0].split() == ["name", "n", "note"]
    whole = max(len(line.rstrip()) for line in lines(200))
    assert lines(whole)[0].split() == ["name", "n", "note"]
    assert lines(whole - 1)[0].split() == ["name", "n"]


@pytest.mark.parametrize("width", range(8, 60))
def test_no_line_is_wider_than_the_terminal_and_each_row_has_one(width):
    found = lines(width)
    assert len(found) == 1 + len(ROWS)
    assert max(map(len, found)) <= width


def test_only_the_widest_column_is_cut():
    found = [line.rstrip() for line in lines(16)]
    assert [line.split()[-1] for line in found] == ["n", "1", "22"]
    assert found[1].startswith("label_") and "…" in found[1]


def test_cells_are_no_markup():
    assert "[red]uniform[/]" in "\n".join(lines(200))


def test_numbers_end_and_texts_begin_in_line():
    first, second = (line for line in lines(200)[1:])
    assert first.index("1,234") + 5 == second.index(" 9 ") + 2
