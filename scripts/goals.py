"""How near few trials come to the goals that were set, with the student line and without it.

    python scripts/goals.py          # writes docs/few-trials/goals.md and .csv; takes minutes
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
from scripts.search_judge import Judge, format_share, list_bounds
from scripts.student_line import find_best
from scripts.student_line_table import CONTROL, LINE, MeasuredPair, list_line, read_pairs

LINES = Path(__file__).with_name("student_lines.json")
TABLE = ROOT / "docs" / "few-trials" / "goals"
COUNTS = (2, 4, 8)
GOALS: Mapping[str, tuple[int, ...]] = {
    "pair": (100, 110, 115),
    "student": (85, 100, 110),
    "partition": (85, 100, 110),
    "data set": (75, 90, 100),
}
"""What was to be reached with 2, 4 and 8 trials, percent of what the grid without a line improves,
by what is not known beforehand."""

COLUMNS = ("unknown", "search", "line", "trials", "share", "low", "high")
NONE, GRID, BOUND = "nothing", "the grid", "the best on test"

SHOWN = (
    ("warm", "warm", "no"),
    ("fixed list", "list", "no"),
    ("warm, line", "warm", "yes"),
    ("fixed list, line", "list", "yes"),
)
"""Columns of the page: their head, the search, and whether the line is on."""

PAGE = """# Few trials: the goals

Percent of what the grid without a [student line](../few-trials.md#the-student-line) improves, on
test, over the better of untouched and control, with 95 % intervals over participants; 330 pairs of
both data sets. `python scripts/goals.py` makes this page and [the same as CSV](goals.csv) again
from what comes with kdopt.

*warm* is the learnt search, in rounds except where only the pair is not known. The searches do not
know of the line. With it, the best on validation is kept of: what was tried, the line of the
control, and the line of the pair's best cell where the search came to it. The lines of other cells
were not measured here; [many partitions](evidence.md#many-partitions) have them.

{}

*Within the interval*: the best of the row falls short by less than its interval.

What lies at both ends, and the luckiest on test of all that was measured without the line:

{}
"""

Gains = NDArray[np.float64]
"""Test gain of each pair, pp, (pairs,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", default="docs", choices=["docs", "pack"])
    parser.add_argument("files", type=Path, nargs="*")
    args = parser.parse_args()
    if args.command == "pack":
        LINES.write_text(pack_lines(read_pairs(args.files)), "utf-8")
        return
    table = measure_goals(read_shipped_grids())
    table.to_csv(TABLE.with_suffix(".csv"), index=False)
    TABLE.with_suffix(".md").write_text(format_page(table), "utf-8")


def pack_lines(pairs: Iterable[MeasuredPair]) -> str:
    """JSON, one line per pair: the best on validation of its two lines, as gains in pp.

    The test gain of a student that is no better than the untouched one is not known.
    """
    found = []
    for measured in pairs:
        before, lines = measured.untouched, [CONTROL, *measured.choices["best"]]
        kept = [max(list_line(measured, name, LINE), key=lambda t: t.validation) for name in lines]
        gains = [(best.validation - before.validation, best.test - before.test) for best in kept]
        both = [
            [None if math.isnan(g) else round(100 * g, PP_DECIMALS) for g in of] for of in gains
        ]
        found.append([measured.campaign, *measured.pair, *both])
    return "[\n" + ",\n".join(map(json.dumps, sorted(found, key=lambda row: row[:4]))) + "\n]\n"


def put_on_line(grids: Sequence[FullGrid]) -> list[FullGrid]:
    """The same pairs, their control and best cell the best of their lines; searches see no line."""
    packed = {tuple(row[:4]): row[4:] for row in json.loads(LINES.read_bytes())}
    lined = []
    for grid in grids:
        control, best = (
            GainPair(validation, math.nan if test is None else test)
            for validation, test in packed[grid.campaign.name, *grid.pair]
        )
        point = find_best(grid)
        cells = {**grid.cells, point: PointMean(*point, *best, 1)}
        lined.append(grid._replace(cells=cells, control=control))
    return lined


def measure_goals(grids: Sequence[FullGrid], unknown: Iterable[str] = tuple(GOALS)) -> pd.DataFrame:
    """One row per search, number of trials, what is not known, and with the line or not."""
    lined = put_on_line(grids)
    judge = Judge(grids)
    rows: list[tuple[object, ...]] = []

    def add(what: str, search: str, line: str, trials: int, gains: Gains) -> None:
        rows.append((what, search, line, trials, *map(round, judge.measure_share(gains))))

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
    whole = len(grids[0].cells)
    for line, some in (("no", grids), ("yes", lined)):
        for search, trials in ((NONE, 0), (GRID, whole)):
            tried = [grid.cells if trials else () for grid in some]
            kept = [
                grid.compute_kept_gain(points) for grid, points in zip(some, tried, strict=True)
            ]
            add("", search, line, trials, np.array(kept))
    add("", BOUND, "no", whole, list_bounds(grids)[BOUND])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def format_page(table: pd.DataFrame) -> str:
    """Each goal beside what was reached with that many trials, and both ends and the bound."""
    shares = {
        tuple(row[:4]): (int(row[4]), int(row[5]), int(row[6]))
        for row in table.fillna("").itertuples(index=False)
    }
    heads = ["not known", "trials", "goal", *(name for name, _, _ in SHOWN), ""]
    lines = [heads, ["---", "--:", "--:", *["--:"] * len(SHOWN), "---"]]
    for what, goals in GOALS.items():
        for count, goal in zip(COUNTS, goals, strict=True):
            found = [shares[what, search, line, count] for _, search, line in SHOWN]
            shown = [format_share(share) for share in found]
            lines.append([what, str(count), str(goal), *shown, rate_goal(goal, found)])
    whole = max(trials for *_, trials in shares)
    ends = [["tried", "without the line", "with the line"], ["---", "--:", "--:"]]
    for search, trials in ((NONE, 0), (GRID, whole), (BOUND, whole)):
        both = [shares.get(("", search, line, trials)) for line in ("no", "yes")]
        ends.append([search, *(format_share(share) if share else "" for share in both)])
    tables = ["\n".join(f"| {' | '.join(line)} |" for line in part) for part in (lines, ends)]
    return PAGE.format(*tables)


def rate_goal(goal: int, found: Iterable[tuple[int, int, int]]) -> str:
    """Whether the best of what was tried reaches a goal."""
    share, _, high = max(found)
    if share >= goal:
        return "reached"
    return "within the interval" if high >= goal else "not reached"


if __name__ == "__main__":
    main()
