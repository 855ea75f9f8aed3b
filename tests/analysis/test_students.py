"""Which trial's student is taken home: the verdict's, or the one that was named."""

from __future__ import annotations

import dataclasses
import math

import pytest

from kdopt.analysis.students import TrialChoice, average_replicates, choose_trial, measure_leads
from kdopt.analysis.tables import Tables
from kdopt.errors import AdviceError
from kdopt.outcome import Pair
from tests.analysis.synthetic import pretrain_rows
from tests.analysis.test_verdicts import (
    CAMPAIGN,
    MEASURABLE,
    STUDENT,
    control_row,
    result,
    tuned_rows,
)

PAIR = Pair("uniform", 0, STUDENT)
POINTS = {(1.0, 0.5): 0.5, (2.0, 0.9): 1.0 + MEASURABLE, (4.0, 0.9): 1.0}


def make_tables(rows):
    return Tables([*pretrain_rows(CAMPAIGN), *rows], CAMPAIGN)


def choose(rows, *choice):
    return choose_trial(make_tables(rows), PAIR, TrialChoice(*choice))


@pytest.mark.parametrize(
    ("rows", "action", "stage", "number"),
    [
        ([control_row(1.0), *tuned_rows(POINTS)], "distil", "tune", 1),
        ([control_row(3.0), *tuned_rows({(1.0, 0.5): 3.1})], "train on", "control", 0),
        ([control_row(0.0), *tuned_rows({(1.0, 0.5): 0.1})], "leave as it is", "pretrain", STUDENT),
    ],
)
def test_the_verdict_says_whose_weights(rows, action, stage, number):
    chosen = choose(rows)
    assert (chosen.action, chosen.row.stage, chosen.row.number) == (action, stage, number)
    assert chosen.by_verdict


@pytest.mark.parametrize(
    ("choice", "point"),
    [
        (("0",), (1.0, 0.5)),
        (("tune/2",), (4.0, 0.9)),
        ((None, "tuned"), (2.0, 0.9)),
        ((None, None, 4.0), (4.0, 0.9)),
        ((None, "tuned", None, 0.5), (1.0, 0.5)),
    ],
)
def test_a_trial_may_be_named(choice, point):
    chosen = choose([control_row(1.0), *tuned_rows(POINTS)], *choice)
    assert (chosen.row.params["temperature"], chosen.row.params["alpha"]) == point
    assert (chosen.action, chosen.by_verdict) == ("distil", False)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (("7",), "no such trial; write its number in study toy/uniform/tune/t00-s01"),
        (("x/y/z",), "no such trial"),
        (("0", "tuned"), "name the trial, or those"),
        ((None, "dkd"), "no complete trial with method dkd; methods are vanilla, dml, dp_kd"),
        ((None, None, 3.0), "no complete trial with temperature 3.0"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(choice, expected):
    with pytest.raises(AdviceError, match=expected):
        choose(tuned_rows(POINTS), *choice)


def test_no_pair_no_verdict_and_no_result_are_refused():
    with pytest.raises(AdviceError, match="has no such pair; 'kdopt best toy'"):
        choose_trial(make_tables([]), Pair("uniform", 0, 99), TrialChoice())
    with pytest.raises(AdviceError, match=r"nothing is decided .* --trial"):
        choose([])
    (waiting,) = tuned_rows({(1.0, 0.5): 0.5})
    with pytest.raises(AdviceError, match="it is waiting, so it has no student"):
        choose([dataclasses.replace(waiting, state="WAITING", outcome=None)], "0")


def test_of_replicates_the_best_on_validation_is_taken_and_their_mean_is_known():
    point = {"temperature": 2.0, "alpha": 0.9}
    (row,) = tuned_rows({(2.0, 0.9): MEASURABLE})
    rows = [
        dataclasses.replace(
            row, number=n, params={**point, "replicate": n}, outcome=result(MEASURABLE + n, test)
        )
        for n, test in enumerate([6.0, 2.0, 1.0])
    ]
    tables = make_tables([control_row(0.0), *rows])
    chosen = choose_trial(tables, PAIR, TrialChoice())
    assert chosen.row.number == 2
    assert average_replicates(tables.results, chosen.row) == (3, pytest.approx(3.0))


def test_leads_are_over_the_untouched_student_and_over_the_control():
    rows = [control_row(2.0), *tuned_rows({(2.0, 0.9): 5.0})]
    gain, net = measure_leads(make_tables(rows).results, PAIR, rows[1], rows[1].outcome)
    assert gain is not None and net is not None
    assert (gain.mean, net.mean) == (pytest.approx(5.0), pytest.approx(3.0))
    assert 0 < net.error < 5
    gain, net = measure_leads(make_tables(rows[1:]).results, PAIR, rows[1], rows[1].outcome)
    assert net is None and gain is not None and not math.isnan(gain.error)
