"""The best-settings table as text: CSV, Markdown and LaTeX.

Formats are fixed (2 decimals for pp and percent, ``%g`` for temperature and alpha), so writing,
reading and writing again gives the same bytes. Every text ends with a newline.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\n": " ",
}


class Column(NamedTuple):
    """One column of a table for people: its heading and the text of a cell.

    Attributes:
        key: Column of the best-settings frame (also what the page sorts by).
        heading: What people read above it, with the unit.
        text: From a cell's value to its text; unknown numbers become an empty text.
    """

    key: str
    heading: str
    text: Callable[[Any], str]


def points(value: float) -> str:
    """Percentage points or percent, 2 decimals, never ``-0.00``; empty for NaN."""
    return "" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"


def setting(value: float) -> str:
    """A temperature, an alpha or a count, as short as it is exact; empty for NaN."""
    return "" if math.isnan(value) else f"{value:g}"


def columns(best: pd.DataFrame) -> list[Column]:
    """The columns people read; the CSV file has all columns of the frame.

    The spread over replicates is shown where some cell has more than one.
    """
    spread = [Column("test_gain_sd", "Its sd over replicates (pp)", points)]
    return [
        Column("pair", "Pair", str),
        Column("accuracy_gap", "Accuracy gap (pp)", points),
        Column("temperature", "T", setting),
        Column("alpha", "alpha", setting),
        Column("validation_gain", "Validation gain (pp)", points),
        Column("test_gain", "Test gain (pp)", points),
        *(spread if (best["replicates"] > 1).any() else []),
        Column("vanilla_gain", "Vanilla test gain (pp)", points),
        Column("guarded_gain", "Guarded test gain (pp)", points),
        Column("oracle_temperature", "Oracle T", setting),
        Column("oracle_alpha", "Oracle alpha", setting),
        Column("oracle_gain", "Oracle test gain (pp)", points),
        Column("advice", "Advice", str),
        Column("cells", "Cells", str),
    ]


def with_labels(best: pd.DataFrame) -> pd.DataFrame:
    """The best-settings frame with the columns ``pair`` and ``cells`` that people read."""
    pairs = zip(best["teacher"], best["student"], strict=True)
    counts = zip(best["cells_done"], best["cells_failed"], best["cells_planned"], strict=True)
    cells = [f"{d}/{p}" + (f", {f} failed" if f else "") for d, f, p in counts]
    return best.assign(pair=[pair_label(int(t), int(s)) for t, s in pairs], cells=cells)


def frame_csv(frame: pd.DataFrame, short: Collection[str] = ()) -> str:
    """All columns of a frame as CSV.

    Args:
        frame: The frame.
        short: Columns written as :func:`setting` writes; other floats as :func:`points`.
    """

    def text(key: str, value: Any) -> str:
        if isinstance(value, float):
            return setting(value) if key in short else points(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    lines = frame.astype(object).to_dict("records")
    return csv_text(frame.columns, ([text(str(k), v) for k, v in line.items()] for line in lines))


def best_csv(best: pd.DataFrame) -> str:
    """All columns of the best-settings table as CSV."""
    return frame_csv(best, {"temperature", "alpha", "oracle_temperature", "oracle_alpha"})


def best_markdown(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a Markdown pipe table under a sentence on what it holds."""
    shown = [Column("partition", "Partition", str), *columns(best)]
    lines = [
        pipe_line(column.heading for column in shown),
        pipe_line("---:" if column.text in (points, setting) else "---" for column in shown),
        *(pipe_line(cells) for cells in _texts(best, shown)),
    ]
    return "\n".join([markdown_escape(caption(best, campaign)), "", *lines]) + "\n"


def best_latex(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a LaTeX longtable with booktabs rules, ready to paste."""
    hidden = {"oracle_temperature", "oracle_alpha", "cells"}
    shown = [
        Column("partition", "Partition", str),
        *(column for column in columns(best) if column.key not in hidden),
    ]
    align = "".join("r" if column.text in (points, setting) else "l" for column in shown)
    math_names = {"T": "$T$", "alpha": r"$\alpha$"}
    head = " & ".join(math_names.get(c.heading, latex_escape(c.heading)) for c in shown) + r" \\"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{align}}}",
            rf"\caption{{{latex_escape(caption(best, campaign))}}} \\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *(" & ".join(map(latex_escape, cells)) + r" \\" for cells in _texts(best, shown)),
            r"\end{longtable}",
            r"\endgroup",
            "",
        ]
    )


def caption(best: pd.DataFrame, campaign: Campaign) -> str:
    """What the best-settings table holds, how its cells were chosen, and what it lacks."""
    missing = int((~best["complete"].astype(bool)).sum())
    unfinished = f" Not final: {missing} of {len(best)} pairs are incomplete." if missing else ""
    return (
        f"Best temperature and alpha of every teacher-student pair of campaign {campaign.name}, "
        f"{describe_selection(campaign)}; gains in percentage points; "
        f"vanilla is {describe_vanilla(campaign)}; the oracle is selected on test.{unfinished}"
    )


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _texts(best: pd.DataFrame, shown: Sequence[Column]) -> list[list[str]]:
    lines = with_labels(best).to_dict("records")
    return [[column.text(line[column.key]) for column in shown] for line in lines]


def pipe_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return raw_line(markdown_escape(cell) for cell in cells)


def raw_line(cells: Iterable[str]) -> str:
    """The same from cells that are Markdown already."""
    return f"| {' | '.join(cells)} |"


def markdown_escape(text: str) -> str:
    """Text that Markdown shows as it is, also within a table."""
    # Pipes would end the cell, and renderers pass raw HTML through.
    for character in ("\\", "|", "<", "_", "*", "`"):
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def csv_text(header: Iterable[str], lines: Iterable[Sequence[Any]]) -> str:
    """A CSV file with a header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return buffer.getvalue()
