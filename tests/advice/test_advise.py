import math

import numpy as np
import pytest

from kdopt.advice.advise import LEVELS, MIN_PAIRS, NEAREST, advise, check_enough
from kdopt.advice.training_set import NONE
from kdopt.analysis.results import Pair
from kdopt.errors import AdviceError
from tests.advice.planted import DML, HIGH, LOW, PARTITIONS, VANILLA, planted


def asked(gap):
    return {"accuracy_gap": float(gap)}


@pytest.mark.parametrize(("gap", "action"), [(30, HIGH), (2, LOW), (-30, NONE)])
def test_the_planted_rule_is_advised(gap, action):
    found = advise(planted(), asked(gap))
    assert found.leaf.action == action
    assert found.names == ("accuracy_gap",)
    assert found.outside == {}
    assert found.simpler is None
    assert found.error == pytest.approx(0)


def test_expected_gain_and_intervals():
    found = advise(planted(noise=2.0), asked(30))
    assert found.gain == pytest.approx(8, abs=1)
    assert [i.level for i in found.intervals] == list(LEVELS)
    inner, outer = found.intervals
    assert outer.low <= inner.low < 8 < inner.high <= outer.high
    assert inner.high - inner.low == pytest.approx(2 * 1.28 * 2, abs=1.5)  # noise of sd 2
    assert 0.6 < inner.held <= outer.held <= 1


def test_where_nothing_is_to_be_done_the_gain_is_that_of_distilling_all_the_same():
    found = advise(planted(), asked(-30))
    assert found.leaf.distil == LOW and found.gain == -2
    assert all(i.high < 0 for i in found.intervals)


def test_the_error_is_the_regret_of_the_tree_that_was_asked():
    found = advise(planted(noise=2.0), asked(30))
    table = found.regrets.set_index("policy")
    assert (table["left_out"] == "partition").all()
    # Asked by the wrong feature only, the same lessons do much worse, and say so.
    blind = advise(planted(noise=2.0), {"teacher_loss": 0.5})
    worse = blind.regrets.set_index("policy").loc["tree", "regret"]
    assert worse > 2 * table.loc["tree", "regret"]


def test_a_simpler_rule_that_loses_less_is_named_with_its_advice():
    # Every pair wants vanilla by a little, and the noise leads trees astray.
    gains = {VANILLA: 1.0, LOW: 0.0, HIGH: 0.0, DML: 0.0}
    for seed in range(20):
        found = advise(planted(lambda _: gains, noise=6.0, seed=seed), {"teacher_loss": 0.5})
        lost = found.regrets.set_index("policy")["regret"]
        rules = lost[["none", "vanilla", "method", "cell", "action"]]
        assert (found.simpler is not None) == (rules.min() < lost["tree"])
        if found.simpler:
            assert found.simpler.regret == rules.min()
            return
    pytest.fail("no tree was led astray")


def test_features_that_are_not_known_are_not_asked_for():
    found = advise(planted(), {**asked(30), "disagreement": math.nan})
    assert found.names == ("accuracy_gap",)


def test_what_lies_beyond_what_was_seen_is_said():
    found = advise(planted(), asked(75))
    assert found.outside == {"accuracy_gap": (75, -40, 40)}


def test_the_most_alike_pairs_come_first():
    lessons = planted()
    line = 17
    features = lessons.pairs.iloc[line][lessons.known].to_dict()
    found = advise(lessons, features)
    assert len(found.nearest) == NEAREST
    first = lessons.pairs.iloc[line]
    assert found.nearest[0].pair == Pair(first["partition"], first["teacher"], first["student"])
    best = lessons.actions.index(found.leaf.distil)
    assert found.nearest[0].gain == lessons.test[line, best]


def test_too_few_pairs_are_refused_with_the_reason():
    few = planted().take(np.arange(MIN_PAIRS - 1))
    with pytest.raises(AdviceError, match=rf"{MIN_PAIRS - 1} finished cases of 1 partitions"):
        advise(few, asked(1))
    two = planted(partitions=PARTITIONS[:2])  # 60 pairs
    with pytest.raises(AdviceError, match=r"takes 20 of 3 partitions, so that it can be judged"):
        check_enough(two)


def test_a_refusal_says_what_was_left_out():
    from dataclasses import replace

    few = replace(planted(partitions=("uniform",)), left_out=("other: it never tried DML",))
    with pytest.raises(AdviceError, match="left out: other: it never tried DML"):
        check_enough(few)


def test_a_question_without_a_known_feature_is_refused():
    lessons = planted()
    lessons.pairs["disagreement"] = math.nan
    with pytest.raises(AdviceError, match="of this pair disagreement is known, but of the"):
        advise(lessons, {"disagreement": 20.0})
    with pytest.raises(AdviceError, match="of this pair nothing is known"):
        advise(lessons, {})
