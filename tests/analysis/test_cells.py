import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.best_settings import find_best_point, find_vanilla_point, rank_points
from kdopt.analysis.results import CampaignResults, Pair, PointMean, average_points, group_by_pair
from tests.analysis.synthetic import compare_row, make_campaign, outcome, tune_row

TUNE = make_campaign().tune
PAIR = Pair("uniform", 0, 1)
DONE = outcome(3.0, 2.0)


def cell(temperature, alpha, validation=1.0, test=1.0):
    return PointMean(temperature, alpha, validation, test, 1)


def test_replicates_are_averaged_whatever_their_order():
    campaign = make_campaign()
    gains = [0.1, 0.2, 0.3, 1e-17, 7.7]
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(g, -g),
        )
        for i, g in enumerate(gains)
    ]
    expected = average_points(rows)
    assert expected[0].validation_gain == pytest.approx(sum(gains) / 5)
    assert expected[0].replicates == 5
    for seed in range(20):
        assert average_points(random.Random(seed).sample(rows, 5)) == expected


def test_each_gain_is_maximised_on_its_own():
    cells = [cell(1, 0.5, 1, 9), cell(2, 0.5, 3, 0), cell(4, 0.5, 2, 5)]
    assert find_best_point(cells, "validation_gain", TUNE).temperature == 2
    assert find_best_point(cells, "test_gain", TUNE).temperature == 1
    assert find_best_point([], "test_gain", TUNE) is None


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        ((1.0, 0.9), (2.0, 0.5)),  # temperature counts before alpha
        ((2.0, 0.25), (2.0, 0.9)),  # then the distance in alpha
        ((0.5, 0.5), (2.0, 0.5)),  # same distance in log T: smaller T
        ((1.0, 0.25), (1.0, 0.75)),  # same distance in alpha: smaller alpha
    ],
)
def test_ties_go_to_the_cell_nearest_vanilla(nearer, farther):
    for order in ((nearer, farther), (farther, nearer)):
        chosen = find_best_point([cell(*o) for o in order], "validation_gain", TUNE)
        assert (chosen.temperature, chosen.alpha) == nearer


def test_float_noise_does_not_break_a_tie():
    noisy = replace_gain(cell(2.0, 0.9), 0.1 + 0.2)
    plain = replace_gain(cell(1.0, 0.5), 0.3)
    assert noisy.validation_gain > plain.validation_gain
    assert find_best_point([noisy, plain], "validation_gain", TUNE) is plain


def test_vanilla_is_found_only_where_it_was_run():
    assert find_vanilla_point([cell(2, 0.5), cell(1, 0.5)], TUNE) == cell(1, 0.5)
    assert find_vanilla_point([cell(2, 0.5)], TUNE) is None


def test_a_record_without_gains_is_not_counted_as_zero():
    campaign = make_campaign()
    values = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    damaged = replace(outcome(1, 1), validation_gain=None)
    rows = [tune_row(campaign, (0, 1), values, 0, damaged)]
    assert average_points(rows) == []
    assert [pair.label for pair in group_by_pair(rows)] == ["t00-s01"]


def replace_gain(value, gain):
    return value._replace(validation_gain=gain)


def test_a_lucky_cell_measured_once_does_not_beat_one_measured_often():
    lucky = PointMean(4.0, 0.9, 40.0, 40.0, 1)
    often = PointMean(1.0, 0.5, 2.0, 2.0, 3)
    assert find_best_point([lucky, often], "validation_gain", TUNE) == often
    assert find_best_point([lucky], "validation_gain", TUNE) == lucky


def test_the_spread_over_replicates_is_the_sample_deviation():
    campaign = make_campaign()
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(0.0, gain),
        )
        for i, gain in enumerate([1.0, 2.0, 6.0])
    ]
    (found,) = average_points(rows)
    assert found.test_gain_sd == pytest.approx(7**0.5)
    assert average_points(rows[::-1]) == [found]
    assert math.isnan(average_points(rows[:1])[0].test_gain_sd)


