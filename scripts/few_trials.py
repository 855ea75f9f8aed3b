"""How far a few trials go on stored full grids: warm, random, a fixed portfolio, TPE, GP.

    python scripts/few_trials.py

That reads the 150 grids that come with kdopt. With --store they come from a store; with --ship they
become the ones that come with kdopt: the prior and the lessons.

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
from pathlib import Path

import pandas as pd

from kdopt.advice.lessons import SHIPPED_LESSONS, load_shipped_lessons, write_lessons
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
from kdopt.search.prior import SHIPPED_PRIOR, Point, Prior, get_point, load_shipped_prior
from kdopt.search.replay import (
    TRIAL_COUNTS,
    FullGrid,
    PointSearch,
    collect_full_grids,
    replay_searches,
)
from kdopt.search.samplers import choose_params
from kdopt.search.warm_start import read_prior
from kdopt.store.database import open_store
from kdopt.store.queries import pick_campaign, read_record, read_trials

ROOT = Path(__file__).parents[1]
RUNS = 3
"""Runs of a sampler per pair, with other seeds; their gains are averaged."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="read the grids of a campaign of this store")
    parser.add_argument("--campaign", help="which; needed if the store has several")
    parser.add_argument("--trials", type=int, nargs="+", default=TRIAL_COUNTS)
    parser.add_argument(
        "--samplers", nargs="*", default=["tpe", "gp"], choices=["tpe", "gp", "random"]
    )
    parser.add_argument("--csv", type=Path, help="write the table here")
    parser.add_argument("--ship", action="store_true", help="write what comes with kdopt")
    args = parser.parse_args()
    if args.ship and not args.store:
        parser.error("--ship takes the grids of a store: name it with --store")
    if args.store:
        campaign, grids = _read_store(args.store, args.campaign, ship=args.ship)
    else:
        campaign, grids = read_shipped_grids()
    searches = {f"{s}, cold": _make_search(campaign, s) for s in args.samplers}
    table = replay_searches(grids, campaign, searches, args.trials)
    if table.empty:
        raise SystemExit(f"'{campaign.name}' has too few full grids, or vanilla is not on its grid")
    if args.csv:
        table.to_csv(args.csv, index=False)
    print(format_table(table))


def read_shipped_grids() -> tuple[Campaign, list[FullGrid]]:
    """The campaign whose grids come with kdopt, and its pairs."""
    campaign = load_spec(ROOT / "studies" / "fashion-advice.toml").campaign
    lessons = load_shipped_lessons()["own"]
    points = [(i, a) for i, a in enumerate(lessons.actions) if a.temperature is not None]
    # The prior has its pairs in this order, too.
    order = lessons.pairs.sort_values(list(Pair._fields)).index
    grids = []
    for row, known in zip(order, load_shipped_prior().pairs, strict=True):
        line = lessons.pairs.loc[row]
        validation, test = lessons.validation[row], lessons.test[row]
        cells = {
            (a.temperature, a.alpha): PointMean(a.temperature, a.alpha, validation[i], test[i], 1)
            for i, a in points
        }
        assert all(abs(cells[p].validation_gain - r.gain) < 0.01 for p, r in known.results.items())
        control = lessons.actions.index(TRAIN_ON)
        pair = Pair(*(line[key] for key in Pair._fields))
        grids.append(FullGrid(pair, known, cells, GainPair(validation[control], test[control])))
    return campaign, grids


def _read_store(location: str, name: str | None, ship: bool) -> tuple[Campaign, list[FullGrid]]:
    store = open_store(location)
    name = pick_campaign(store, name)
    campaign, rows = read_record(store, name).campaign, read_trials(store, name)
    if ship:
        prior = _shorten_names(read_prior(store, (name,)))
        (ROOT / "kdopt" / "search" / SHIPPED_PRIOR).write_bytes(prior.to_bytes())
        source = TrainingCampaign(
            replace(campaign, name=f"{name} (comes with kdopt)"),
            rows,
            read_measurements(store, name),
        )
        lessons = write_lessons(build_training_set([source], situation) for situation in SITUATIONS)
        (ROOT / "kdopt" / "advice" / SHIPPED_LESSONS).write_bytes(lessons)
    store.close()
    return campaign, collect_full_grids(rows, campaign)


def _shorten_names(prior: Prior) -> Prior:
    """Names of weights cut short: they only tell which pairs share a model."""
    pairs = [replace(p, teacher=p.teacher[:12], student=p.student[:12]) for p in prior.pairs]
    return replace(prior, pairs=tuple(pairs))


def format_table(table: pd.DataFrame) -> str:
    """One row per search, one column per number of trials: percent and its interval."""
    text = [f"{r.fraction:.0f} ({r.low:.0f} to {r.high:.0f})" for r in table.itertuples()]
    lines = table.assign(text=text)
    order = list(dict.fromkeys(zip(lines["unknown"], lines["search"], strict=True)))
    wide = lines.pivot(index=["unknown", "search"], columns="trials", values="text")
    return str(wide.reindex(order).fillna("").to_string())


def _make_search(campaign: Campaign, sampler: Sampler) -> PointSearch:
    def search(grid: FullGrid, count: int) -> Sequence[Sequence[Point]]:
        return [_replay_sampler(campaign, sampler, grid, count, seed) for seed in range(RUNS)]

    return search


def _replay_sampler(
    campaign: Campaign, sampler: Sampler, grid: FullGrid, count: int, seed: int
) -> list[Point]:
    """The points that a sampler with this budget tries."""
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
