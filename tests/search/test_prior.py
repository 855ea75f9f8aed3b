from __future__ import annotations

import dataclasses
import json
import math

import pytest

from kdopt.errors import KdoptError
from kdopt.outcome import Scores
from kdopt.search.prior import FEATURES, Prior, Result, known_pair, result_of, shipped
from kdopt.search.surrogate import MIN_PAIRS
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
    assert "'planted' knows pairs by" in message and "mood" in message
    for name in (*FEATURES, *Result._fields):
        assert name in message
    assert "Go on with the version that planned the campaign" in message


def test_a_prior_with_fewer_or_more_numbers_is_refused_too():
    for change in (lambda names: names[:-1], lambda names: [*names, "mood"]):
        record = json.loads(planted_prior().to_bytes())
        record["features"] = change(record["features"])
        with pytest.raises(KdoptError, match="knows pairs by"):
            Prior.from_bytes(json.dumps(record).encode())


def test_the_prior_that_comes_along_is_whole():
    prior = shipped()
    assert len(prior.pairs) >= MIN_PAIRS
    assert len(set(prior.points)) == len(prior.points)
    assert prior.t2_scale
    for pair in prior.pairs:
        assert tuple(pair.results) == prior.points
        assert len(pair.features) == len(FEATURES)
        assert all(math.isfinite(number) for r in pair.results.values() for number in r)
        assert all(r.learnt >= 0 and r.forgotten >= 0 for r in pair.results.values())
        assert pair.teacher and pair.student and pair.teacher != pair.student
    # Nobody is in twice, and every student was taught by several.
    who = {(pair.teacher, pair.student) for pair in prior.pairs}
    assert len(who) == len(prior.pairs)
    students = {student for _, student in who}
    assert len(students) * 2 <= len(who)
    assert Prior.from_bytes(prior.to_bytes()) == prior


def test_what_was_learnt_less_what_was_forgotten_is_the_mean_move_of_the_classes():
    result = result_of([distilled(3.0, (0.5, 0.2, 0.9), (0.8, 0.1, 0.9), -0.25)])
    assert result.gain == 3.0
    assert (result.learnt, result.forgotten) == (pytest.approx(10.0), pytest.approx(3.33))
    assert result.loss == -0.25


def test_classes_without_images_say_nothing():
    whole = result_of([distilled(1.0, (0.5, 0.2), (0.6, 0.1))])
    assert result_of([distilled(1.0, (0.5, None, 0.2), (0.6, None, 0.1))]) == whole
    none = result_of([distilled(1.0, (None,), (None,))])
    assert (none.learnt, none.forgotten) == (0, 0)


def test_replicates_are_averaged():
    one, other = distilled(1.0, (0.5,), (0.7,), 0.5), distilled(4.0, (0.5,), (0.4,), 0.1)
    assert result_of([one, other]) == Result(2.5, 10.0, 5.0, 0.3)
    assert result_of([other, one]) == result_of([one, other])


@pytest.mark.parametrize("gain", [-2.5, 0.0, 4.0])
def test_a_trial_without_its_starting_point_says_its_gain_and_no_more(gain):
    found = result_of([make_outcome(gain)])
    assert found.gain == found.learnt - found.forgotten == gain
    assert min(found.learnt, found.forgotten) == found.loss == 0


def test_a_pair_is_known_by_its_weights_and_how_both_do_on_validation():
    teacher = dataclasses.replace(
        make_outcome(0.0), validation=Scores(0.8, (0.9, 0.7), 0.4), checkpoint="a" * 64
    )
    student = dataclasses.replace(make_outcome(0.0), validation=Scores(0.5, (0.2, 0.8), 1.5))
    pair = known_pair(teacher, student, {})
    assert (pair.teacher, pair.student) == ("a" * 64, "")
    found = dict(zip(FEATURES, pair.features, strict=True))
    assert found["accuracy_gap"] == pytest.approx(30)
    assert found["teacher_edge"] == pytest.approx(35)
    assert found["student_edge"] == pytest.approx(5)
    assert found["teacher_loss"] == pytest.approx(0.4)
    # Test says nothing: advice that is judged on it must not know it.
    other = dataclasses.replace(teacher, test=Scores(0.1, (0.1, 0.1), 9.0))
    assert known_pair(other, student, {}) == pair
