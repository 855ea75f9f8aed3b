"""The script that measures the student line: what it writes, and how its tables choose."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest

from kdopt.outcome import Pair
from scripts import student_line
from scripts.student_line_table import (
    LINE,
    NO_LINE,
    MeasuredPair,
    Tried,
    choose_student,
    follow_verdict,
    format_tables,
    has_students,
    read_pairs,
)
from tests.small_campaigns import make_spec, run_campaign

IMAGES = 400


def make_student(validation, test, place=1.0):
    """The first images are the right ones."""
    right = np.arange(IMAGES) < round(validation * IMAGES)
    return Tried(validation, test, base64.b64encode(np.packbits(right)).decode(), place)


def make_pair(control, best, number=0):
    """A pair with an untouched student at 0.5; lines are (validation, test) by place."""
    lines = {
        name: {
            way: {place: make_student(*scores, place) for place, scores in line.items()}
            for way in ("interpolated", "measured")
        }
        for name, line in (("control", control), ("1 0.5", best))
    }
    return MeasuredPair(
        "made",
        "digits",
        "uniform",
        Pair("uniform", number, number + 1),
        IMAGES,
        make_student(0.5, 0.5, 0.0),
        lines,
        [make_student(*best[1.0])],
        {
            "": [],
            **{key: ["1 0.5"] for key in ("vanilla", "best", "list 2")},
            "list 1": [],
            "list 4": [],
        },
        True,
    )


@pytest.mark.parametrize(
    ("control", "best", "places", "kept"),
    [
        # Nothing is better than the untouched student, which wins ties.
        ({1.0: (0.5, 0.9)}, {1.0: (0.4, 0.9)}, LINE, (0, 0, 0)),
        # Validation chooses, whatever test says, and the control before a cell that is as good.
        ({1.0: (0.6, 0.5)}, {1.0: (0.6, 0.9)}, LINE, (10, 0, 1)),
        # A place of the line is one more student; among equals the trained one.
        ({1.0: (0.5, 0.5)}, {1.0: (0.6, 0.6), 0.5: (0.7, 0.8)}, LINE, (20, 30, 0.5)),
        ({1.0: (0.5, 0.5)}, {1.0: (0.6, 0.6), 0.5: (0.7, 0.8)}, NO_LINE, (10, 10, 1)),
        ({1.0: (0.5, 0.5)}, {0.25: (0.7, 0.9), 1.0: (0.7, 0.8)}, LINE, (20, 30, 1)),
        # 1.5 is not among the places of the line.
        ({1.0: (0.5, 0.5)}, {1.0: (0.6, 0.6), 1.5: (0.9, 0.9)}, LINE, (10, 10, 1)),
    ],
)
def test_the_best_on_validation_is_kept(control, best, places, kept):
    found = choose_student(make_pair(control, best), "best of the grid, control", places)
    assert found == pytest.approx(kept)


@pytest.mark.parametrize(
    ("control", "best", "place"),
    [
        ({1.0: (0.5, 0.5)}, {1.0: (0.505, 0.9)}, 0.0),
        ({1.0: (0.6, 0.5)}, {1.0: (0.605, 0.9)}, 1.0),
        ({1.0: (0.6, 0.5)}, {1.0: (0.605, 0.9), 0.5: (0.7, 0.9)}, 0.5),
    ],
)
def test_the_verdict_follows_the_simplest_that_is_not_measurably_worse(control, best, place):
    pair = make_pair(control, best)
    assert follow_verdict(pair, "best of the grid, control", LINE).place == place
    assert follow_verdict(pair, "list of 2, control", LINE).place == place


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two data sets, as their names say, whose models have batch norm."""
    folders = []
    for name, seed in (("one", 0), ("other", 1)):
        folder = tmp_path_factory.mktemp(name)
        spec = make_spec(
            name=name,
            seed=seed,
            model="cnn",
            control=True,
            data={"train_size": 160, "test_size": 60},
            tune={"temperatures": [1], "alphas": [0.5, 0.9]},
        )
        run_campaign(spec, folder).store.close()
        folders.append(str(folder / "kdopt.db"))
    return folders


def test_finished_trials_are_trained_again_and_scored_on_the_line(stores, tmp_path, capsys):
    out = tmp_path / "line.jsonl"
    given = [part for store in stores for part in ("--store", store)]
    measure = ["measure", *given, "--out", str(out)]
    student_line.main([*measure, "--pairs", "3"])
    assert len(out.read_text("utf-8").splitlines()) == 3
    student_line.main(measure)
    records = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len({(r["campaign"], r["teacher"], r["student"]) for r in records}) == len(records) == 4
    for record in records:
        for name, line in record["lines"].items():
            assert line["same"] and len(line["interpolated"]) == len(student_line.PLACES)
            assert name == "control" or line["interpolated"]["1.0"][2] == record["grid"][name][2]
            for validation, test, _ in line["measured"].values():
                # Test is scored only where the student may be chosen.
                assert math.isnan(test) == (validation <= record["untouched"][0])
            assert line["measured"] != line["interpolated"]
    student_line.main(["table", str(out)])
    shown = capsys.readouterr().out
    assert "All trials of 4 of 4 pairs came out as they are recorded" in shown
    assert "| digits | best of the grid, control |" in shown


def test_a_campaign_that_is_on_a_line_already_is_refused(finished):
    with pytest.raises(SystemExit, match=r"home: student_line = \[\], replicates = 2"):
        student_line.open_source(str(finished.path), None)


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    cut = tmp_path / "cut.jsonl"
    cut.write_text('{"campaign": "ma', "utf-8")
    assert read_pairs([cut]) == []


def test_the_tables_have_the_mean_gains():
    pairs = [make_pair({1.0: (0.5, 0.5)}, {1.0: (0.6, 0.6), 0.5: (0.7, 0.8)}, n) for n in range(3)]
    text = format_tables(pairs)
    line = next(x for x in text.splitlines() if x.startswith("| digits | best of the grid"))
    assert [cell.split()[0] for cell in line.split("|")[4:7]] == ["10.00", "30.00", "20.00"]


def test_a_pair_counts_for_the_list_only_if_all_of_the_list_was_trained():
    pair = make_pair({1.0: (0.5, 0.5)}, {1.0: (0.6, 0.6)})
    half = pair._replace(choices={**pair.choices, "list 4": ["1 0.5", "4 0.9"]})
    assert has_students(pair, "list of 2, control", "interpolated")
    assert not has_students(half, "list of 2, control", "interpolated")
    assert has_students(half, "best of the grid, control", "interpolated")
