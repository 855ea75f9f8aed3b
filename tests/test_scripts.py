"""The scripts beside the package import what it has, and do what the documentation quotes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdopt.search.full_grids import collect_full_grids
from kdopt.search.posterior import scale_results
from kdopt.search.prior import STUDIES_PRIOR, load_shipped_prior
from kdopt.search.replay import replay_searches, replay_warm_search
from kdopt.search.surrogate import Surrogate
from scripts import (
    coverage_of_intervals,
    few_trials,
    goals,
    held_out,
    levers,
    line_grids,
    make_picture,
    search_judge,
    unseen,
)
from scripts.benchmarks.workers_picture import draw_saturation
from tests.analysis.synthetic import make_campaign, make_rows

SCRIPTS = Path(__file__).parents[1] / "scripts"


def make_report() -> tuple[pd.DataFrame, pd.DataFrame]:
    partition, teacher, student = make_picture.PAIR
    pair = {"partition": partition, "teacher": teacher, "student": student}
    cells = [(t, a) for t in (1.0, 4.0) for a in (0.1, 0.5)]
    trials = [
        {**pair, "stage": "tune", "temperature": t, "alpha": a, "test_gain_pp": 10 * t + a}
        for t, a in cells
    ]
    other = {**pair, "stage": "tune", "student": 3, "temperature": 1.0, "alpha": 0.1}
    best = {**pair, "temperature": 4.0, "alpha": 0.1, "vanilla_gain_pp": 1.0, "test_gain_pp": 3.0}
    return pd.DataFrame([{**best, "accuracy_gap_pp": 7.0}]), pd.DataFrame(
        [*trials, {**other, "test_gain_pp": 99.0}]
    )


def test_the_picture_shows_the_surface_of_its_pair_and_the_chosen_cell():
    figure = make_picture.draw_picture(*make_report())
    heatmap, vanilla, chosen = figure.data[:3]
    assert np.allclose(heatmap.z, [[10.1, 40.1], [10.5, 40.5]])
    assert (heatmap.x, heatmap.y) == (("1", "4"), ("0.1", "0.5"))
    assert (vanilla.x, vanilla.y) == (("1",), ("0.5",))
    assert (chosen.x, chosen.y) == (("4",), ("0.1",))


def test_the_picture_shows_vanilla_and_tuned_of_every_pair():
    figure = make_picture.draw_picture(*make_report())
    shown = {trace.name: list(trace.y) for trace in figure.data if trace.name}
    assert [1.0] in shown.values() and [3.0] in shown.values()


def test_pairs_that_share_models_resampled_as_if_independent_cover_less():
    apart = coverage_of_intervals.cover_pairs(1, 6, (0.0, 0.0))
    shared = coverage_of_intervals.cover_pairs(1, 6, (0.65, 0.1))
    assert apart > 0.85 and shared < 0.75


@pytest.fixture(scope="module")
def shipped_grids():
    return few_trials.read_shipped_grids()


def test_the_grids_that_ship_are_whole_and_give_the_figures_of_the_docs(shipped_grids):
    """The prior and the lessons are of the same trials; both ends of the scale are quoted."""
    grids = shipped_grids
    assert len(grids) == len({(grid.place, grid.pair) for grid in grids})
    # Whole campaigns: every pair of every partition of each.
    campaigns = list(dict.fromkeys(grid.campaign for grid in grids))
    assert len(grids) == sum(len(c.partitions) * len(c.pairs) for c in campaigns)
    for grid in grids:
        assert len(grid.cells) == 55
        for point, result in grid.known.results.items():
            assert abs(grid.cells[point].validation_gain - result.gain) < 0.01
    nothing, whole = (
        np.mean([grid.compute_kept_gain(choose(grid)) for grid in grids])
        for choose in (lambda _: (), lambda grid: grid.cells)
    )
    text = (few_trials.ROOT / "docs" / "few-trials" / "evidence.md").read_text("utf-8")
    assert f"a mean gain of {nothing:.2f} pp is 0, the grid's {whole:.2f} pp is 100" in text


def test_the_whole_table_is_what_the_script_makes_of_what_ships(shipped_grids):
    made = pd.read_csv(few_trials.TABLE.with_suffix(".csv"))
    assert few_trials.TABLE.with_suffix(".md").read_text("utf-8") == few_trials.format_page(made)
    again = replay_searches(shipped_grids, counts=(0, 2), unknown=["data set"])
    key = ["data", "unknown", "search", "trials"]
    both = again.merge(made, on=key, suffixes=("", "_docs"), validate="one_to_one")
    assert len(both) == len(again) == 3 * (4 + 2 + 2 + 1)
    for column in ("epochs", "fraction", "low", "high", "gain", "pairs"):
        assert np.allclose(both[column], both[f"{column}_docs"], atol=2e-6), column


def test_the_goals_and_the_line_are_what_the_script_makes_of_what_ships(shipped_grids):
    made = pd.read_csv(goals.TABLE.with_suffix(".csv"), keep_default_na=False)
    assert goals.TABLE.with_suffix(".md").read_text("utf-8") == goals.format_page(made)
    again = goals.measure_goals(shipped_grids, ["data set"])
    both = again.merge(made, on=list(goals.COLUMNS[:4]), suffixes=("", "_docs"))
    assert len(both) == len(again) == 2 * 2 * 3 + 5
    for column in goals.COLUMNS[4:]:
        assert np.array_equal(both[column], both[f"{column}_docs"]), column
    lined = goals.put_on_line(shipped_grids)
    text = (few_trials.ROOT / "docs" / "few-trials" / "evidence.md").read_text("utf-8")
    for name, points in (("the control alone", ()), ("the grid and the control", lined[0].cells)):
        gains = [
            np.mean([grid.compute_kept_gain(points) for grid in grids])
            for grids in (shipped_grids, lined)
        ]
        row = next(x for x in text.split("| all |")[-1].splitlines() if name in x)
        assert [cell.split()[0] for cell in row.split("|")[-4:-2]] == [f"{g:.2f}" for g in gains]


def test_new_partitions_give_the_figures_of_the_docs_and_the_live_search_replays():
    pairs = unseen.read_unseen_pairs()
    campaign = pairs[0].line.campaign
    assert len(pairs) == len(campaign.partitions) * len(campaign.pairs)
    assert set(unseen.format_tables(pairs, ()).splitlines()) <= set(
        unseen.PAGE.read_text("utf-8").splitlines()
    )
    grids = [pair.line for pair in pairs]
    taught = Surrogate(load_shipped_prior([STUDIES_PRIOR]))
    replayed = replay_warm_search(taught, grids, (4,), in_rounds=True, vanilla_first=True)[4]
    live = [pair.line.compute_kept_gain(pair.tried) for pair in pairs]
    assert all(len(pair.tried) == 4 for pair in pairs) and np.allclose(replayed, live)


def test_a_trial_without_its_line_gains_what_its_trained_student_gains():
    campaign = make_campaign(participants=4)
    row = next(row for row in make_rows(campaign) if row.stage == "tune")
    before = row.outcome.validation_before.accuracy, row.outcome.test_before.accuracy
    outcome = replace(
        row.outcome,
        last_validation_accuracy=before[0] + 0.02,
        last_test_accuracy=before[1] - 0.01,
    )
    plain = line_grids.leave_line(replace(row, outcome=outcome)).outcome
    assert np.allclose((plain.value, plain.validation_gain, plain.test_gain), (2, 2, -1))


def test_a_lever_that_changes_nothing_makes_no_difference_and_bounds_are_above_the_grid(
    shipped_grids, capsys
):
    some = [g for g in shipped_grids if g.pair.partition in ("specialized", "label_chunks")]
    judge = search_judge.Judge(some)
    before = judge.replay(levers.search_plainly, "data set")
    same = judge.replay(partial(levers.search_by_kind, share=0.0), "data set")
    assert all(np.allclose(before[count], same[count]) for count in search_judge.COUNTS)
    bounds = list(search_judge.list_bounds(some).values())
    assert np.allclose(bounds[0], judge.whole)
    assert np.all(bounds[-2] >= judge.whole - 1e-9) and np.all(bounds[-1] >= bounds[-2])
    judge.print_difference("same", "data set", same, before)
    assert capsys.readouterr().out.count("+0.00 (+0.00 to +0.00)") == 2 * len(search_judge.COUNTS)


def test_what_was_searched_is_measured_on_its_full_grid_and_refused_on_another():
    campaign = make_campaign(participants=4)
    rows = make_rows(campaign)
    grids = collect_full_grids(rows, campaign)
    some = [row for row in rows if row.stage != "tune" or row.number % 7 == 0]
    tried = held_out.collect_tried(some, grids, campaign)
    vanilla = campaign.tune.vanilla_point
    assert all(points[0] == vanilla and 1 < len(points) < 55 for points in tried.values())
    said = held_out.format_reached(grids, held_out.collect_tried(rows, grids, campaign))
    assert f"{len(grids)} pairs" in said and said.splitlines()[-1].endswith("| 100 |")
    assert said.splitlines()[-3].endswith("| 100 |")
    costs = held_out.format_costs({"some": some, "all": rows}, rows).splitlines()
    assert [line.split(" | ")[0] for line in costs[2:]] == ["| some", "| all"]
    index = next(i for i, row in enumerate(some) if row.stage == "tune")
    other = replace(some[index].outcome, value=some[index].outcome.value + 1)
    with pytest.raises(SystemExit, match="must differ in"):
        held_out.collect_tried([replace(some[index], outcome=other)], grids, campaign)


def test_every_lever_has_its_search_and_a_scale_per_pair(shipped_grids):
    assert list(levers.list_levers([])) == list(levers.LEVERS)
    scales = json.loads(levers.SCALES.read_bytes())
    assert set(scales) == {levers.name_pair(grid) for grid in shipped_grids}


def test_a_process_goes_on_from_a_list_to_new_points_that_are_mostly_better(shipped_grids):
    first = [(1.0, 0.5), (0.1, 0.1)]
    rises = []
    for grid in shipped_grids[::30]:
        tried = levers.search_by_process(grid, first, 6)
        assert tried[:2] == first and len(set(tried)) == 6 and set(tried) <= set(grid.cells)
        gains = [grid.known.results[point].gain for point in tried]
        rises.append(max(gains) - max(gains[:2]))
    assert np.mean(rises) > 0.5


def test_reading_at_another_temperature_and_back_is_what_it_was(shipped_grids):
    points = tuple(shipped_grids[0].cells)
    assert np.allclose(levers.make_shift(points, 1.0), np.eye(len(points)))
    logs = np.log([t for t, _ in points])
    doubled = levers.make_shift(points, 2.0) @ logs
    assert np.allclose(doubled, np.minimum(logs + np.log(2), logs.max()))
    results = [shipped_grids[0].known.results[p] for p in points]
    assert np.allclose(levers.unscale_results(scale_results(results).T), results)


def test_scripts_import_what_the_package_has():
    paths = sorted([*SCRIPTS.glob("*.py"), *(SCRIPTS / "benchmarks").glob("*.py")])
    names = [".".join(p.relative_to(SCRIPTS).with_suffix("").parts) for p in paths]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    end = subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 0, end.stderr


def test_the_gpu_bench_runs_without_a_gpu():
    options = ["--device", "cpu", "--small", "--slots", "1", "--no-tests"]
    end = subprocess.run(
        [sys.executable, "bench.py", "gpu", *options],
        cwd=SCRIPTS,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 0, end.stderr
    lines = [line.split()[:2] for line in end.stdout.splitlines() if line]
    assert ["kdopt", "1"] in lines and ["lean", "4"] in lines and ["cnn", "bf16"] in lines


@pytest.mark.parametrize(
    ("name", "said"), [("workers", "nothing lost"), ("races", "0 lost, 0 dou")]
)
def test_many_workers_at_a_store_lose_nothing_and_do_nothing_twice(tmp_path, name, said):
    """Also where connections are cut around COMMIT: before it, after it, and within it."""
    table, picture = tmp_path / "table.csv", ["--csv", str(tmp_path / "table.csv")]
    command = [sys.executable, str(SCRIPTS / "bench.py"), name, "--small"]
    end = subprocess.run(
        [*command, *(picture if name == "workers" else [])],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert end.returncode == 0, end.stderr
    assert said in end.stdout
    if name == "workers":
        assert list(pd.read_csv(table)["workers"]) == [2, 8]
        assert [t.name for t in draw_saturation(table).data][1:] == ["trials of 0.2 s"]
    else:
        cut = re.search(r"([\d,]+) commits? cut", end.stdout)
        assert cut is not None and int(cut[1].replace(",", "")) > 100
