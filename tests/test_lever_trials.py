"""Trials trained again for the levers: what is written, and what the tables choose and stop."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from scripts import few_trials, lever_tables, lever_trials, teacher_tables
from scripts.lever_tables import LINE, NO_LINE, Trial, choose_gain, find_stop, follow_rule
from tests.small_campaigns import make_spec, run_campaign


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two kinds of partition, so that a search can learn from the other one."""
    folder = tmp_path_factory.mktemp("levers")
    spec = make_spec(
        name="levers",
        model="cnn",
        control=True,
        partitions=["uniform", "quantity_skew"],
        data={"train_size": 240, "test_size": 60},
        tune={"temperatures": [1], "alphas": [0.5, 0.9]},
    )
    run_campaign(spec, folder).store.close()
    return str(folder / "kdopt.db")


def test_students_around_a_trained_one_are_scored_and_told_apart(store, tmp_path, capsys):
    out, packed = tmp_path / "lines.jsonl", tmp_path / "lines.json"
    for _ in range(2):  # the second time nothing is left to do
        lever_trials.main(["lines", "--store", store, "--out", str(out)])
    lever_trials.main(["pack", str(out), "--to", str(packed)])
    records = json.loads(packed.read_text("utf-8"))
    assert len(records) == len({lever_tables.name_record(r) for r in records}) == 4
    for record in records:
        for student in ("control", "best"):
            of = record[student]
            assert of["measured"] != of["interpolated"] != of["teacher"]
            assert all(on_test is None for right, on_test in of["kept"].values() if right == 0)
    lever_tables.print_lines(packed)
    assert "| line, kept - line, interpolated | digits |" in capsys.readouterr().out


def test_from_shared_weights_steps_lead_from_the_student_to_the_teacher(tmp_path, capsys):
    spec = make_spec(
        name="shared",
        model="cnn",
        control=True,
        participants=3,
        initial_weights="shared",
        data={"train_size": 240, "test_size": 60},
    )
    run_campaign(spec, tmp_path).store.close()
    out, packed = tmp_path / "teacher.jsonl", tmp_path / "teacher.json"
    store = str(tmp_path / "kdopt.db")
    ways = ["interpolated", "measured", "teacher", "teacher measured"]
    lever_trials.main(["lines", "--store", store, "--out", str(out), "--ways", *ways])
    lever_trials.main(["pack", str(out), "--to", str(packed)])
    records = json.loads(packed.read_text("utf-8"))
    untouched = {record["student"]: record["untouched"] for record in records}
    assert len(records) == 6 and len(untouched) == 3
    for record in records:
        start = record["start"]["teacher"]
        assert start["0 0"] == [record["untouched"][0], None]
        right, test = untouched[record["teacher"]]
        assert start["0 1"] == [right, test if right > record["untouched"][0] else None]
        assert record["start"]["interpolated"] == {}
        places = {f"{s:g} {r:g}" for s, r in lever_trials.TOWARDS_SHARED}
        assert set(record["best"]["teacher"]) == places
    teacher_tables.print_teacher(packed)
    tables = capsys.readouterr().out
    ahead = sum(untouched[r["teacher"]][0] > untouched[r["student"]][0] for r in records)
    assert f"{6 - ahead} pairs of digits whose teacher is not ahead" in tables
    assert "| line and steps - line | digits | 6 |" in tables


def test_steps_are_straight_and_no_variance_is_negative():
    def state(weight, variance):
        return {
            "weight": torch.tensor([weight]),
            "bn.running_var": torch.tensor([variance]),
            "bn.num_batches_tracked": torch.tensor(7),
        }

    start, trained, towards = state(1.0, 1.0), state(3.0, 0.25), state(-1.0, 0.25)
    moved = lever_trials.move_towards(start, trained, towards, 0.5, 0.25)
    assert moved["weight"].item() == 1 + 0.5 * 2 + 0.25 * -2
    assert moved["bn.running_var"].item() == 1 + 0.5 * -0.75 + 0.25 * -0.75
    assert moved["bn.num_batches_tracked"].item() == 7
    far = lever_trials.move_towards(start, trained, towards, 1, 1)
    assert far["weight"].item() == 1 and far["bn.running_var"].item() == 0


def test_a_trial_that_came_out_otherwise_is_refused(tmp_path):
    place = {"campaign": "one", "partition": "uniform", "teacher": 0, "student": 1}
    (tmp_path / "some.jsonl").write_text(json.dumps({**place, "same": False}) + "\n{", "utf-8")
    with pytest.raises(SystemExit, match="one/uniform/t00-s01: its trials came out otherwise"):
        lever_trials.write_packed([tmp_path / "some.jsonl"], tmp_path / "packed.json")


