"""How near few trials come to the goals that were set, with the student line and without it.

    python scripts/goals.py          # writes docs/few-trials/goals.csv; takes minutes
    python scripts/goals.py show     # the table as Markdown, from that file
    python scripts/goals.py pack line.jsonl    # what ``scripts/student_line.py measure`` wrote

Searches are replayed as in ``scripts/few_trials.py``, and do not know of the line. With it, the
student that is kept is the best on validation of what was tried, the untouched student, the
control's line, and the line of the pair's best cell where the search tried that cell: only these
two lines were measured (``scripts/student_lines.json``). So it is the least that the line gives.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.results import GainPair, PointMean
from kdopt.search.full_grids import FullGrid, leave_out
from kdopt.search.prior import PP_DECIMALS
from kdopt.search.replay import build_portfolio, fit_surrogate, replay_warm_search
from scripts.few_trials import ROOT, read_shipped_grids
from scripts.levers import name_pair
from scripts.search_judge import Judge, list_bounds
from scripts.student_line import find_best, name_point
from scripts.student_line_table import CONTROL, LINE, MeasuredPair, list_line, read_pairs

LINES = Path(__file__).with_name("student_lines.json")
TABLE = ROOT / "docs" / "few-trials" / "goals.csv"
COUNTS = (2, 4, 8)
GOALS: Mapping[str, tuple[int, ...]] = {
    "pair": (100, 110, 115),
    "student": (85, 100, 110),
    "partition": (85, 100, 110),
    "data set": (75, 90, 100),
}
"""What was to be reached with 2, 4 and 8 trials, percent of what the grid without a line improves,
by what is not known beforehand."""

Gains = NDArray[np.float64]
"""Test gain of each pair, pp, (pairs,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", default="write", choices=["write", "show", "pack"])
    parser.add_argument("files", type=Path, nargs="*")
    args = parser.parse_args()
    if args.command == "pack":
        LINES.write_text(pack_lines(read_pairs(args.files)))
        return
    if args.command == "write":
        measure_goals(read_shipped_grids()).to_csv(TABLE, index=False)
    print(format_goals(pd.read_csv(TABLE, dtype={"reached": str})))


def pack_lines(pairs: Iterable[MeasuredPair]) -> str:
    """JSON, one line per pair: the best on validation of two lines, as gains in pp.

    The test gain of a student that is no better than the untouched one is not known.
    """
    found = {}
    for pair in pairs:
        name = f"{pair.campaign}/{pair.pair.partition}/t{pair.pair.teacher:02d}-s{pair.pair.student:02d}"
        found[name] = []
        for line in (CONTROL, *pair.choices["best"]):
            best = max(list_line(pair, line, LINE), key=lambda tried: tried.validation)
            gains = (
                best.validation - pair.untouched.validation,
                best.test - pair.untouched.test,
            )
            found[name].append(
                [None if math.isnan(g) else round(100 * g, PP_DECIMALS) for g in gains]
            )
    lines = [f'"{name}": {json.dumps(gains)}' for name, gains in sorted(found.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def put_on_line(grids: Sequence[FullGrid]) -> list[FullGrid]:
    """The same pairs, their control and best cell the best of their lines; searches see no line."""
    packed = json.loads(LINES.read_bytes())
    lined = []
    for grid in grids:
        control, best = (
            GainPair(validation, math.nan if test is None else test)
            for validation, test in packed[name_pair(grid)]
        )
        point = find_best(grid)
        cells = {**grid.cells, point: PointMean(*point, *best, 1)}
        lined.append(grid._replace(cells=cells, control=control))
    return lined


def measure_goals(grids: Sequence[FullGrid], unknown: Iterable[str] = tuple(GOALS)) -> pd.DataFrame:
    """One row per search, number of trials, what is not known, and with the line or not."""
    lined = put_on_line(grids)
    judge = Judge(grids)
    everywhere = np.full(len(grids), True)
    rows = []

    def add(what: str, search: str, line: str, trials: object, gains: Gains) -> None:
        rows.append((what, search, line, trials, judge.estimate_share(gains, everywhere)))

    for what in unknown:
        found: dict[tuple[str, str, int], dict[int, float]] = {}
        # Both kinds of grids in one order: a group's places are those of its pairs.
        places = {id(grid): index for index, grid in enumerate(grids)}
        for group, known in leave_out(grids, what):
            where = [places[id(grid)] for grid in group]
            surrogate, listed = fit_surrogate(known), build_portfolio(known, max(COUNTS))
            for line, some in (("no", group), ("yes", [lined[index] for index in where])):
                warm = replay_warm_search(surrogate, some, COUNTS, in_rounds=len(group) > 1)
                for count in COUNTS:
                    kept = [grid.compute_kept_gain(listed[:count]) for grid in some]
                    for search, gains in (("warm", warm[count]), ("list", kept)):
                        of = found.setdefault((search, line, count), {})
                        of.update(zip(where, gains, strict=True))
        for (search, line, count), by_place in found.items():
            add(what, search, line, count, np.array([by_place[i] for i in range(len(grids))]))
    for line, some in (("no", grids), ("yes", lined)):
        for name, tried in (("none", lambda _: ()), ("grid", lambda grid: grid.cells)):
            gains = np.array([grid.compute_kept_gain(tried(grid)) for grid in some])
            add("", name, line, 0 if name == "none" else len(grids[0].cells), gains)
    bound = list_bounds(grids)["the best on test"]
    add("", "best on test", "no", len(grids[0].cells), bound)
    return pd.DataFrame(rows, columns=["unknown", "search", "line", "trials", "reached"])


def format_goals(table: pd.DataFrame) -> str:
    """Markdown: each goal, the best that was tried with that many trials, and the rest of it."""
    raise NotImplementedError


if __name__ == "__main__":
    main()
