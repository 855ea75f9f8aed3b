"""What the learnt search reaches with a wider prior, on pairs whose every cell is on a line.

    python scripts/wide_prior.py                  # writes docs/few-trials/wide.md; half an hour
    python scripts/wide_prior.py --ship           # writes the wide part of the prior
    python scripts/wide_prior.py prior features   # prints these parts

Everything is replayed on full grids that come with kdopt: those of ``scripts/wide_grids.py`` and
the 48 of ``scripts/unseen.py``. A prior has the former, the 330 of the studies, or both, each time
without what the search may not know.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.campaign.stage_settings import Sampler
from kdopt.search.full_grids import FullGrid
from kdopt.search.prior import WIDE_PRIOR, Prior
from kdopt.search.replay import (
    compute_random_gains,
)
from scripts.few_trials import ROOT, make_sampler_search
from scripts.levers import read_features
from scripts.line_grids import LineGrid
from scripts.search_judge import (
    Judge,
    average_runs,
    format_estimate,
    format_over_partitions,
    format_rows,
    format_share,
    name_pair,
)
from scripts.unseen import read_unseen_pairs
from scripts.wide_bench import (
    COUNTS,
    DATA,
    KIND,
    PARTITION,
    Bench,
    Gains,
    format_ends,
    format_goal_rows,
    make_bench,
)
from scripts.wide_both import format_both, read_both_pairs
from scripts.wide_grids import CAMPAIGNS, WidePair, read_wide_pairs
from scripts.wide_stops import format_stops

PAGE = ROOT / "docs" / "few-trials" / "wide.md"
PARTS = ("grids", "prior", "others", "goals", "both", "stops", "features", "ranks")

HEAD = """# Few trials: many partitions

