"""What a campaign of partitions that no prior has reached of its full grid, live and replayed.

    python scripts/unseen.py                    # writes docs/few-trials/unseen.md; takes minutes
    python scripts/unseen.py predict            # what the stored grids say of such a campaign
    python scripts/unseen.py pack --store searched/kdopt.db --grid-store grid/kdopt.db

``studies/fashion-unseen-4.toml`` searches and ``studies/fashion-unseen.toml`` has the full grid.
Both have a student line, and every trial also records what its trained student gains, so one grid
gives two: with the line, and the plain one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.campaign.spec import load_spec
from kdopt.campaign.stage_settings import Sampler
from kdopt.search.full_grids import FullGrid, leave_out
from kdopt.search.prior import STUDIES_PRIOR, Point, load_shipped_prior
from kdopt.search.replay import (
    build_portfolio,
    compute_random_gains,
    fit_surrogate,
    replay_warm_search,
)
from kdopt.search.surrogate import Surrogate
from kdopt.store.database import open_store
from kdopt.store.queries import read_record, read_trials
from scripts.few_trials import ROOT, make_sampler_search, read_shipped_grids
from scripts.held_out import collect_tried
from scripts.line_grids import LineGrid, collect_line_grids, pack_line_grid, unpack_line_grid
from scripts.search_judge import Judge, format_share, list_bounds

PACKED = Path(__file__).with_name("unseen.json")
PAGE = ROOT / "docs" / "few-trials" / "unseen.md"
PAGE_HEAD = """# Few trials: new partitions