def test_curves_end_where_the_trials_did(store, tmp_path, monkeypatch):
    # Two pairs are no prior.
    monkeypatch.setattr(lever_trials, "fit_surrogate", lambda known: None)
    monkeypatch.setattr(
        lever_trials, "follow_search", lambda _, grid, count: (list(grid.cells), [])
    )
    out = tmp_path / "curves.jsonl"
    lever_trials.main(["curves", "--store", store, "--out", str(out)])
    records = lever_trials.read_records(out)
    assert len(records) == 4
    for record in records:
        assert record["same"] and len(record["curves"]) == 2
        assert all(len(curve) == len(record["curves"][0][2]) for _, _, curve in record["curves"])


@pytest.mark.parametrize(
    ("control", "best", "places", "gain"),
    [
        ({"1": [50, None]}, {"1": [49, None]}, LINE, 0),
        ({"1": [60, 52]}, {"1": [60, 99]}, LINE, 2),
        ({"1": [60, 52], "0.5": [70, 56]}, {"1": [65, 99]}, LINE, 6),
        ({"1": [60, 52], "0.5": [70, 56]}, {"1": [65, 54]}, NO_LINE, 4),
        ({"0.25": [70, 90], "1.25": [70, 51]}, {}, LINE, 1),
    ],
)
def test_validation_chooses_and_the_first_of_equals_stays(control, best, places, gain):
    record = {
        "images": [100, 100],
        "untouched": [50, 50],
        "control": {"interpolated": control},
        "best": {"interpolated": best},
    }
    found = choose_gain(record, [("interpolated", places)], ["control", "best"])
    assert found == pytest.approx(gain)


def test_a_trial_is_stopped_once_hardly_any_other_rose_by_enough():
    rises = [np.arange(100.0), np.zeros(100)]
    trial = Trial((1.0, 0.5), np.array([0.0, 3.0, 4.0]), rises)
    assert find_stop(trial, 98.5, (1, 2)) == 1
    assert find_stop(trial, 50, (1, 2)) == 2
    assert find_stop(trial, 2.5, (1, 2)) is None
    assert find_stop(trial, 98.5, (2,)) == 2


def test_a_stopped_trial_costs_its_epochs_and_is_not_chosen():
    grid = few_trials.read_shipped_grids()[0]
    above = grid.find_fallback()[1] + 1
    rises = [np.zeros(10), np.zeros(10)]
    points = list(grid.cells)[:3]
    ends = (above, above - 5, above + 1)
    trials = [Trial(p, np.full(3, end), rises) for p, end in zip(points, ends, strict=True)]
    assert follow_rule(grid, trials, (1, 2)) == (3 + 1 + 3, [points[0], points[2]])
    assert follow_rule(grid, trials, ()) == (9, points)


def test_what_ships_is_of_the_grids_that_ship():
    grids = {lever_tables.name_pair(grid): grid for grid in few_trials.read_shipped_grids()}

    def gain(record, right):
        return pytest.approx(100 * (right - record["untouched"][0]) / record["images"][0], abs=0.01)

    lines, curves = map(lever_tables.read_found, (lever_tables.LINES, lever_tables.CURVES))
    assert {lever_tables.name_record(record) for record in lines.records} == set(grids)
    for record in lines.records:
        grid = grids[lever_tables.name_record(record)]
        ends = [record[student]["interpolated"]["1"][0] for student in ("control", "best")]
        best = max(cell.validation_gain for cell in grid.cells.values())
        assert [grid.control.validation, best] == [gain(record, right) for right in ends]
    for record in curves.records:
        cells = grids[lever_tables.name_record(record)].cells
        for *point, curve in record["curves"]:
            assert cells[tuple(point)].validation_gain == gain(record, curve[-1])


def test_what_ships_of_shared_weights_is_every_pair_of_both_campaigns():
    found = lever_tables.read_found(teacher_tables.TEACHER)
    names = Counter(record["campaign"] for record in found.records)
    assert names == {"fashion-shared": 60, "cifar10-shared": 60}
    right = {(r["campaign"], r["partition"], r["student"]): r["untouched"] for r in found.records}
    for record in found.records:
        teacher = right[record["campaign"], record["partition"], record["teacher"]]
        assert record["start"]["teacher"]["0 1"][0] == teacher[0]
