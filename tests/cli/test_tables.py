from __future__ import annotations

import pytest
from rich.console import Console

from kdopt.cli.tables import fit_table, lay_out_columns

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


COLUMNS = [
    ("pair", "verdict", "test"),
    ("uniform/t00-s01", "leave as it is", "0.00"),
    ("label_dirichlet/t01-s00", "distil: Tuned, T=6, alpha=0.9, on public labeled", "20.71"),
    ("label_dirichlet/t01-s02", "", "-0.50"),
]


@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
def test_columns_of_text_are_wrapped_where_they_do_not_fit_and_nothing_is_left_out(width):
    found = list(lay_out_columns(COLUMNS, 2, width))
    assert max(map(len, found)) <= max(width, 23 + 2 + len("alpha=0.9,") + 2 + 5)
    assert (len(found) == len(COLUMNS)) == (width >= 80)
    shown = sorted(word for line in found for word in line.split())
    assert shown == sorted(word for row in COLUMNS for text in row for word in text.split())
    firsts = [line for line in found if line[0] != " "]
    assert len({len(line) for line in firsts}) == 1  # numbers end in line
    assert (firsts[0].index("verdict"), firsts[1].index("leave")) == (25, 25)


def test_cells_are_no_markup():
    assert "[red]uniform[/]" in "\n".join(lines(200))


def test_numbers_end_and_texts_begin_in_line():
    first, second = (line for line in lines(200)[1:])
    assert first.index("1,234") + 5 == second.index(" 9 ") + 2
