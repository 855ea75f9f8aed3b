"""The grids of many partitions with both batch-norm statistics tried at every place of every line.

    python scripts/wide_both.py run --store both/kdopt.db    # an hour and a half on two cores
    python scripts/wide_both.py pack --store both/kdopt.db   # writes scripts/wide_both.json

The campaigns of ``scripts/wide_grids.py`` with ``batch_norm = "both"``: the same pairs, models and
trained students. ``scripts/wide_prior.py`` says what that gives.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.errors import KdoptError
from kdopt.search.full_grids import FullGrid
from kdopt.search.prior import Point
from kdopt.store.database import open_store
from kdopt.store.queries import list_campaigns, read_record, read_trials
from scripts.few_trials import make_sampler_search
from scripts.line_grids import LineGrid, collect_line_grids, replace_results, round_gains
from scripts.search_judge import (
    average_runs,
    format_estimate,
    format_over_partitions,
    format_rows,
    format_share,
    name_pair,
)
from scripts.wide_bench import (
    COUNTS,
    DATA,
    KIND,
    PARTITION,
    Bench,
    format_ends,
    format_goal_rows,
    list_priors,
)
from scripts.wide_grids import CAMPAIGNS, WidePair, read_wide_pairs, run_campaigns

PACKED = Path(__file__).with_name("wide_both.json")

HEAD = """
## Both batch-norm statistics

{pairs} of the pairs above with `batch_norm = "both"`: at every place of every line, that of the
control too, students with interpolated and with measured statistics are tried. In percent of what
the paper's grid improves on test, which has no line and the statistics that training leaves: 0 is
the better of untouched and control, {nothing:.2f} pp, and 100 the grid, {whole:.2f} pp. *The line*
has interpolated statistics alone. The learnt search has both priors without the partition (the
studies have no line, the wide grids such lines) and learns in rounds; the Gaussian process has
learnt nothing. Both begin with vanilla, which is one of the trials. With 0 trials there is the
control alone.

"""
OF_DIFFERENCES = """
What both add to the line with interpolated ones alone (*running*), in pp, with participants and
with partitions as units:

"""
OF_PROMISES = """
What validation promises exceeds what test gives by {} pp more with both than with interpolated
ones for the control alone, and by {} for the grid and the control.
"""
OF_PRIORS = """
What the learnt search gains more, in pp, with both statistics and a prior whose wide part has both,
too, than with the prior that comes with kdopt:

"""
HEADS = ("chosen among", "pairs of", "running", "both", "difference", "partitions as units")
PRIOR_OF_BOTH = "with both statistics"


class BothPair(NamedTuple):
    """A pair with either setting.

    Attributes:
        wide: With interpolated statistics alone.
        both: Its full grid, each student the best of its line with either statistics.
    """

    wide: WidePair
    both: FullGrid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "pack"])
    parser.add_argument("--store", required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.command == "run":
        run_campaigns(args.store, args.workers, "both")
    else:
        PACKED.write_text(pack_store(args.store), "utf-8")


def pack_store(location: str) -> str:
    """JSON, one line per pair of a store; :func:`read_both_pairs` reads it back.

    Raises:
        KdoptError: Its trained students are others than those of ``scripts/wide_grids.json``.
    """
    known = {name_pair(pair.line): pair for pair in read_wide_pairs()}
    store = open_store(location)
    records = []
    for campaign in CAMPAIGNS:
        if campaign.name in list_campaigns(store):
            rows = read_trials(store, campaign.name)
            settings = read_record(store, campaign.name).campaign
            records += [
                pack_pair(known[name_pair(grid.line)], grid)
                for grid in collect_line_grids(rows, settings)
            ]
    store.close()
    return "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n"


def pack_pair(wide: WidePair, found: LineGrid) -> dict[str, Any]:
    """Plain values for JSON.

    Raises:
        KdoptError: The trained students are others than those of the pair.
    """
    grid = found.line
    points = list(wide.line.cells)
    for point in points:
        before, after = (
            round_gains([cells[point].validation_gain, cells[point].test_gain])
            for cells in (wide.plain.cells, found.plain.cells)
        )
        if before != after:
            where = f"T = {point[0]:g}, alpha = {point[1]:g}"
            raise _refuse_others(f"{name_pair(grid)} at {where}", before, after)
    before, after = map(round_gains, (wide.plain.control, found.plain.control))
    if before != after:
        raise _refuse_others(f"the control of {name_pair(grid)}", before, after)
    return {
        "pair": name_pair(grid),
        "control": round_gains(grid.control),
        "results": [grid.known.results[point] for point in points],
        "test": round_gains(grid.cells[point].test_gain for point in points),
    }


def _refuse_others(what: str, before: Sequence[float], after: Sequence[float]) -> KdoptError:
    return KdoptError(
        f"{what}: gains {after} pp where scripts/wide_grids.json has {before}; run both on the "
        "same machine"
    )


def read_both_pairs(wide: Sequence[WidePair]) -> list[BothPair]:
    """The pairs whose results are in ``scripts/wide_both.json``."""
    records = {record["pair"]: record for record in json.loads(PACKED.read_text("utf-8"))}
    return [
        BothPair(pair, unpack_pair(pair, records[name_pair(pair.line)]))
        for pair in wide
        if name_pair(pair.line) in records
    ]


def unpack_pair(wide: WidePair, record: Mapping[str, Any]) -> FullGrid:
    """The grid of a pair as :func:`pack_pair` wrote it."""
    return replace_results(wide.line, record["results"], record["test"], record["control"])


def format_both(wide: Sequence[WidePair]) -> str:
    """What both statistics give, beside interpolated ones alone."""
    pairs = read_both_pairs(wide)
    running, both = make_statistics_benches(pairs, wide)
    rows: list[Sequence[str]] = [HEADS, ["---", "---", *["--:"] * 4]]
    for name, gains in list_ends(running, both).items():
        rows += compare_gains(name, running, *gains, *running.judge.split())
    priors: list[Sequence[str]] = [
        ["not known", *(f"{count} trials" for count in COUNTS[1:])],
        ["---", *["--:"] * len(COUNTS[1:])],
    ]
    for unknown in (PARTITION, KIND, DATA):
        before, after, other = (
            bench.replay(prior, unknown)
            for bench, prior in ((running, "both"), (both, "both"), (both, PRIOR_OF_BOTH))
        )
        for count in COUNTS[1:]:
            name = f"{count} trials, {unknown} not known"
            rows += compare_gains(name, running, before[count], after[count])
        more = [both.judge.measure_difference(other[c] - after[c]) for c in COUNTS[1:]]
        priors.append([unknown, *map(format_estimate, more)])
    return (
        format_head(both)
        + format_rows(summarize(running, both))
        + OF_DIFFERENCES
        + format_rows(rows)
        + format_promises(running, both)
        + OF_PRIORS
        + format_rows(priors)
        + f"\nThe goals with both statistics, in percent as above: {format_ends(both)}\n\n"
        + format_goal_rows(both, "warm, both statistics")
    )


def format_head(both: Bench) -> str:
    """How many pairs there are and what the scale's ends are."""
    ends = {"nothing": both.plain.nothing.mean(), "whole": both.plain.whole.mean()}
    return HEAD.format(pairs=len(both.line), **ends)


