"""How numbers, names and tables are written: texts for people, CSV, Markdown and LaTeX.

Formats are fixed (2 decimals for pp and percent, all digits of temperatures and alphas in CSV), so
writing, reading and writing again gives the same bytes. Every file ends with a newline.
"""

from __future__ import annotations

import csv
import functools
import html
import io
import math
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import pandas as pd

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS
from kdopt.data.sources.cifar10 import CIFAR10_CLASSES
from kdopt.data.sources.fashion_mnist import FASHION_MNIST_CLASSES
from kdopt.report.export_columns import label_pairs, name_export_column
from kdopt.shown import defuse_formula
from kdopt.typed import precise_duration

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


def format_points(value: float) -> str:
    """Percentage points or percent, 2 decimals, never ``-0.00``; empty for NaN."""
    # Rounding -0.001 gives -0.0; adding 0.0 takes the sign away.
    return "" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"


def format_exact(value: float) -> str:
    """A number for files, with all its digits; empty for NaN.

    What is a short number but for rounding errors is written as that.
    """
    if math.isnan(value):
        return ""
    short = f"{value:.12g}"
    return short if math.isclose(float(short), value, rel_tol=1e-14) else repr(value)


def format_ratio(value: float) -> str:
    """A number that spans powers of ten, with three digits; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.3g}"


def format_chance(value: float) -> str:
    """A probability in [0, 1] with what three digits tell; empty for NaN."""
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_signed(value: float) -> str:
    """Percentage points with their sign, such as ``+1.20``; empty for NaN."""
    text = format_points(value)
    return f"+{text}" if text and value > 0 and float(text) > 0 else text


def includes_zero(low: float, high: float) -> bool:
    """Whether an interval holds 0; none does without ends."""
    return low <= 0 <= high


def format_seconds(seconds: float) -> str:
    """Seconds, 2 decimals, and two digits of what those would show as 0; empty for NaN."""
    return f"{seconds:.2g}" if 0 < seconds < 0.01 else format_points(seconds)


def format_hours(hours: float) -> str:
    """Hours in the unit that suits them, with three digits."""
    seconds = 3600 * hours
    if seconds < 100:
        return precise_duration(seconds)
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{hours:,.3g} h"


TRANSFER_SET_TITLES = {
    "student": "Student data",
    "public_unlabeled_small": "Public unlabeled (small)",
    "public_unlabeled_large": "Public unlabeled (large)",
    "public_labeled": "Public labeled",
}


_LATER_DRAW = re.compile(r"(.+)-([2-9]|[1-9][0-9]+)\Z")


def format_title(name: object) -> str:
    """How a name is headed; later draws of a partition are told apart.

    A first draw has the name of its way of partitioning: :func:`title_partitions` tells it apart.

    >>> format_title("label_dirichlet"), format_title("uniform-2")
    ('Label dirichlet', 'Uniform, draw 2')
    """
    drawn = _LATER_DRAW.match(str(name))
    title = (drawn[1] if drawn else str(name)).replace("_", " ").capitalize()
    return f"{title}, draw {drawn[2]}" if drawn else title


def title_partitions(names: Iterable[object]) -> dict[str, str]:
    """How partitions that are shown together are headed, by name and in order.

    Args:
        names: Of all of them. Where later draws are among these, the first is told apart too; a
            name alone then means all draws of that way of partitioning.
    """
    known = list(dict.fromkeys(map(str, names)))
    repeated = {drawn[1] for name in known if (drawn := _LATER_DRAW.match(name))}
    return {
        name: f"{format_title(name)}, draw 1" if name in repeated else format_title(name)
        for name in known
    }


def explain_draws(names: Iterable[object]) -> str:
    """What "draw 2" means, in a sentence; empty where every partition is drawn once."""
    for name in map(str, names):
        if drawn := _LATER_DRAW.match(name):
            title = format_title(drawn[1])
            return (
                "The images were shared out several times in the same way, each time to other "
                f'participants: "{title}, draw 2" is the second time, and "{title}" alone means '
                "all draws together."
            )
    return ""


def format_words(name: object) -> str:
    """A formula's or a start's name as words."""
    return str(name).replace("_", " ")


def format_algorithm(name: object) -> str:
    """How people call a federated algorithm; names of other versions are shown as they are."""
    labels = {str(key): facts.label for key, facts in ALGORITHM_FACTS.items()}
    return labels.get(str(name), str(name))


def format_transfer_set(name: object) -> str:
    """How a transfer set is headed; names of other versions are shown as they are."""
    return TRANSFER_SET_TITLES.get(str(name), str(name))


def format_images(transfer_set: object) -> str:
    """A transfer set within a sentence: ``on the student's own data``."""
    if str(transfer_set) == "student":
        return "on the student's own data"
    return f"on {format_transfer_set(transfer_set).lower()}"


