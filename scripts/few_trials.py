"""How far a few trials go on stored full grids: warm, random, a fixed portfolio, TPE, GP.

    python scripts/few_trials.py
    python scripts/few_trials.py --docs    # writes the table of the documentation

That reads the grids that come with kdopt. With --store (once per store) they come from stores; with
--ship these become the ones that come with kdopt: the prior and the lessons.

Nothing is trained: every point that a search may try was measured. Optuna's samplers search
between the points as well; here each of their points is moved to the nearest one that was not tried
yet. They start as they do in kdopt: vanilla first, and half of a budget below 20 is random. See
``kdopt.search.replay`` for what the numbers mean.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.advice.training_set import (
    COMES_WITH,
    SHIPPED_LESSONS,
    SITUATIONS,
    TRAIN_ON,
    TrainingCampaign,
    build_training_set,
    load_shipped_lessons,
    write_lessons,
)
from kdopt.analysis.results import GainPair, PointMean
from kdopt.campaign.settings import Campaign
from kdopt.campaign.spec import load_spec
from kdopt.campaign.stage_settings import Sampler
from kdopt.campaign.stages import plan_tune
from kdopt.campaign.studies import StudyPlan
from kdopt.features.measurements import read_measurements
from kdopt.outcome import Outcome, Pair, Scores, TrialRow
from kdopt.search.full_grids import UNKNOWN, FullGrid, collect_full_grids
from kdopt.search.prior import (
    STUDIES_PRIOR,
    Point,
    Prior,
    build_prior,
    collect_pair_results,
    get_point,
    load_shipped_prior,
)
from kdopt.search.replay import ALL_DATA, NOTHING_TAUGHT, TRIAL_COUNTS, PointSearch, replay_searches
from kdopt.search.samplers import choose_params
from kdopt.shown import format_count
from kdopt.store.database import open_store
from kdopt.store.queries import pick_campaign, read_record, read_trials

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "few-trials" / "table"
RUNS = 3
"""Runs of a sampler per pair, with other seeds; their gains are averaged."""


TABLE_DECIMALS = 6
PAGE_HEAD = """# Few trials: the whole table

Percent of what the full grid improves, on test, with 95 % intervals that take participants as
units: all that [Few trials and advice](../few-trials.md) quotes, and what else was left out. The
searches were replayed on stored grids; each section counts other pairs.
`python scripts/few_trials.py --docs` makes this page and [the same as CSV](table.csv)
again, from what comes with kdopt.

- What is not known beforehand: all pairs of the *data set*; all of that kind of *partition*, in all
  its draws and on both data sets; the *participant* that learns, as a teacher, too; all pairs of
  the *student*; the *pair*. The prior is made of all others, of both data sets.
- *warm* is the learnt search; *in rounds* it also learns from pairs of the same partition that were
  tuned before. The *fixed portfolio* is the best fixed list of the known pairs. *random*, *tpe* and
  *gp* know nothing; *cold* ones begin with vanilla, and half of their trials are random.
- With 0 trials a search takes the cell of greatest expected gain if that is above the control's.
- *epochs per pair* are what so many trials cost, with the pair's part of the control.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--store", action="append", default=[], help="read the grids of a store; may be repeated"
    )
    parser.add_argument(
        "--campaign", action="append", default=[], help="which, for each store that has several"
    )
    parser.add_argument("--data", help="only the pairs of this data set, such as fashion_mnist")
    parser.add_argument("--trials", type=int, nargs="+", default=TRIAL_COUNTS)
    parser.add_argument("--unknown", nargs="+", default=list(UNKNOWN), choices=list(UNKNOWN))
    parser.add_argument(
        "--samplers", nargs="*", default=["tpe", "gp"], choices=["tpe", "gp", "random"]
    )
    parser.add_argument("--csv", type=Path, help="write the table here")
    parser.add_argument("--docs", action="store_true", help="write docs/few-trials/")
    parser.add_argument("--ship", action="store_true", help="write what comes with kdopt")
    args = parser.parse_args()
    if args.ship and not args.store:
        parser.error("--ship takes the grids of a store: name it with --store")
    sources = read_stores(args.store, args.campaign)
    if args.ship:
        _ship(sources)
    grids = list_grids(sources)
    grids = [g for g in grids if args.data in (None, g.campaign.data.name)]
    searches = {f"{sampler}, cold": make_sampler_search(sampler) for sampler in args.samplers}
    table = replay_searches(grids, searches, args.trials, args.unknown)
    if table.empty:
        raise SystemExit("there are too few full grids, or vanilla is not on them")
    if args.csv:
        table.to_csv(args.csv, index=False)
    if args.docs:
        write_docs(table)
    print(format_table(table))


