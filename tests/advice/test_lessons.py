import dataclasses

import numpy as np
import pandas as pd
import pytest

from kdopt.advice.advise import advise_pair
from kdopt.advice.lessons import load_shipped_lessons, read_lessons, write_lessons
from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import DO_NOTHING, SITUATIONS, TRAIN_ON, Action, TrainingSet
from kdopt.search.prior import load_shipped_prior
from tests.advice.planted import planted


@pytest.fixture(scope="module")
def shipped():
    return load_shipped_lessons()


def assert_same(found: TrainingSet, expected: TrainingSet) -> None:
    assert (found.situation, found.actions) == (expected.situation, expected.actions)
    pd.testing.assert_frame_equal(found.pairs, expected.pairs)
    np.testing.assert_array_equal(found.validation, expected.validation)
    np.testing.assert_array_equal(found.test, expected.test)


def test_what_is_written_is_read_back_up_to_four_digits():
    exact = planted(noise=1.0)
    rounded = dataclasses.replace(
        exact,
        pairs=exact.pairs.round(4),
        validation=exact.validation.round(4),
        test=exact.test.round(4),
    )
    assert_same(read_lessons(write_lessons([exact]))["own"], rounded)


def test_numbers_that_are_not_known_stay_unknown():
    one = planted()
    one.pairs["disagreement"] = np.nan
    found = read_lessons(write_lessons([one]))["own"]
    assert found.pairs["disagreement"].isna().all()
    assert found.pairs["disagreement"].dtype == float


def test_the_lessons_that_come_with_kdopt_are_whole(shipped):
    assert list(shipped) == list(SITUATIONS)
    for situation, found in shipped.items():
        assert found.situation == situation and found.n_partitions == 5
        for _, pairs in found.pairs.groupby("campaign"):
            assert set(pairs["teacher"]) == set(pairs["student"]) >= set(range(4))
            assert pairs["family"].nunique() == 5
        assert np.isfinite(found.validation).all() and np.isfinite(found.test).all()
        assert not found.test[:, 0].any() and found.actions[0] == DO_NOTHING
        # All features are known, those of labels and models too.
        assert len(found.usable_features) >= 12
    own = shipped["own"]
    assert len(own) == len(load_shipped_prior().pairs)
    # The 55 cells, the control, DML, DP-KD and leaving it.
    assert len(own.actions) == 59
    assert {Action("dml"), Action("dp_kd"), TRAIN_ON} < set(own.actions)
    by = own.pairs.groupby("family")
    # Those who know one class are right in little more than one of ten.
    assert by["student_accuracy"].mean().idxmin() == "specialized"


def test_a_student_has_one_control_whoever_would_teach_it(shipped):
    own = shipped["own"]
    gains = own.pairs.assign(control=own.control)
    assert (gains.groupby(["campaign", "partition", "student"])["control"].nunique() == 1).all()


def test_they_judge_and_advise(shipped):
    for found in shipped.values():
        table = compare_policies(found, names=["accuracy_gap"])
        assert table["regret"].notna().all() and table["net_gain"].notna().all()
    advice = advise_pair(shipped["own"], {"accuracy_gap": 20.0})
    assert advice.left_out == "partition"
    assert advice.anyway is None or 0.6 < advice.anyway.gain.held < 1