What came of the campaign of
[partitions that no prior has](evidence.md#new-partitions-predicted-first);
`python scripts/unseen.py` makes this page again from what comes with kdopt.

- Every trial and the control is the best of its student line on validation, except where it says
  *without the line*; gains are on test, with 95 % intervals over participants.
- *Percent of the grid*: 0 is the better of untouched and control and 100 is the grid, all with the
  line. *Percent of the grid without the line*: 0 and 100 are those without it.
- *live* is the campaign that searched; *replayed* searches try cells of the full grid. *warm* and
  the *fixed list* learnt from the grids of the studies, which was all that came with kdopt when the
  campaign searched; *cold* ones from nothing. Vanilla is the first trial of all but
  the list and the random cells.

"""
SEARCHED, GRID = "fashion-unseen-4", "fashion-unseen"
COUNTS = (2, 4, 8)
"""Trials per pair, vanilla included."""

Gains = NDArray[np.float64]
"""Test gain of each pair, pp, (pairs,)."""


class UnseenPair(NamedTuple):
    """A pair of the campaign.

    Attributes:
        line: Its full grid and its control, each student the best of its line on validation.
        plain: The same without the line.
        tried: The points that the campaign that searched tried, in order.
    """

    line: FullGrid
    plain: FullGrid
    tried: Sequence[Point]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", default="docs", choices=["docs", "predict", "pack"])
    parser.add_argument("--store", default="storage/kdopt.db", help="of the campaign that searched")
    parser.add_argument("--grid-store", help="of the full grid [default: the same]")
    args = parser.parse_args()
    if args.command == "predict":
        print(format_prediction(read_shipped_grids()))
    elif args.command == "pack":
        pairs = collect_pairs(args.store, args.grid_store or args.store)
        PACKED.write_text(pack_pairs(pairs), "utf-8")
    else:
        PAGE.write_text(PAGE_HEAD + format_tables(read_unseen_pairs()) + "\n", "utf-8")


def format_prediction(grids: Sequence[FullGrid]) -> str:
    """Percent of its grid that a campaign on Fashion-MNIST reaches, by replay on stored grids.

    Vanilla comes first, and the others are learnt, in rounds. The kind of partition is not known.
    """
    judge = Judge([grid for grid in grids if grid.campaign.data.name == "fashion_mnist"])
    found: dict[int, dict[int, float]] = {count: {} for count in COUNTS}
    for group, known in leave_out(grids, "partition"):
        some = [grid for grid in group if grid in judge.grids]
        gains = replay_warm_search(
            fit_surrogate(known), some, COUNTS, in_rounds=True, vanilla_first=True
        )
        for count in COUNTS:
            found[count] |= {id(g): x for g, x in zip(some, gains[count], strict=True)}
    lines = ["| trials | percent of the grid |", "| --: | --: |"]
    for count in COUNTS:
        reached = np.array([found[count][id(grid)] for grid in judge.grids])
        lines.append(f"| {count} | {format_share(judge.measure_share(reached))} |")
    return f"{len(judge.grids)} pairs\n" + "\n".join(lines)


def collect_pairs(store: str, grid_store: str) -> list[UnseenPair]:
    """The pairs of every partition whose grids are full, and what was tried of each.

    Pairs are replayed in rounds, which takes all pairs of a partition.

    Raises:
        SystemExit: A trial that both campaigns have came out differently.
    """
    searched, grid = open_store(store), open_store(grid_store)
    campaign = read_record(grid, GRID).campaign
    grids = collect_line_grids(read_trials(grid, GRID), campaign)
    rows = read_trials(searched, SEARCHED)
    on_line = [found.line for found in grids]
    tried = collect_tried(rows, on_line, read_record(searched, SEARCHED).campaign)
    full = Counter(found.pair.partition for found in on_line)
    return [
        UnseenPair(*found, tried[found.line.pair])
        for found in grids
        if full[found.line.pair.partition] == len(campaign.pairs)
    ]


def pack_pairs(pairs: Iterable[UnseenPair]) -> str:
    """JSON, one line per pair; :func:`read_unseen_pairs` reads it back."""
    records = [pack_line_grid(LineGrid(p.line, p.plain)) | {"tried": p.tried} for p in pairs]
    return "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records) + "\n]\n"


def read_unseen_pairs() -> list[UnseenPair]:
    """The pairs whose results are in ``scripts/unseen.json``."""
    campaign = load_spec(ROOT / "studies" / f"{GRID}.toml").campaign
    return [
        UnseenPair(*unpack_line_grid(record, campaign), [(t, a) for t, a in record["tried"]])
        for record in json.loads(PACKED.read_text("utf-8"))
    ]


def replay_all(
    pairs: Sequence[UnseenPair], samplers: Iterable[Sampler]
) -> dict[str, dict[int, Gains]]:
    """Test gains by search and number of trials; each trial is on the line."""
    grids = [pair.line for pair in pairs]
    # What came with kdopt when the campaign searched.
    taught = Surrogate(load_shipped_prior([STUDIES_PRIOR]))
    warm = replay_warm_search(taught, grids, COUNTS, in_rounds=True, vanilla_first=True)
    listed = build_portfolio(read_shipped_grids(), max(COUNTS))
    found: dict[str, dict[int, Gains]] = {
        "warm": {count: np.array(warm[count]) for count in COUNTS},
        "fixed list": {c: _keep(grids, [listed[:c]] * len(grids)) for c in COUNTS},
        "random": {c: compute_random_gains(grids, c) for c in COUNTS},
    }
    for sampler in samplers:
        search = make_sampler_search(sampler)
        found[f"{sampler}, cold"] = {
            count: np.array(
                [np.mean([g.compute_kept_gain(run) for run in search(g, count)]) for g in grids]
            )
            for count in COUNTS
        }
    return found


def format_tables(pairs: Sequence[UnseenPair], samplers: Iterable[Sampler] = ("tpe", "gp")) -> str:
    """What was reached live, what replayed searches reach, and what the line gives everywhere."""
    judge, plain = (Judge([pair[i] for pair in pairs]) for i in (0, 1))
    rows = [
        ["", "trials", "gain, pp", "percent of the grid", "percent of the grid without the line"],
        ["---", "--:", "--:", "--:", "--:"],
    ]

    def add(name: str, trials: int, gains: Gains) -> None:
        shares = [format_share(scale.measure_share(gains)) for scale in (judge, plain)]
        rows.append([name, str(trials), f"{gains.mean():.2f}", *shares])

    replayed, whole = replay_all(pairs, samplers), len(judge.grids[0].cells)
    add("nothing, without the line", 0, plain.nothing)
    add("nothing", 0, judge.nothing)
    add("warm, live", len(pairs[0].tried), _keep(judge.grids, [pair.tried for pair in pairs]))
    for name, by_count in replayed.items():
        for count, gains in by_count.items():
            add(f"{name}, replayed", count, gains)
    add("the grid without the line", whole, plain.whole)
    add("the grid", whole, judge.whole)
    add("the best on test", whole, list_bounds(judge.grids)["the best on test"])
    differences = {
        "the line, nothing tried": judge.nothing - plain.nothing,
        "the line, the whole grid": judge.whole - plain.whole,
    }
    for name, by_count in replayed.items():
        if name != "warm":
            for count, gains in by_count.items():
                differences[f"warm - {name}, {count} trials"] = replayed["warm"][count] - gains
    compared = ["| difference | pp |", "| --- | --: |"]
    for name, more in differences.items():
        mean, low, high = judge.measure_difference(more)[:3]
        compared.append(f"| {name} | {mean:+.2f} ({low:+.2f} to {high:+.2f}) |")
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"{len(pairs)} pairs", "", *table, "", *compared])


def _keep(grids: Sequence[FullGrid], tried: Iterable[Iterable[Point]]) -> Gains:
    return np.array([g.compute_kept_gain(points) for g, points in zip(grids, tried, strict=True)])


if __name__ == "__main__":
    main()
