import math
from dataclasses import replace

import numpy as np
import pytest

from kdopt.advice.advise import (
    MIN_TRAINING_PAIRS,
    N_SIMILAR_PAIRS,
    NO_GAIN,
    advise_pair,
    check_training_set_size,
)
from kdopt.advice.training_set import DO_NOTHING, TRAIN_ON
from kdopt.errors import AdviceError
from kdopt.outcome import Pair
from tests.advice.planted import DML, HIGH, LOW, PARTITIONS, VANILLA, planted


def asked(gap):
    return {"accuracy_gap": float(gap)}


@pytest.mark.parametrize(("gap", "action"), [(30, HIGH), (2, LOW), (-30, DO_NOTHING)])
def test_the_planted_rule_is_advised(gap, action):
    found = advise_pair(planted(), asked(gap))
    assert found.lead.name == "tree"
    assert found.lead.action == found.leaf.action == found.expected.action == action
    assert found.names == ("accuracy_gap",)
    assert found.outside == {}


def test_what_is_expected_has_its_bias_and_its_interval():
    found = advise_pair(planted(noise=2.0), asked(30))
    gain = found.expected.gain
    assert gain.value == pytest.approx(8, abs=1)
    assert gain.low < gain.value < gain.high
    assert gain.high - gain.low == pytest.approx(2 * 1.28 * 2, abs=1.5)  # noise of sd 2
    assert 0.7 < gain.held < 0.9
    assert abs(gain.bias) < 0.5 and gain.error == pytest.approx(1.6, abs=0.5)
    assert math.isnan(found.expected.net.value)  # no control
    assert found.anyway is None


def test_where_nothing_is_to_be_done_the_gain_of_distilling_all_the_same_is_told():
    found = advise_pair(planted(), asked(-30))
    assert found.expected.gain == found.expected.net == NO_GAIN
    assert found.anyway.action == LOW and found.anyway.gain.value == -2
    assert found.anyway.gain.high < 0


def test_the_regrets_are_those_of_the_tree_that_was_asked():
    found = advise_pair(planted(noise=2.0), asked(30))
    table = found.regrets.set_index("policy")
    assert (table["left_out"] == "partition").all()
    # Asked by the wrong feature only, the same pairs teach much less, and say so.
    blind = advise_pair(planted(noise=2.0), {"teacher_loss": 0.5})
    worse = blind.regrets.set_index("policy").loc["tree", "regret"]
    assert worse > 2 * table.loc["tree", "regret"]
    assert blind.lead.name != "tree"


def test_of_a_partition_that_is_known_participants_are_left_out():
    assert advise_pair(planted(), asked(30), "uniform").left_out == "participant"
    assert advise_pair(planted(), asked(30), "another").left_out == "partition"


def test_a_simpler_rule_leads_where_the_tree_is_not_measurably_better():
    gains = {VANILLA: 3.0, LOW: 0.0, HIGH: 0.0, DML: 0.0}
    found = advise_pair(planted(lambda _: gains, noise=2.0), asked(30))
    assert found.lead.name == "vanilla" and found.lead.action == VANILLA
    assert found.lead.members == tuple(range(len(found.training_set)))
    assert found.expected.gain.value == pytest.approx(3, abs=0.5)


def test_training_on_is_advised_where_the_teacher_adds_nothing():
    actions = (DO_NOTHING, TRAIN_ON, VANILLA, LOW)
    gains = dict.fromkeys(actions[1:], 4.0)
    found = advise_pair(planted(lambda _: gains, noise=1.0, actions=actions), asked(30))
    assert found.lead.action == TRAIN_ON
    assert found.expected.gain.value == pytest.approx(4, abs=0.5)
    assert found.expected.net == NO_GAIN
    assert found.anyway.action in (VANILLA, LOW)
    assert found.anyway.net.value == pytest.approx(0, abs=0.5)
    assert found.anyway.net.low < 0 < found.anyway.net.high


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
    advised = found.anyway.action if found.anyway else found.lead.action
    best = training_set.actions.index(advised)
    assert found.nearest[0].gain == training_set.test[line, best]


def test_too_few_pairs_are_refused_with_the_reason():
    few = planted().select_pairs(np.arange(MIN_TRAINING_PAIRS - 1))
    with pytest.raises(
        AdviceError, match=rf"{MIN_TRAINING_PAIRS - 1} finished cases of 1 partition"
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