def read_stores(stores: Sequence[str], names: Sequence[str] = ()) -> list[TrainingCampaign]:
    """A campaign of each store; ``names`` says which, where a store has several."""
    return [_read_store(*found) for found in zip_longest(stores, names[: len(stores)])]


def list_grids(sources: Sequence[TrainingCampaign]) -> list[FullGrid]:
    """The full grids of some campaigns; without any those that come with kdopt."""
    if not sources:
        return read_shipped_grids()
    return [grid for source in sources for grid in collect_full_grids(source.rows, source[0])]


def read_shipped_grids() -> list[FullGrid]:
    """The pairs of the studies whose grids come with kdopt."""
    prior = load_shipped_prior([STUDIES_PRIOR])
    lessons = load_shipped_lessons()["own"]
    points = [(i, a) for i, a in enumerate(lessons.actions) if a.temperature is not None]
    control = lessons.actions.index(TRAIN_ON)
    studies = prior.source.split(", ")
    campaigns = {n: load_spec(ROOT / "studies" / f"{n}.toml").campaign for n in studies}
    names = lessons.pairs["campaign"].str.removesuffix(COMES_WITH)
    # The prior has its pairs in this order.
    lines = lessons.pairs.assign(place=names.map(studies.index))
    order = lines.sort_values(["place", *Pair._fields]).index
    grids = []
    for row, known in zip(order, prior.pairs, strict=True):
        validation, test = lessons.validation[row], lessons.test[row]
        cells = {
            (a.temperature, a.alpha): PointMean(a.temperature, a.alpha, validation[i], test[i], 1)
            for i, a in points
        }
        assert all(abs(cells[p].validation_gain - r.gain) < 0.01 for p, r in known.results.items())
        pair = Pair(*(lessons.pairs.loc[row, key] for key in Pair._fields))
        trained_on = GainPair(validation[control], test[control])
        grids.append(FullGrid(campaigns[names[row]], pair, known, cells, trained_on))
    return grids


def _read_store(location: str, name: str | None) -> TrainingCampaign:
    store = open_store(location)
    name = pick_campaign(store, name)
    source = TrainingCampaign(
        read_record(store, name).campaign, read_trials(store, name), read_measurements(store, name)
    )
    store.close()
    return source


def _ship(sources: Sequence[TrainingCampaign]) -> None:
    """Write the prior and the lessons that come with kdopt."""
    prior = _shorten_names(build_prior([(s[0], collect_pair_results(s.rows)) for s in sources]))
    named = [s._replace(campaign=replace(s[0], name=s[0].name + COMES_WITH)) for s in sources]
    found = {situation: build_training_set(named, situation) for situation in SITUATIONS}
    if len(found["own"]) != len(prior.pairs):
        raise SystemExit(
            f"{len(prior.pairs)} pairs have their full grid, and {len(found['own'])} have all "
            f"methods and the control ({'; '.join(found['own'].left_out)}): finish the campaigns"
        )
    (ROOT / "kdopt" / "search" / STUDIES_PRIOR).write_bytes(prior.to_bytes())
    (ROOT / "kdopt" / "advice" / SHIPPED_LESSONS).write_bytes(write_lessons(found.values()))


def _shorten_names(prior: Prior) -> Prior:
    """Names of weights cut short: they only tell which pairs share a model."""
    pairs = [replace(p, teacher=p.teacher[:12], student=p.student[:12]) for p in prior.pairs]
    return replace(prior, pairs=tuple(pairs))


