from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.errors import KdoptError
from kdopt.outcome import Scores
from kdopt.search.prior import (
    PRIOR_FEATURES,
    RESULT_COLUMNS,
    PointResult,
    Prior,
    average_outcomes,
    build_prior,
    collect_pair_results,
    collect_point_results,
    list_grid_points,
    load_shipped_prior,
    make_pair_results,
)
from kdopt.search.surrogate import MIN_PRIOR_PAIRS
from tests.analysis.synthetic import make_campaign, make_rows, outcome, tune_row
from tests.conftest import make_outcome
from tests.search.planted import planted_prior


def distilled(gain, before, after, loss=0.0):
    """The outcome of a trial by its recalls before and after."""
    return dataclasses.replace(
        make_outcome(gain),
        validation_before=Scores(0.5, before, 1.0),
        validation=Scores(0.5, after, 1.0 + loss),
    )


def test_a_prior_reads_back_from_its_bytes():
    prior = planted_prior()
    content = prior.to_bytes()
    assert Prior.from_bytes(content) == prior
    assert Prior.from_bytes(content).to_bytes() == content
    # One line for each pair, so that two priors can be compared by eye.
    assert len(content.splitlines()) == len(prior.pairs) + 3


def test_features_that_are_not_known_read_back_as_such():
    prior = planted_prior()
    first, *rest = prior.pairs
    gaps = dataclasses.replace(first, features=(math.nan, *first.features[1:]))
    content = dataclasses.replace(prior, pairs=(gaps, *rest)).to_bytes()
    assert b"NaN" not in content  # which is not JSON
    read = Prior.from_bytes(content).pairs[0]
    assert math.isnan(read.features[0])
    assert read.features[1:] == first.features[1:]
    assert read.results == first.results


@pytest.mark.parametrize("what", ["features", "results"])
def test_numbers_of_another_kind_are_refused_and_the_message_says_what_to_do(what):
    record = json.loads(planted_prior().to_bytes())
    record[what][0] = "mood"
    with pytest.raises(KdoptError) as caught:
        Prior.from_bytes(json.dumps(record).encode())
    message = str(caught.value)
    assert "'planted' describes pairs by" in message and "mood" in message
    for name in (*PRIOR_FEATURES, *RESULT_COLUMNS):
        assert name in message
    assert "Go on with the version that planned the campaign" in message


def test_a_prior_with_fewer_or_more_numbers_is_refused_too():
    for change in (lambda names: names[:-1], lambda names: [*names, "mood"]):
        record = json.loads(planted_prior().to_bytes())
        record["features"] = change(record["features"])
        with pytest.raises(KdoptError, match="describes pairs by"):
            Prior.from_bytes(json.dumps(record).encode())


def test_the_prior_that_comes_along_is_whole():
    prior = load_shipped_prior()
    assert len(prior.pairs) >= MIN_PRIOR_PAIRS
    assert len(set(prior.points)) == len(prior.points)
    assert prior.t2_scale
    for pair in prior.pairs:
        assert tuple(pair.results) == prior.points
        assert len(pair.features) == len(PRIOR_FEATURES)
        assert all(math.isfinite(number) for r in pair.results.values() for number in r)
        assert all(r.learning >= 0 and r.forgetting >= 0 for r in pair.results.values())
        assert pair.teacher and pair.student and pair.teacher != pair.student
    # Nobody is in twice, and every student was taught by several.
    who = {(pair.teacher, pair.student) for pair in prior.pairs}
    assert len(who) == len(prior.pairs)
    students = {student for _, student in who}
    assert len(students) * 2 <= len(who)
    assert Prior.from_bytes(prior.to_bytes()) == prior


def test_what_was_learnt_less_what_was_forgotten_is_the_mean_move_of_the_classes():
    result = average_outcomes([distilled(3.0, (0.5, 0.2, 0.9), (0.8, 0.1, 0.9), -0.25)])
    assert result.gain == 3.0
    assert (result.learning, result.forgetting) == (pytest.approx(10.0), pytest.approx(3.33))
    assert result.loss == -0.25


def test_classes_without_images_say_nothing():
    whole = average_outcomes([distilled(1.0, (0.5, 0.2), (0.6, 0.1))])
    assert average_outcomes([distilled(1.0, (0.5, None, 0.2), (0.6, None, 0.1))]) == whole
    none = average_outcomes([distilled(1.0, (None,), (None,))])
    assert (none.learning, none.forgetting) == (0, 0)


def test_replicates_are_averaged():
    one, other = distilled(1.0, (0.5,), (0.7,), 0.5), distilled(4.0, (0.5,), (0.4,), 0.1)
    assert average_outcomes([one, other]) == PointResult(2.5, 10.0, 5.0, 0.3)
    assert average_outcomes([other, one]) == average_outcomes([one, other])


@pytest.mark.parametrize("gain", [-2.5, 0.0, 4.0])
def test_a_trial_without_its_starting_point_says_its_gain_and_no_more(gain):
    found = average_outcomes([make_outcome(gain)])
    assert found.gain == found.learning - found.forgetting == gain
    assert min(found.learning, found.forgetting) == found.loss == 0


def test_a_pair_is_known_by_its_weights_and_how_both_do_on_validation():
    teacher = dataclasses.replace(
        make_outcome(0.0), validation=Scores(0.8, (0.9, 0.7), 0.4), checkpoint="a" * 64
    )
    student = dataclasses.replace(make_outcome(0.0), validation=Scores(0.5, (0.2, 0.8), 1.5))
    pair = make_pair_results(teacher, student, {})
    assert (pair.teacher, pair.student) == ("a" * 64, "")
    found = dict(zip(PRIOR_FEATURES, pair.features, strict=True))
    assert found["accuracy_gap"] == pytest.approx(30)
    assert found["teacher_edge"] == pytest.approx(35)
    assert found["student_edge"] == pytest.approx(5)
    assert found["teacher_loss"] == pytest.approx(0.4)
    # Test says nothing: advice that is judged on it must not know it.
    other = dataclasses.replace(teacher, test=Scores(0.1, (0.1, 0.1), 9.0))
    assert make_pair_results(other, student, {}) == pair


