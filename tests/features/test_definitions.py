import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.errors import AdviceError
from kdopt.features.definitions import (
    FEATURE_NAMES,
    LogitFeatures,
    compare_logits,
    describe_pair,
    measure_balance,
    measure_label_distance,
    parse_feature,
)
from kdopt.outcome import Scores

histograms = st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(any)
recalls = st.lists(st.floats(0, 1), min_size=4, max_size=4)
AGAINST = {
    "teacher_accuracy": "student_accuracy",
    "teacher_edge": "student_edge",
    "teacher_balance": "student_balance",
}


def scores(per_class, loss=1.0):
    return Scores(float(np.mean(per_class)), tuple(per_class), loss)


@given(histograms, histograms)
def test_the_label_distance_is_a_bounded_symmetric_distance(one, other):
    distance = measure_label_distance(one, other)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(measure_label_distance(other, one), abs=1e-7)
    assert measure_label_distance(one, [3 * n for n in one]) == pytest.approx(0, abs=1e-7)


def test_the_label_distance_at_its_ends_and_in_between():
    assert measure_label_distance([5, 0], [0, 2]) == 1
    # By hand: m = (3/4, 1/4), H(m) = 0.8113 bits, H(p) = 0, H(q) = 1.
    expected = math.sqrt(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5)
    assert measure_label_distance([4, 0], [3, 3]) == pytest.approx(expected)
    assert math.isnan(measure_label_distance([0, 0], [1, 1]))


@given(histograms, histograms, histograms)
def test_the_label_distance_obeys_the_triangle_inequality(a, b, c):
    assert (
        measure_label_distance(a, c)
        <= measure_label_distance(a, b) + measure_label_distance(b, c) + 1e-7
    )


def test_balance_is_0_for_one_class_and_1_for_all_alike():
    assert measure_balance([7, 0, 0]) == 0
    assert measure_balance([5, 5, 5]) == pytest.approx(1)
    assert math.isnan(measure_balance([0, 0])) and math.isnan(measure_balance([9]))


@given(recalls, recalls, histograms, histograms)
def test_exchanging_teacher_and_student(mine, theirs, one, other):
    there = describe_pair(scores(mine), scores(theirs), one, other)
    back = describe_pair(scores(theirs), scores(mine), other, one)
    for name in ("accuracy_gap", "size_ratio"):
        assert there[name] == pytest.approx(-back[name])
    for name, opposite in AGAINST.items():
        assert there[name] == pytest.approx(back[opposite])
        assert there[opposite] == pytest.approx(back[name])
    assert there["label_distance"] == pytest.approx(back["label_distance"], abs=1e-7)


@given(recalls, recalls, histograms, histograms, st.permutations(range(4)))
def test_the_order_of_the_classes_does_not_matter(mine, theirs, one, other, order):
    def shuffled(values):
        return [values[i] for i in order]

    plain = describe_pair(scores(mine), scores(theirs), one, other)
    mixed = describe_pair(
        scores(shuffled(mine)), scores(shuffled(theirs)), shuffled(one), shuffled(other)
    )
    assert mixed == pytest.approx(plain, nan_ok=True, abs=1e-7)


@given(recalls, recalls)
def test_the_edges_differ_by_the_gap_on_balanced_validation(mine, theirs):
    found = describe_pair(scores(mine), scores(theirs))
    assert found["teacher_edge"] - found["student_edge"] == pytest.approx(found["accuracy_gap"])


def test_a_class_without_validation_images_is_left_out_of_the_edges():
    found = describe_pair(Scores(0.5, (1.0, None), 1.0), Scores(0.5, (0.4, None), 1.0))
    assert found["teacher_edge"] == pytest.approx(60)
    assert found["student_edge"] == 0


def test_coverage_and_size_ratio_by_hand():
    found = describe_pair(scores([0.5] * 3), scores([0.5] * 3), [8, 0, 8], [1, 2, 1])
    assert found["coverage"] == pytest.approx(50)
    assert found["size_ratio"] == pytest.approx(2)  # 16 images against 4: two doublings


def test_what_is_not_given_is_nan_and_every_name_is_there():
    bare = describe_pair(scores([0.5]), scores([0.5]))
    assert tuple(bare) == FEATURE_NAMES
    assert math.isnan(bare["label_distance"]) and math.isnan(bare["disagreement"])
    told = describe_pair(scores([0.5]), scores([0.5]), logits=LogitFeatures(0.25, 0.5))
    assert told["disagreement"] == 25 and told["teacher_entropy"] == 0.5


def test_features_of_logits():
    clueless = np.zeros((3, 4))
    sure = 100 * np.eye(4)[:3]
    assert compare_logits(clueless, sure).teacher_entropy == pytest.approx(1)
    assert compare_logits(sure, clueless).teacher_entropy == pytest.approx(0)
    assert compare_logits(sure, sure).disagreement == 0
    assert compare_logits(sure, sure[[1, 2, 0]]).disagreement == 1
    # Only differences of logits count.
    assert compare_logits(sure + 7, clueless) == compare_logits(sure, clueless)


@given(st.permutations(range(4)))
def test_logit_features_do_not_depend_on_the_order_of_the_classes(order):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 20, 4))
    assert compare_logits(teacher[:, order], student[:, order]) == pytest.approx(
        compare_logits(teacher, student)
    )


@pytest.mark.parametrize(
    ("one", "other"), [(np.zeros((2, 3)), np.zeros((2, 4))), (np.zeros((0, 3)),) * 2]
)
def test_logits_that_cannot_be_compared_are_refused(one, other):
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_logits(one, other)


def test_images_to_distil_on_are_the_students_or_those_of_the_public_set():
    pair = scores([0.5] * 2), scores([0.5] * 2), [8, 8], [1, 2]
    assert describe_pair(*pair)["transfer_images"] == 3
    assert describe_pair(*pair, transfer_images=64)["transfer_images"] == 64
    assert describe_pair(*pair[:2], transfer_images=64)["transfer_images"] == 64
    assert math.isnan(describe_pair(*pair[:2])["transfer_images"])


def test_features_as_people_type_them():
    assert parse_feature("accuracy_gap=-12.5") == ("accuracy_gap", -12.5)
    assert parse_feature("size-ratio=4") == ("size_ratio", 2)  # two doublings


@pytest.mark.parametrize("text", ["gap=1", "accuracy", ""])
def test_an_unknown_feature_lists_all(text):
    with pytest.raises(AdviceError) as refusal:
        parse_feature(text)
    assert all(f"  {name} " in str(refusal.value) for name in FEATURE_NAMES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("accuracy_gap=big", "'big' is not a number"),
        ("accuracy_gap=nan", "'nan' is not a number"),
        ("accuracy_gap", "'' is not a number"),
        ("size_ratio=0", "not a number above 0"),
        ("size_ratio=-2", "not a number above 0"),
    ],
)
def test_a_value_that_is_none_is_refused(text, reason):
    with pytest.raises(AdviceError, match=reason):
        parse_feature(text)