def format_table(table: pd.DataFrame) -> str:
    """Markdown: a row per search and a column per number of trials, percent and its interval.

    Each data set begins with the epochs of training that so many trials take per pair, the control
    included.
    """
    counts = sorted(set(table["trials"]))
    head = [
        "data",
        "not known beforehand",
        "search",
        *(format_count(n, "trial") for n in counts),
    ]
    lines = [head, ["---"] * 3 + ["--:"] * len(counts)]
    for data in dict.fromkeys(table["data"]):
        rows = table[table["data"] == data]
        costs = rows.groupby("trials")["epochs"].first()
        lines.append([data, "", "epochs per pair", *(f"{costs[n]:.1f}" for n in counts)])
        for (unknown, search), found in rows.groupby(["unknown", "search"], sort=False):
            of = found.set_index("trials")
            shown = [_format_share(of.loc[n]) if n in of.index else "" for n in counts]
            lines.append([data, str(unknown), str(search), *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_docs(table: pd.DataFrame) -> None:
    """The whole table as a page of the documentation, and as a CSV file beside it."""
    table.round(TABLE_DECIMALS).to_csv(TABLE.with_suffix(".csv"), index=False)
    TABLE.with_suffix(".md").write_text(format_page(table), "utf-8")


def format_page(table: pd.DataFrame) -> str:
    """A section per data set: what 0 and 100 percent are, and a row per search."""
    text = PAGE_HEAD
    for data in dict.fromkeys(table["data"]):
        rows = table[table["data"] == data]
        ends = rows[rows["unknown"] == NOTHING_TAUGHT].set_index("search")
        none, vanilla, grid = (ends.loc[name] for name in ("none", "vanilla", "full grid"))
        name = "All pairs" if data == ALL_DATA else f"Pairs of {data}"
        text += (
            f"\n## {name}\n\n{none.pairs} pairs. With nothing tried they gain {none.gain:.2f} pp, "
            f"which is 0; with the grid, {grid.epochs:.0f} epochs per pair, {grid.gain:.2f} pp, "
            f"which is 100. Vanilla alone is at {_format_share(vanilla)}.\n\n"
        )
        shown = rows[~rows["search"].isin(["none", "vanilla", "full grid"])]
        text += format_table(shown).replace(f"| {data} | ", "| ").replace("| data | ", "| ")
        text = text.replace("| --- | --- | --- |", "| --- | --- |") + "\n"
    return text


def _format_share(row: pd.Series) -> str:
    # Rounded to whole numbers first: a share of -0.2 is 0, not -0.
    return f"{round(row.fraction)} ({round(row.low)} to {round(row.high)})"


def make_sampler_search(sampler: Sampler) -> PointSearch:
    def search(grid: FullGrid, count: int) -> Sequence[Sequence[Point]]:
        return [_replay_sampler(sampler, grid, count, seed) for seed in range(RUNS)]

    return search


def _replay_sampler(sampler: Sampler, grid: FullGrid, count: int, seed: int) -> list[Point]:
    """The points that a sampler with this budget tries."""
    campaign = grid.campaign
    tune = replace(campaign.tune, sampler=sampler, budget=count)
    other = replace(campaign, seed=campaign.seed + seed, tune=tune, replicates=1)
    plan = next(p for p in _get_plans(other) if (p.partition, p.teacher, p.student) == grid.pair)
    history: list[TrialRow] = []
    for number in range(count):
        cell = plan.cells[number] if number < len(plan.cells) else None
        wanted = get_point(cell or choose_params(other, plan, number, history))
        tried = {get_point(row.params) for row in history}
        point = min(
            (p for p in grid.cells if p not in tried),
            key=lambda p: _measure_distance(p, wanted, other),
        )
        history.append(_make_row(plan, number, point, grid.known.results[point].gain))
    return [get_point(row.params) for row in history]


_plans_by_campaign: dict[Campaign, list[StudyPlan]] = {}


def _get_plans(campaign: Campaign) -> list[StudyPlan]:
    if campaign not in _plans_by_campaign:
        _plans_by_campaign[campaign] = plan_tune(campaign)
    return _plans_by_campaign[campaign]


def _measure_distance(point: Point, wanted: Point, campaign: Campaign) -> float:
    """Distance in the space that the samplers search: log T and alpha, each over its range."""
    logs = [math.log(t) for t in campaign.tune.temperatures]
    across = (math.log(point[0]) - math.log(wanted[0])) / ((max(logs) - min(logs)) or 1.0)
    return math.hypot(across, point[1] - wanted[1])


def _make_row(plan: StudyPlan, number: int, point: Point, gain: float) -> TrialRow:
    scores = Scores(0.5, (), 0.0)
    outcome = Outcome(gain, scores, scores, 1, 1, 0.5, 0.5, 0.0, "cpu", "fp32")
    cell = {"temperature": point[0], "alpha": point[1], "replicate": 0}
    return TrialRow(
        plan.name, plan.partition, "tune", plan.teacher, plan.student, number, "COMPLETE", cell,
        outcome,
    )  # fmt: skip


if __name__ == "__main__":
    main()