FOUR = make_campaign(participants=4)
CELL = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}


def of(campaign, rows=None):
    return campaign, collect_pair_results(make_rows(campaign) if rows is None else rows)


def without(rows, pair, number):
    return [r for r in rows if (r.teacher, r.student, r.number) != (*pair, number)]


def test_every_pair_is_known_with_what_came_of_each_point():
    found = collect_pair_results(make_rows(FOUR))
    assert list(found) == [("uniform", *pair) for pair in FOUR.pairs]
    for pair in found.values():
        assert set(pair.results) == set(list_grid_points(FOUR))
    rows = make_rows(FOUR)
    row = next(r for r in rows if (r.teacher, r.student, r.number) == (2, 1, 3))
    point = row.params["temperature"], row.params["alpha"]
    assert found["uniform", 2, 1].results[point] == average_outcomes([row.outcome])


def test_the_order_of_rows_does_not_matter():
    campaign = make_campaign(replicates=3)
    rows = make_rows(campaign)
    expected = collect_pair_results(rows)
    for seed in range(3):
        found = collect_pair_results(random.Random(seed).sample(rows, len(rows)))
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
    found = collect_point_results([*rows, failed, open_trial])
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
    assert set(collect_point_results([good, row])) == {(1.0, 0.5)}
    assert set(collect_point_results([row])) == set()


def test_a_pair_that_was_planned_only_is_known_without_results():
    rows = [
        r if r.stage == "pretrain" else dataclasses.replace(r, state="WAITING", outcome=None)
        for r in make_rows(FOUR)
    ]
    found = collect_pair_results(rows)
    assert len(found) == 12
    assert all(pair.results == {} for pair in found.values())


def test_a_pair_whose_participant_has_no_model_is_not_known():
    rows = [
        dataclasses.replace(r, state="FAIL", outcome=None, error="diverged")
        if r.stage == "pretrain" and r.params["participant"] == 2
        else r
        for r in make_rows(FOUR)
    ]
    assert set(collect_pair_results(rows)) == {("uniform", *p) for p in FOUR.pairs if 2 not in p}


def test_a_prior_has_the_pairs_whose_grid_is_full():
    five = make_campaign(participants=5)
    rows = without(without(make_rows(five), (0, 1), 4), (3, 2), 0)
    prior = build_prior([of(five, rows)])
    assert prior.source == "toy"
    assert prior.t2_scale is five.tune.t2_scale
    assert prior.points == list_grid_points(five)
    assert len(prior.pairs) == 20 - 2
    assert all(tuple(pair.results) == prior.points for pair in prior.pairs)
    assert Prior.from_bytes(prior.to_bytes()) == prior


def test_points_beyond_the_grid_are_left_out():
    extra = tune_row(FOUR, (0, 1), CELL | {"temperature": 1.7}, 99, outcome(9.0, 9.0))
    rows = make_rows(FOUR)
    assert build_prior([of(FOUR, [*rows, extra])]) == build_prior([of(FOUR, rows)])


def test_of_several_campaigns_the_points_that_all_have_are_taken():
    hotter = make_campaign(name="hotter", participants=4, tune_temperatures=(1.0, 2.0, 8.0))
    prior = build_prior([of(FOUR), of(hotter)])
    assert set(prior.points) == set(list_grid_points(FOUR)) & set(list_grid_points(hotter))
    assert len(prior.pairs) == 24
    assert "toy" in prior.source and "hotter" in prior.source


def test_several_that_are_too_small_alone_are_enough_together():
    small = [make_campaign(name=name) for name in ("one", "two")]
    assert len(small[0].pairs) < MIN_PRIOR_PAIRS
    assert len(build_prior([of(campaign) for campaign in small]).pairs) == 12


def test_too_few_pairs_are_refused_and_the_message_says_what_to_do():
    rows = without(make_rows(FOUR), (0, 1), 4)
    with pytest.raises(KdoptError) as caught:
        build_prior([of(FOUR, rows)])
    message = str(caught.value)
    assert "tune.prior = toy: 11 pairs" in message
    assert f"a prior needs {MIN_PRIOR_PAIRS};" in message
    for way_out in ("finish these campaigns", "name others", "leave tune.prior out"):
        assert way_out in message


def test_campaigns_without_a_common_point_teach_nothing():
    other = make_campaign(name="other", participants=4, tune_temperatures=(3.0,))
    with pytest.raises(KdoptError, match=r"toy, other: 0 pairs .*0 points are common to all"):
        build_prior([of(FOUR), of(other)])


def test_campaigns_that_mean_different_things_by_a_point_are_refused():
    other = make_campaign(name="other", participants=4, tune_t2_scale=False)
    with pytest.raises(KdoptError, match=r"toy, other: .*T squared.*name campaigns of one kind"):
        build_prior([of(FOUR), of(other)])


def test_partitions_are_kept_apart():
    both = make_campaign(
        participants=4, partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )
    found = collect_pair_results(make_rows(both))
    assert len(found) == 24
    # Later partitions gain half a pp less there.
    for teacher, student in both.pairs:
        one, other = (found[p, teacher, student].results for p in ("uniform", "specialized"))
        assert one[1.0, 0.5].gain - other[1.0, 0.5].gain == pytest.approx(0.5, abs=0.011)
