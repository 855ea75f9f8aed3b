import math
from dataclasses import replace

import numpy as np
import pytest

from kdopt.advice.advise import (
    INTERVAL_LEVELS,
    MIN_TRAINING_PAIRS,
    N_SIMILAR_PAIRS,
    SPREAD_FLOOR_PP,
    advise_pair,
    check_training_set_size,
    compute_error_bounds,
    measure_coverage,
    predict_gain,
    predict_held_out,
)
from kdopt.advice.training_set import DO_NOTHING
from kdopt.advice.tree import grow_tree
from kdopt.errors import AdviceError
from kdopt.outcome import Pair
from tests.advice.planted import DML, HIGH, LOW, PARTITIONS, VANILLA, planted


def asked(gap):
    return {"accuracy_gap": float(gap)}


@pytest.mark.parametrize(("gap", "action"), [(30, HIGH), (2, LOW), (-30, DO_NOTHING)])
def test_the_planted_rule_is_advised(gap, action):
    found = advise_pair(planted(), asked(gap))
    assert found.leaf.action == action
    assert found.names == ("accuracy_gap",)
    assert found.outside == {}
    assert found.simpler is None
    assert found.error == pytest.approx(0)


def test_expected_gain_and_intervals():
    found = advise_pair(planted(noise=2.0), asked(30))
    assert found.gain == pytest.approx(8, abs=1)
    assert [i.level for i in found.intervals] == list(INTERVAL_LEVELS)
    inner, outer = found.intervals
    assert outer.low <= inner.low < 8 < inner.high <= outer.high
    assert inner.high - inner.low == pytest.approx(2 * 1.28 * 2, abs=1.5)  # noise of sd 2
    assert 0.6 < inner.held <= outer.held <= 1


def test_where_nothing_is_to_be_done_the_gain_is_that_of_distilling_all_the_same():
    found = advise_pair(planted(), asked(-30))
    assert found.leaf.distil == LOW and found.gain == -2
    assert all(i.high < 0 for i in found.intervals)


def test_the_error_is_the_regret_of_the_tree_that_was_asked():
    found = advise_pair(planted(noise=2.0), asked(30))
    table = found.regrets.set_index("policy")
    assert (table["left_out"] == "partition").all()
    # Asked by the wrong feature only, the same pairs teach much less, and say so.
    blind = advise_pair(planted(noise=2.0), {"teacher_loss": 0.5})
    worse = blind.regrets.set_index("policy").loc["tree", "regret"]
    assert worse > 2 * table.loc["tree", "regret"]


def test_a_simpler_rule_that_loses_less_is_named_with_its_advice():
    # Every pair wants vanilla by a little, and the noise leads trees astray.
    gains = {VANILLA: 1.0, LOW: 0.0, HIGH: 0.0, DML: 0.0}
    for seed in range(20):
        found = advise_pair(planted(lambda _: gains, noise=6.0, seed=seed), {"teacher_loss": 0.5})
        lost = found.regrets.set_index("policy")["regret"]
        rules = lost[["none", "vanilla", "method", "cell", "action"]]
        assert (found.simpler is not None) == (rules.min() < lost["tree"])
        if found.simpler:
            assert found.simpler.regret == rules.min()
            return
    pytest.fail("no tree was led astray")


def test_features_that_are_not_known_are_not_asked_for():
    found = advise_pair(planted(), {**asked(30), "disagreement": math.nan})
    assert found.names == ("accuracy_gap",)


def test_what_lies_beyond_what_was_seen_is_said():
    found = advise_pair(planted(), asked(75))
    assert found.outside == {"accuracy_gap": (75, -40, 40)}


def test_the_most_alike_pairs_come_first():
    training_set = planted()
    line = 17
    features = training_set.pairs.iloc[line][training_set.usable_features].to_dict()
    found = advise_pair(training_set, features)
    assert len(found.nearest) == N_SIMILAR_PAIRS
    first = training_set.pairs.iloc[line]
    assert found.nearest[0].pair == Pair(first["partition"], first["teacher"], first["student"])
    best = training_set.actions.index(found.leaf.distil)
    assert found.nearest[0].gain == training_set.test[line, best]


