"""How far a few trials go on stored full grids: warm, random, a fixed portfolio, TPE, GP.

    python scripts/few_trials.py

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
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from kdopt.advice.lessons import COMES_WITH, SHIPPED_LESSONS, load_shipped_lessons, write_lessons
from kdopt.advice.training_set import (
    SITUATIONS,
    TRAIN_ON,
    TrainingCampaign,
    build_training_set,
)
from kdopt.analysis.results import GainPair, PointMean
from kdopt.campaign.settings import Campaign
from kdopt.campaign.spec import load_spec
from kdopt.campaign.stage_settings import Sampler
from kdopt.campaign.stages import plan_tune
from kdopt.campaign.studies import StudyPlan
from kdopt.features.measurements import read_measurements
from kdopt.outcome import Outcome, Pair, Scores, TrialRow
from kdopt.search.prior import (
    SHIPPED_PRIOR,
    Point,
    Prior,
    build_prior,
    collect_pair_results,
    get_point,
    load_shipped_prior,
)
from kdopt.search.replay import (
    TRIAL_COUNTS,
    UNKNOWN,
    FullGrid,
    PointSearch,
    collect_full_grids,
    replay_searches,
)
from kdopt.search.samplers import choose_params
from kdopt.store.database import open_store
from kdopt.store.queries import pick_campaign, read_record, read_trials

ROOT = Path(__file__).parents[1]
RUNS = 3
"""Runs of a sampler per pair, with other seeds; their gains are averaged."""


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
    parser.add_argument("--ship", action="store_true", help="write what comes with kdopt")
    args = parser.parse_args()
    if args.ship and not args.store:
        parser.error("--ship takes the grids of a store: name it with --store")
    if args.store:
        sources = [
            _read_store(location, name)
            for location, name in zip_longest(args.store, args.campaign[: len(args.store)])
        ]
        if args.ship:
            _ship(sources)
        grids = [grid for source in sources for grid in collect_full_grids(source.rows, source[0])]
    else:
        grids = read_shipped_grids()
    grids = [g for g in grids if args.data in (None, g.campaign.data.name)]
    searches = {f"{sampler}, cold": _make_search(sampler) for sampler in args.samplers}
    table = replay_searches(grids, searches, args.trials, args.unknown)
    if table.empty:
        raise SystemExit("there are too few full grids, or vanilla is not on them")
    if args.csv:
        table.to_csv(args.csv, index=False)
    print(format_table(table))


def read_shipped_grids() -> list[FullGrid]:
    """The pairs whose grids come with kdopt."""
    prior = load_shipped_prior()
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
    (ROOT / "kdopt" / "search" / SHIPPED_PRIOR).write_bytes(prior.to_bytes())
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
    head = ["data", "not known beforehand", "search", *(f"{n} trials" for n in counts)]
    lines = [head, ["---"] * 3 + ["--:"] * len(counts)]
    for data in dict.fromkeys(table["data"]):
        rows = table[table["data"] == data]
        costs = rows.groupby("trials")["epochs"].first()
        lines.append([data, "", "epochs per pair", *(f"{costs[n]:.1f}" for n in counts)])
        for (unknown, search), found in rows.groupby(["unknown", "search"], sort=False):
            of = found.set_index("trials")
            shown = [
                f"{of.fraction[n]:.0f} ({of.low[n]:.0f} to {of.high[n]:.0f})"
                if n in of.index
                else ""
                for n in counts
            ]
            lines.append([data, str(unknown), str(search), *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _make_search(sampler: Sampler) -> PointSearch:
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