def summarize(running: Bench, both: Bench) -> list[Sequence[str]]:
    """What few trials and all give, in the paper's setting, on the line, and with both."""
    plain, search = both.plain, make_sampler_search("gp")
    cold = {c: average_runs(plain.grids, partial(search, count=c)) for c in COUNTS[1:]}
    rows = [
        ("the paper's", "a Gaussian process", plain.nothing, cold, plain.whole),
        *(
            (
                name,
                "learnt",
                bench.judge.nothing,
                bench.replay("both", PARTITION),
                bench.judge.whole,
            )
            for name, bench in (("the line", running), ("the line and both statistics", both))
        ),
    ]
    return [
        ["setting", "search", "0 trials", *(f"{c} trials" for c in COUNTS[1:]), "55 trials"],
        ["---", "---", *["--:"] * (2 + len(COUNTS[1:]))],
        *(
            [
                name,
                searched,
                *(
                    format_share(plain.measure_share(gains))
                    for gains in (nothing, *(found[c] for c in COUNTS[1:]), whole)
                ),
            ]
            for name, searched, nothing, found, whole in rows
        ),
    ]


def make_statistics_benches(
    pairs: Sequence[BothPair], wide: Sequence[WidePair]
) -> tuple[Bench, Bench]:
    """The pairs with interpolated statistics alone, and with both.

    Priors have interpolated ones, as those that come with kdopt, or both: :data:`PRIOR_OF_BOTH`.
    """
    priors = list_priors([pair.line for pair in wide])
    with_both = {id(pair.wide.line): pair.both for pair in pairs}
    priors[PRIOR_OF_BOTH] = [with_both.get(id(grid), grid) for grid in priors["both"]]
    return (
        Bench([LineGrid(pair.wide.line, pair.wide.plain) for pair in pairs], priors),
        Bench([LineGrid(pair.both, pair.wide.plain) for pair in pairs], priors),
    )


def list_ends(
    running: Bench, both: Bench
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Test gains with either setting where nothing is tried and where everything is."""
    return {
        "the control": (running.judge.nothing, both.judge.nothing),
        "the grid and the control": (running.judge.whole, both.judge.whole),
    }


def compare_gains(
    name: str,
    bench: Bench,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *parts: tuple[str, NDArray[np.bool_]],
) -> Iterator[list[str]]:
    """A row for all pairs, and before it one for those of each part."""
    for data, some in (*parts, ("all", np.full(len(bench.line), True))):
        more = bench.judge.measure_difference(after - before, some)
        grids = [grid for grid, counts in zip(bench.line, some, strict=True) if counts]
        over = format_over_partitions(grids, (after - before)[some])
        means = (f"{gains[some].mean():.2f}" for gains in (before, after))
        yield [name, data, *means, format_estimate(more), over]


def format_promises(running: Bench, both: Bench) -> str:
    """By how much more gains on validation exceed those on test with both statistics."""
    found = []
    for every in (False, True):
        more = [
            measure_promise(b, b.cells if every else ())
            - measure_promise(a, a.cells if every else ())
            for a, b in zip(running.line, both.line, strict=True)
        ]
        found.append(format_estimate(running.judge.measure_difference(np.array(more))))
    return OF_PROMISES.format(*found)


def measure_promise(grid: FullGrid, tried: Collection[Point]) -> float:
    """Gain on validation minus gain on test of what is kept, pp."""
    validation = max(grid.find_fallback()[1], *(grid.cells[p].validation_gain for p in tried), 0.0)
    return validation - grid.compute_kept_gain(tried)


if __name__ == "__main__":
    main()
