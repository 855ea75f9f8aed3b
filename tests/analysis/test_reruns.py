"""A trial that ran again beside its record: every number counts, in its own unit."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from kdopt.analysis.reruns import (
    CheckedTrial,
    compare_machines,
    compare_outcomes,
    sum_up_checks,
)
from kdopt.outcome import Outcome, RoundScore, Scores, TrialRow, make_unknown_scores

RECORDED = Outcome(
    2.5,
    Scores(0.5, (0.5, None), 0.7, 8, base64.b64encode(bytes([0b11110000])).decode()),
    Scores(0.75, (1.0, 0.5), 0.6, 4, base64.b64encode(bytes([0b11100000])).decode()),
    epochs=3,
    best_epoch=2,
    last_validation_accuracy=0.5,
    last_test_accuracy=0.75,
    seconds=1.0,
    device="cpu",
    precision="fp32",
    versions={"torch": "2.6"},
    test_gain=2.5,
    checkpoint="a" * 64,
    rounds=(RoundScore(0.25, 0.5),),
)


def change_test(**changes):
    return replace(RECORDED, test=replace(RECORDED.test, **changes))


@pytest.mark.parametrize(
    ("found", "key", "unit", "size"),
    [
        (change_test(accuracy=0.5), "test.accuracy", "pp", 25),
        (change_test(per_class=(1.0, 0.25)), "test.per_class.1", "other", 1),
        (change_test(loss=0.61), "test.loss", "nats", 0.01),
        (change_test(loss=float("nan")), "test.loss", "nats", float("inf")),
        (
            change_test(right=base64.b64encode(bytes([0b10110000])).decode()),
            "test.right",
            "images",
            2,
        ),
        (replace(RECORDED, epochs=5), "epochs", "epochs", 2),
        (replace(RECORDED, test_gain=2.0), "test_gain", "pp", 0.5),
        (replace(RECORDED, last_test_accuracy=0.5), "last_test_accuracy", "pp", 25),
        (replace(RECORDED, rounds=(RoundScore(0.25, 0.75),)), "rounds.0.1", "pp", 25),
        (replace(RECORDED, rounds=()), "rounds.0.0", "other", 1),
        (replace(RECORDED, checkpoint="b" * 64), "checkpoint", "other", 1),
        (replace(RECORDED, value=2.0), "value", "other", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_changed_is_found_and_measured(found, key, unit, size):
    first = compare_outcomes(RECORDED, found)[0]
    assert (first.key, first.unit) == (key, unit)
    assert first.size == pytest.approx(size)


def test_time_place_and_what_an_older_record_lacks_are_no_difference():
    elsewhere = replace(RECORDED, seconds=9.0, device="cuda", versions={"torch": "2.7"})
    assert compare_outcomes(RECORDED, elsewhere) == ()
    older = replace(RECORDED, test=replace(RECORDED.test, right=None, images=None))
    assert compare_outcomes(older, RECORDED) == ()


def test_a_learning_curve_counts_where_both_runs_recorded_one():
    curved = replace(RECORDED, curve=(0.25, 0.5))
    assert compare_outcomes(curved, RECORDED) == compare_outcomes(RECORDED, curved) == ()
    assert compare_outcomes(curved, replace(RECORDED, curve=(0.25, 0.6)))


def test_what_nobody_knows_is_unknown_again_and_no_difference():
    unknown = replace(RECORDED, test=make_unknown_scores(2))
    assert compare_outcomes(unknown, unknown) == ()
    assert compare_outcomes(unknown, RECORDED)


def test_another_machine_is_told_from_what_both_records_know():
    assert compare_machines(RECORDED, RECORDED) == ""
    other = replace(RECORDED, precision="bf16", versions={"torch": "2.7", "cpu": "Maker AVX2"})
    assert compare_machines(RECORDED, other) == "precision fp32 (now bf16), torch 2.6 (now 2.7)"
    loose = replace(RECORDED, versions={"deterministic": "no"})
    assert "no run on this GPU is like another" in compare_machines(loose, loose)


def test_stages_are_summed_up_with_the_largest_difference_of_each_kind():
    def check(stage, found, error=""):
        row = TrialRow(f"c/u/{stage}", "u", stage, None, None, 0, "COMPLETE", {}, RECORDED)
        return CheckedTrial(row, compare_outcomes(RECORDED, found), "", error)

    tuned, trained = sum_up_checks(
        [
            check("tune", RECORDED),
            check("tune", change_test(accuracy=0.5)),
            check("tune", change_test(accuracy=0.7)),
            check("pretrain", RECORDED, error="diverged"),
        ]
    )
    assert (tuned.stage, tuned.checked, tuned.equal, tuned.differing) == ("tune", 3, 1, 2)
    assert tuned.largest["pp"] == pytest.approx(25)
    assert (tuned.largest["nats"], tuned.largest["images"]) == (0, 0)
    assert (trained.checked, trained.differing) == (1, 1)