def test_the_best_of_any_cells_is_the_first_of_them_by_rank():
    chance = random.Random(0)
    cells = [
        PointMean(t, a, chance.choice((0, 1, 2)), chance.choice((0, 1)), chance.choice((1, 2)))
        for t in (0.5, 1.0, 2.0)
        for a in (0.1, 0.5, 0.9)
    ]
    for gain in ("validation_gain", "test_gain"):
        ranked = rank_points(cells, gain, TUNE)
        assert sorted(ranked) == sorted(cells)
        for size in range(1, 10):
            some = chance.sample(cells, size)
            assert find_best_point(some, gain, TUNE) == next(c for c in ranked if c in some)


VANILLA = ("vanilla", "student")


def candidates_of(rows):
    return CampaignResults(rows, make_campaign()).candidates


def test_vanilla_is_found_in_the_comparison_with_its_replicates_averaged():
    campaign = make_campaign(replicates=2)
    gains = [(1.0, 3.0), (2.0, 6.0)]
    rows = [
        compare_row(campaign, (0, 1), (*VANILLA, i), i, outcome(*both))
        for i, both in enumerate(gains)
    ]
    others = [
        tune_row(campaign, (0, 1), {"temperature": 2.0, "alpha": 0.9, "replicate": i}, i, DONE)
        for i in range(2)
    ]
    known = candidates_of([*rows, *others])[PAIR]
    assert known[:2] == others
    cell = find_vanilla_point(average_points(known), TUNE)
    assert (cell.temperature, cell.alpha) == (TUNE.vanilla_temperature, TUNE.vanilla_alpha)
    assert (cell.validation_gain, cell.test_gain, cell.replicates) == (1.5, 4.5, 2)
    # It is what the tuned study would have made of the same trials.
    tuned = [
        tune_row(
            campaign, (0, 1), {"temperature": 1.0, "alpha": 0.5, "replicate": i}, i, outcome(*both)
        )
        for i, both in enumerate(gains)
    ]
    assert find_vanilla_point(average_points(tuned), TUNE) == cell
    # One that is missing or damaged there stands in; never more than another cell has.
    damaged = replace(tuned[0], outcome=replace(tuned[0].outcome, test_gain=None))
    for some in ([tuned[1]], [damaged, tuned[1]]):
        both = candidates_of([*rows, *others, *some])[PAIR]
        assert find_vanilla_point(average_points(both), TUNE) == cell
    one = candidates_of([*rows[::-1], others[0]])[PAIR]
    assert find_vanilla_point(average_points(one), TUNE).replicates == 1
    assert find_vanilla_point(average_points(one), TUNE).test_gain == gains[0][1]
    # Where tuning has its own, or nothing at all yet, nothing stands in.
    assert candidates_of([*rows, *tuned]) == {PAIR: tuned}
    assert candidates_of(rows) == {}


def beside_another_cell(row):
    """The cells of a pair whose tuned study has one cell, and this row of the comparison."""
    other = {"temperature": 2.0, "alpha": 0.9, "replicate": 0}
    rows = [tune_row(make_campaign(), (0, 1), other, 0, DONE), row]
    return average_points(candidates_of(rows)[PAIR])


@pytest.mark.parametrize(
    "cell", [("vanilla", "public_labeled", 0), ("dml", "student", 0), ("dp_kd", "student", 0)]
)
def test_other_methods_and_other_data_are_not_vanilla(cell):
    row = compare_row(make_campaign(), (0, 1), cell, 0, outcome(1, 1))
    assert [c.temperature for c in beside_another_cell(row)] == [2.0]


def test_vanilla_that_is_not_done_or_damaged_or_another_pairs_is_not_there():
    campaign = make_campaign()
    done = compare_row(campaign, (0, 1), (*VANILLA, 0), 0, outcome(1, 1))
    assert len(beside_another_cell(done)) == 2
    for row in (
        compare_row(campaign, (0, 1), (*VANILLA, 0), 0, None),
        compare_row(campaign, (1, 0), (*VANILLA, 0), 0, outcome(1, 1)),
        replace(done, outcome=replace(outcome(1, 1), test_gain=None)),
    ):
        assert len(beside_another_cell(row)) == 1
