from __future__ import annotations

import dataclasses
import math
import random

import pytest

from kdopt.campaign.settings import PartitionSettings
from kdopt.errors import KdoptError
from kdopt.search.pairs import grid_points, known_pairs, prior_of, results_of
from kdopt.search.prior import Prior, result_of
from kdopt.search.surrogate import MIN_PAIRS
from tests.analysis.synthetic import make_campaign, make_rows, outcome, tune_row

FOUR = make_campaign(participants=4)
CELL = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}


def of(campaign, rows=None):
    return campaign, known_pairs(make_rows(campaign) if rows is None else rows)


def without(rows, pair, number):
    return [r for r in rows if (r.teacher, r.student, r.number) != (*pair, number)]


def test_every_pair_is_known_with_what_came_of_each_point():
    found = known_pairs(make_rows(FOUR))
    assert list(found) == [("uniform", *pair) for pair in FOUR.pairs]
    for pair in found.values():
        assert set(pair.results) == set(grid_points(FOUR))
    rows = make_rows(FOUR)
    row = next(r for r in rows if (r.teacher, r.student, r.number) == (2, 1, 3))
    point = row.params["temperature"], row.params["alpha"]
    assert found["uniform", 2, 1].results[point] == result_of([row.outcome])


def test_the_order_of_rows_does_not_matter():
    campaign = make_campaign(replicates=3)
    rows = make_rows(campaign)
    expected = known_pairs(rows)
    for seed in range(3):
        found = known_pairs(random.Random(seed).sample(rows, len(rows)))
        assert found == expected
        assert list(found) == list(expected)


def test_replicates_are_averaged_and_failures_say_nothing():
    values = [1.0, 2.0, 6.0]
    rows = [
        tune_row(FOUR, (0, 1), CELL | {"replicate": i}, i, outcome(gain, 0.0))
        for i, gain in enumerate(values)
    ]
    failed = tune_row(FOUR, (0, 1), CELL | {"alpha": 0.9}, 3, error="out of memory")
    open_trial = tune_row(FOUR, (0, 1), {}, 4)
    found = results_of([*rows, failed, open_trial])
    assert set(found) == {(1.0, 0.5)}
    assert found[1.0, 0.5].gain == sum(values) / 3


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_say_nothing(bad):
    """The last step of a training can overflow the weights after its loss was looked at."""
    good = tune_row(FOUR, (0, 1), CELL, 0, outcome(1.0, 0.0))
    one, start = outcome(2.0, 0.0), outcome(0.0, 0.0).validation
    broken = dataclasses.replace(
        one, validation=dataclasses.replace(start, loss=bad), validation_before=start
    )
    row = tune_row(FOUR, (0, 1), CELL | {"alpha": 0.9}, 1, broken)
    assert set(results_of([good, row])) == {(1.0, 0.5)}
    assert set(results_of([row])) == set()


def test_a_pair_that_was_planned_only_is_known_without_results():
    rows = [
        r if r.stage == "pretrain" else dataclasses.replace(r, state="WAITING", outcome=None)
        for r in make_rows(FOUR)
    ]
    found = known_pairs(rows)
    assert len(found) == 12
    assert all(pair.results == {} for pair in found.values())


def test_a_pair_whose_participant_has_no_model_is_not_known():
    rows = [
        dataclasses.replace(r, state="FAIL", outcome=None, error="diverged")
        if r.stage == "pretrain" and r.params["participant"] == 2
        else r
        for r in make_rows(FOUR)
    ]
    assert set(known_pairs(rows)) == {("uniform", *p) for p in FOUR.pairs if 2 not in p}


def test_a_prior_has_the_pairs_whose_grid_is_full():
    five = make_campaign(participants=5)
    rows = without(without(make_rows(five), (0, 1), 4), (3, 2), 0)
    prior = prior_of([of(five, rows)])
    assert prior.source == "toy"
    assert prior.t2_scale is five.tune.t2_scale
    assert prior.points == grid_points(five)
    assert len(prior.pairs) == 20 - 2
    assert all(tuple(pair.results) == prior.points for pair in prior.pairs)
    assert Prior.from_bytes(prior.to_bytes()) == prior


def test_points_beyond_the_grid_are_left_out():
    extra = tune_row(FOUR, (0, 1), CELL | {"temperature": 1.7}, 99, outcome(9.0, 9.0))
    rows = make_rows(FOUR)
    assert prior_of([of(FOUR, [*rows, extra])]) == prior_of([of(FOUR, rows)])


def test_of_several_campaigns_the_points_that_all_have_are_taken():
    hotter = make_campaign(name="hotter", participants=4, tune_temperatures=(1.0, 2.0, 8.0))
    prior = prior_of([of(FOUR), of(hotter)])
    assert set(prior.points) == set(grid_points(FOUR)) & set(grid_points(hotter))
    assert len(prior.pairs) == 24
    assert "toy" in prior.source and "hotter" in prior.source


def test_several_that_are_too_small_alone_are_enough_together():
    small = [make_campaign(name=name) for name in ("one", "two")]
    assert len(small[0].pairs) < MIN_PAIRS
    assert len(prior_of([of(campaign) for campaign in small]).pairs) == 12


def test_too_few_pairs_are_refused_and_the_message_says_what_to_do():
    rows = without(make_rows(FOUR), (0, 1), 4)
    with pytest.raises(KdoptError) as caught:
        prior_of([of(FOUR, rows)])
    message = str(caught.value)
    assert "tune.prior = toy: 11 pairs" in message
    assert f"fewer than {MIN_PAIRS}" in message
    for way_out in ("finish these campaigns", "name others", "leave tune.prior out"):
        assert way_out in message


def test_campaigns_without_a_common_point_teach_nothing():
    other = make_campaign(name="other", participants=4, tune_temperatures=(3.0,))
    with pytest.raises(KdoptError, match=r"toy, other: 0 pairs .*0 points are common to all"):
        prior_of([of(FOUR), of(other)])


def test_campaigns_that_mean_different_things_by_a_point_are_refused():
    other = make_campaign(name="other", participants=4, tune_t2_scale=False)
    with pytest.raises(KdoptError, match=r"toy, other: .*T squared.*name campaigns of one kind"):
        prior_of([of(FOUR), of(other)])


def test_partitions_are_kept_apart():
    both = make_campaign(
        participants=4, partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )
    found = known_pairs(make_rows(both))
    assert len(found) == 24
    # Later partitions gain half a pp less there.
    for teacher, student in both.pairs:
        one, other = (found[p, teacher, student].results for p in ("uniform", "specialized"))
        assert one[1.0, 0.5].gain - other[1.0, 0.5].gain == pytest.approx(0.5, abs=0.011)