def test_too_few_pairs_are_refused_with_the_reason():
    few = planted().select_pairs(np.arange(MIN_TRAINING_PAIRS - 1))
    with pytest.raises(
        AdviceError, match=rf"{MIN_TRAINING_PAIRS - 1} finished cases of 1 partitions"
    ):
        advise_pair(few, asked(1))
    two = planted(partitions=PARTITIONS[:2])  # 60 pairs
    with pytest.raises(AdviceError, match=r"takes 20 of 3 partitions, so that it can be judged"):
        check_training_set_size(two)


def test_a_refusal_says_what_was_left_out():
    few = replace(planted(partitions=("uniform",)), left_out=("other: it never tried DML",))
    with pytest.raises(AdviceError, match="left out: other: it never tried DML"):
        check_training_set_size(few)


def test_a_question_without_a_known_feature_is_refused():
    training_set = planted()
    training_set.pairs["disagreement"] = math.nan
    with pytest.raises(AdviceError, match="of this pair disagreement is known, but of the"):
        advise_pair(training_set, {"disagreement": 20.0})
    with pytest.raises(AdviceError, match="of this pair nothing is known"):
        advise_pair(training_set, {})


def test_bounds_leave_the_right_share_of_errors_outside():
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1, ..., 99
    assert compute_error_bounds(errors, 0.80) == (10, 90)
    assert compute_error_bounds(errors, 0.95) == (2, 98)


def test_the_next_error_lies_between_the_bounds_as_often_as_said():
    rng = np.random.default_rng(1)
    for level in (0.8, 0.95):
        hits = []
        for _ in range(2000):
            *past, new = rng.standard_t(3, size=61)
            low, high = compute_error_bounds(np.array(past), level)
            hits.append(low <= new <= high)
        assert np.mean(hits) == pytest.approx(level, abs=0.03)


def test_of_too_few_errors_nothing_is_said():
    assert all(math.isnan(b) for b in compute_error_bounds(np.arange(38.0), 0.95))
    assert compute_error_bounds(np.arange(39.0), 0.95) == (0, 38)
    assert all(math.isnan(b) for b in compute_error_bounds(np.zeros(0), 0.8))


def test_a_prediction_is_the_leafs_mean_and_its_scale_the_leafs_spread():
    training_set = planted(noise=2.0)
    tree = grow_tree(training_set, training_set.usable_features)
    for leaf, _ in tree.list_leaves():
        gains = training_set.test[list(leaf.members), training_set.actions.index(leaf.distil)]
        assert predict_gain(tree, leaf) == pytest.approx(
            (gains.mean(), gains.std(ddof=1) + SPREAD_FLOOR_PP)
        )


def test_without_noise_predictions_are_exact():
    found = predict_held_out(planted(), planted().usable_features)
    assert len(found.actual) == len(planted())
    assert found.actual == pytest.approx(found.predicted)
    assert found.errors == pytest.approx(0)


def test_predictions_are_made_without_the_partition_they_are_for():
    training_set = planted(noise=1.0)
    odd = training_set.select_pairs(np.arange(len(training_set)))
    odd.test[(odd.pairs["partition"] == "uniform").to_numpy()] += 20
    before, after = (
        predict_held_out(training_set, training_set.usable_features),
        predict_held_out(odd, odd.usable_features),
    )
    first = (training_set.pairs["partition"] == "uniform").to_numpy()
    assert first[: first.sum()].all()  # folds come in the order of the pairs
    assert after.predicted[: first.sum()] == pytest.approx(before.predicted[: first.sum()])
    assert (after.actual - after.predicted)[: first.sum()].mean() > 15


def test_coverage_is_near_what_is_stated_where_partitions_are_alike():
    training_set = planted(noise=3.0, participants=8)
    held = measure_coverage(training_set, training_set.usable_features, (0.8, 0.95))
    assert held[0] == pytest.approx(0.8, abs=0.08)
    assert held[1] == pytest.approx(0.95, abs=0.05)


def test_coverage_is_not_known_of_a_single_partition():
    training_set = planted(partitions=("uniform",))
    assert all(
        math.isnan(h) for h in measure_coverage(training_set, training_set.usable_features, (0.8,))
    )
    assert len(predict_held_out(training_set, training_set.usable_features).actual) == 0