def make_slug(text: object) -> str:
    """Text as part of an element id or of a file's name: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")


def make_sort_key(value: Any) -> float | str:
    """What a cell sorts by. An empty key sorts last, whichever way the column is sorted."""
    if isinstance(value, float):
        # Scripts read "inf" as a word; the greatest number sorts as infinity does.
        limited = min(max(value, -sys.float_info.max), sys.float_info.max)
        return "" if math.isnan(value) else round(limited, 9)
    return value if isinstance(value, int) else str(value)


def escape_title(name: str) -> str:
    """A name in a figure.

    Figures read some tags, and names in a spec are not ours to trust, so ``<`` is escaped.
    """
    return html.escape(format_title(name), quote=False)


def escape_partitions(names: Iterable[object]) -> dict[str, str]:
    """:func:`title_partitions` for a figure: beside a row of panels or under a box."""
    return {
        name: html.escape(title, quote=False) for name, title in title_partitions(names).items()
    }


PUBLISHED_CLASSES = {"fashion_mnist": FASHION_MNIST_CLASSES, "cifar10": CIFAR10_CLASSES}


def name_classes(data: DataSettings, n_classes: int, known_names: Sequence[str] = ()) -> list[str]:
    """Names in class order; numbers where neither the store nor the data set's kind tells them.

    Args:
        data: The images of a campaign.
        n_classes: How many names are wanted.
        known_names: What the store has of them: a folder's class folders, for instance. Text of
            others, so figures have to escape it.
    """
    if len(known_names) == n_classes:
        return list(known_names)
    known = PUBLISHED_CLASSES.get(data.name, ())
    if data.checksum == "published" and len(known) == n_classes:
        return list(known)
    if data.name == "digits":
        return [f"digit {number}" for number in range(n_classes)]
    return [f"class {number}" for number in range(n_classes)]


def format_frame(frame: pd.DataFrame, short: Collection[str] = ()) -> str:
    """All columns of a frame as CSV, under the names that files have.

    Args:
        frame: The frame.
        short: Columns that :func:`format_exact` writes; :func:`format_points` writes all other
            floats.
    """

    def format_value(exact: bool, value: Any) -> str:
        if isinstance(value, float):
            return format_exact(value) if exact else format_points(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    frame = label_pairs(frame)
    keys = [str(key) for key in frame.columns]
    names = [name_export_column(key) for key in keys]
    # Of a number in [0, 1] two decimals are too few.
    exact = [k in short or name.endswith("_share") for k, name in zip(keys, names, strict=True)]
    lines = zip(*(frame[key].astype(object) for key in frame.columns), strict=True)
    return format_csv(names, (list(map(format_value, exact, line)) for line in lines))


CSV_LINES = 10_000
"""Lines of a large file that are in memory at a time."""


def format_csv(header: Iterable[str], lines: Iterable[Sequence[Any]]) -> str:
    """A CSV file with a header; a text that a spreadsheet would compute gets an apostrophe."""
    return "".join(generate_csv(header, lines))


def generate_csv(header: Iterable[str], lines: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The same in parts, for a file that is larger than its table."""
    cells = (
        [_make_cell(v) if isinstance(v, str) else v for v in line]
        for line in chain([[*header]], lines)
    )
    while some := list(islice(cells, CSV_LINES)):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(some)
        yield buffer.getvalue()


@functools.lru_cache(maxsize=4096)  # names and states come again and again
def _make_cell(text: str) -> str:
    # Before Python 3.13 a lone carriage return is not quoted, and would end the line.
    return defuse_formula(text.replace("\r\n", "\n").replace("\r", "\n"))


def format_pipe_line(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return join_pipe_line(escape_markdown(cell) for cell in cells)


def join_pipe_line(cells: Iterable[str]) -> str:
    """The same from cells that are Markdown already."""
    return f"| {' | '.join(cells)} |"


def format_pipe_table(
    head: Sequence[str], lines: Iterable[Iterable[str]], rules: Iterable[str] = ()
) -> str:
    """A Markdown table; see :func:`join_pipe_table`."""
    escaped = [[escape_markdown(cell) for cell in line] for line in (head, *lines)]
    return join_pipe_table(escaped[0], escaped[1:], rules)


def join_pipe_table(
    head: Sequence[str], lines: Iterable[Iterable[str]], rules: Iterable[str] = ()
) -> str:
    """The same from cells that are Markdown already.

    Args:
        head: Headings.
        lines: The lines below.
        rules: What stands between, ``---:`` where a column is right-aligned; none for no such one.
    """
    return "\n".join(map(join_pipe_line, [head, [*rules] or ["---"] * len(head), *lines]))


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also within a table."""
    # Pipes would end the cell, and renderers pass raw HTML through.
    for character in ("\\", "|", "<", "_", "*", "`"):
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)
