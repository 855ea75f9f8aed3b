"""The scripts beside the package import what it has, and do what the documentation quotes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts import coverage_of_intervals, few_trials, make_picture
from scripts.benchmarks.workers_picture import draw_saturation

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


def test_the_grids_that_ship_are_whole_and_give_the_figures_of_the_docs():
    """The prior and the lessons are of the same trials; both ends of the scale are quoted."""
    grids = few_trials.read_shipped_grids()
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
    text = (few_trials.ROOT / "docs" / "few-trials.md").read_text("utf-8")
    assert f"a mean gain of {nothing:.2f} pp is 0, the grid's {whole:.2f} pp is 100" in text


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
        cut = re.search(r"([\d,]+) commits cut", end.stdout)
        assert cut is not None and int(cut[1].replace(",", "")) > 100