Full grids of other partitions than those of the studies: other concentrations, dominant fractions,
chunks, sizes and numbers of participants, the control and all cells on the
[student line](../few-trials.md#the-student-line) 0.25, 0.5, 0.75 and 1.25. They are the wide part
of the prior that comes with kdopt. `scripts/wide_grids.py` made them, and
`python scripts/wide_prior.py` makes this page again.

- Searches are replayed on these grids and on the 48 of [new partitions](unseen.md), which are in no
  prior. They begin with vanilla, then learn in rounds, as a campaign does. Every trial and the
  control is the best of its line on validation.
- *Percent of the grid*: 0 is the better of untouched and control, 100 the grid, all with the line;
  gains are on test, with 95 % intervals over participants. These are of these partitions; for a new
  one they would be wider, as partitions differ.
- What is not known beforehand: the *partition* (its kind is known, from other partitions), its
  *kind*, or the *data set*; of the goals the *student* or the *pair*, too.
"""

OF_GRIDS = """Mean gains on test in pp. Behind a kind of partition is its
concentration, its dominant fraction, or the classes of each participant. *Both statistics* are
[batch norm's](#both-batch-norm-statistics).
"""
OF_OTHERS = """
Percent of the grid. The fixed list is the best of those pairs of the studies that are known.
"""
OF_FEATURES = """
The 234 pairs of the wide grids. The partition is not known; differences in pp. *Per class*: the
five quartiles over classes of the teacher's lead, of the student's recall and of the teacher's;
that lead, weighed by the student's images and by the teacher's; and the distance of their images by
class.
"""
OF_RANKS = """
Mean rank correlation (Spearman) of a pair's 55 accuracies on validation after an epoch with those
after the sixth and last, where curves were recorded.
"""
HEADS_OF_GRIDS = [
    "data set", "partition", "participants", "images of each", "pairs", "nothing tried", "the grid",
    "the grid without the line", "the grid with both statistics",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--ship", action="store_true", help="write the wide part of the prior")
    args = parser.parse_args()
    wide = read_wide_pairs()
    unseen = [LineGrid(pair.line, pair.plain) for pair in read_unseen_pairs()]
    if args.ship:
        path = ROOT / "kdopt" / "search" / WIDE_PRIOR
        path.write_bytes(make_prior(wide).to_bytes())
        return
    bench = make_bench(wide, unseen)
    found = {part: part in (args.parts or PARTS) for part in PARTS}
    text = "\n".join(format_part(part, bench, wide) for part, wanted in found.items() if wanted)
    if args.parts:
        print(text)
    else:
        PAGE.write_text(f"{HEAD}\n{text}", "utf-8")


def make_prior(pairs: Sequence[WidePair]) -> Prior:
    """The prior of these pairs, each student the best of its line."""
    first = pairs[0].line
    return Prior(
        "wide grids",
        first.campaign.tune.t2_scale,
        tuple(first.cells),
        tuple(pair.line.known for pair in pairs),
    )


def format_part(part: str, bench: Bench, wide: Sequence[WidePair]) -> str:
    """A section of the page."""
    make = {
        "grids": lambda: format_grids(wide),
        "prior": lambda: format_priors(bench),
        "others": lambda: format_others(bench),
        "goals": lambda: format_goals(bench),
        "both": lambda: format_both(wide),
        "stops": lambda: format_stops(bench),
        "features": lambda: format_features(make_bench(wide, ()), wide),
        "ranks": lambda: format_ranks(wide),
    }
    return make[part]()


def format_grids(wide: Sequence[WidePair]) -> str:
    """Each campaign, and what its pairs gain with nothing tried and with the grid."""
    rows = [HEADS_OF_GRIDS, ["---", "---", *["--:"] * 7]]
    both = {id(pair.wide): pair.both for pair in read_both_pairs(wide)}
    for campaign in CAMPAIGNS:
        some = [pair for pair in wide if pair.line.campaign.name == campaign.name]
        if not some:
            continue
        kept = [
            [pair.line.compute_kept_gain(()) for pair in some],
            [pair.line.compute_kept_gain(pair.line.cells) for pair in some],
            [pair.plain.compute_kept_gain(pair.plain.cells) for pair in some],
            [
                grid.compute_kept_gain(grid.cells)
                for grid in (both.get(id(p)) for p in some)
                if grid
            ],
        ]
        # A mean of some of the pairs would not be beside that of all.
        means = [f"{np.mean(of):.2f}" if len(of) == len(some) else "" for of in kept]
        value = "" if campaign.value is None else f" {campaign.value:g}"
        partition = campaign.kind.replace("_", " ") + value
        counts = map(str, (campaign.participants, campaign.images, len(some)))
        rows.append([campaign.data, partition, *counts, *means])
    places = {pair.line.place for pair in wide}
    return (
        f"\n## The grids\n\n{len(wide)} pairs of {len(places)} partitions. {OF_GRIDS}\n"
        + format_rows(rows)
    )


def format_priors(bench: Bench) -> str:
    """The learnt search with each prior."""
    heads = ["not known", "prior", *(f"{count} trials" for count in COUNTS)]
    shares = [heads, ["---", "---", *["--:"] * len(COUNTS)]]
    more = [heads, ["---", "---", *["--:"] * len(COUNTS)]]
    for unknown in (PARTITION, KIND, DATA):
        before: Gains | None = None
        for prior in bench.priors:
            gains = bench.replay(prior, unknown)
            shares.append([unknown, prior, *format_shares(bench.judge, gains)])
            if before is not None:
                more.append([unknown, prior, *format_differences(bench.judge, gains, before)])
            before = before or gains
    return (
        f"\n## A wider prior\n\nPercent of the grid, {len(bench.line)} pairs:\n\n"
        + format_rows(shares)
        + "\nThe difference to the studies alone, in pp:\n\n"
        + format_rows(more)
    )


def format_others(bench: Bench, samplers: Sequence[Sampler] = ("tpe", "gp")) -> str:
    """Searches of equal cost beside the learnt one, and its lead over each."""
    judge, counts = bench.judge, [count for count in COUNTS if count]
    others: dict[str, Gains] = {"random": {c: compute_random_gains(bench.line, c) for c in counts}}
    for sampler in samplers:
        search = make_sampler_search(sampler)
        others[f"{sampler}, cold"] = {
            c: average_runs(bench.line, partial(search, count=c)) for c in counts
        }
    heads = ["not known", "search", *(f"{count} trials" for count in counts)]
    shares = [heads, ["---", "---", *["--:"] * len(counts)]]
    shares += [["", name, *format_shares(judge, gains)] for name, gains in others.items()]
    leads = [["not known", "beside", *heads[2:]], shares[1]]
    wide_leads = list(leads)
    for unknown in (PARTITION, KIND, DATA):
        warm, listed = bench.replay("both", unknown), bench.replay_list(unknown)
        shares.append([unknown, "fixed list", *format_shares(judge, listed)])
        for name, gains in {"fixed list": listed, **others}.items():
            leads.append([unknown, name, *format_differences(judge, warm, gains)])
            over = [format_over_partitions(bench.line, warm[c] - gains[c]) for c in counts]
            wide_leads.append([unknown, name, *over])
    return (
        f"\n## Beside others of equal cost\n{OF_OTHERS}\n"
        + format_rows(shares)
        + "\nThe lead of the learnt search with both priors, in pp:\n\n"
        + format_rows(leads)
        + "\nThe same with partitions as units, as for a partition that is not among these:\n\n"
        + format_rows(wide_leads)
    )


def format_goals(bench: Bench) -> str:
    """What was wanted, in percent of the grid without the line."""
    return (
        "\n## The goals\n\nPercent of what the grid *without* the line improves, as the\n"
        "[goals](goals.md) count, with both priors.\n"
        f"With the line, {format_ends(bench)}\n\n" + format_goal_rows(bench)
    )


def format_features(bench: Bench, wide: Sequence[WidePair]) -> str:
    """More features of a pair, beside those that the search has."""
    studies = read_features(())
    known = {id(pair.line): pair for pair in wide}
    names = list(wide[0].features)

    def describe(grid: FullGrid) -> Sequence[float]:
        if id(grid) in known:
            return [known[id(grid)].features[name] for name in names]
        return studies.get(name_pair(grid), [np.nan] * len(names))

    def describe_classes(grid: FullGrid) -> Sequence[float]:
        return summarize_classes(known[id(grid)].classes) if id(grid) in known else [np.nan] * 18

    def describe_all(grid: FullGrid) -> Sequence[float]:
        return [*describe(grid), *describe_classes(grid)]

    rows = [
        ["prior", "features", *(f"{count} trials" for count in COUNTS)],
        ["---", "---", *["--:"] * len(COUNTS)],
    ]
    for prior, tried in (
        ("both", {"labels and models": describe}),
        (
            "the wide grids",
            {
                "labels and models": describe,
                "per class": describe_classes,
                "labels, models and per class": describe_all,
            },
        ),
    ):
        before = bench.replay(prior, PARTITION)
        rows.append([prior, "as it is, percent", *format_shares(bench.judge, before)])
        for name, features in tried.items():
            gains = bench.replay(prior, PARTITION, features)
            rows.append([prior, name, *format_differences(bench.judge, gains, before)])
    return f"\n## More features\n{OF_FEATURES}\n" + format_rows(rows)


def summarize_classes(classes: Sequence[Sequence[float]]) -> list[float]:
    """18 numbers that do not depend on the order of the classes."""
    teacher, student, taught, own = (np.array(each) for each in classes)
    lead = teacher - student
    quartiles = [np.quantile(each, (0, 0.25, 0.5, 0.75, 1)) for each in (lead, student, teacher)]
    return [
        *(float(x) for each in quartiles for x in each),
        float(own @ lead),
        float(taught @ lead),
        float(np.abs(taught - own).sum()),
    ]


def format_ranks(wide: Sequence[WidePair]) -> str:
    """How the ranks of cells after each epoch are like those at the end."""
    rows = [["partition", "pairs", *(f"epoch {e}" for e in range(1, 6))], ["---", *["--:"] * 6]]
    for campaign in CAMPAIGNS:
        found = [p.ranks for p in wide if p.line.campaign.name == campaign.name and p.ranks]
        if found:
            means = np.nanmean(found, axis=0)[:-1]
            rows.append([campaign.name, str(len(found)), *(f"{mean:.2f}" for mean in means)])
    return f"\n## Ranks on the way\n{OF_RANKS}\n" + format_rows(rows)


def format_shares(judge: Judge, gains: Gains) -> list[str]:
    return [format_share(judge.measure_share(gains[count])) for count in gains]


def format_differences(judge: Judge, gains: Gains, before: Gains) -> list[str]:
    """Differences in pp; bold where the interval leaves out 0."""
    shown = []
    for count in before:
        shown.append(format_estimate(judge.measure_difference(gains[count] - before[count])))
    return shown


if __name__ == "__main__":
    main()
