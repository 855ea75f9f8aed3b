import math

import numpy as np
import pytest

from kdopt.advice.calibration import PROMISED_SHARE, calibrate
from kdopt.advice.policies import list_policies
from kdopt.advice.regret import cross_validate
from kdopt.advice.training_set import DO_NOTHING, TRAIN_ON
from tests.advice.planted import ACTIONS, DML, HIGH, LOW, PARTITIONS, VANILLA, planted

SAME = {VANILLA: 2.0, LOW: 0.0, HIGH: 0.0, DML: 0.0, TRAIN_ON: 1.0}


def rule(training_set, name):
    policies = list_policies(training_set, training_set.usable_features)
    return next(p.choose for p in policies if p.name == name)


@pytest.mark.parametrize("sd", [0.0, 8.0])
def test_the_80_percent_interval_holds_80_percent_of_a_partition_that_is_new(sd):
    """Six partitions, each of which moves all gains; five are learnt from, the sixth is new."""
    rng = np.random.default_rng(0)
    drawn = planted(lambda _: SAME, participants=3, partitions=(*PARTITIONS, "new"))
    number = drawn.pairs["partition"].factorize()[0]
    choose, vanilla = rule(drawn, "vanilla"), ACTIONS.index(VANILLA)
    hits = []
    for _ in range(120):
        gains = sd * rng.normal(size=6)[number] + 2 * rng.normal(size=len(drawn))
        drawn.test[:, vanilla] = gains
        known = drawn.select_pairs(number < 5)
        reach = calibrate(known, choose, "partition").gain.reach
        hits += (np.abs(gains[number == 5] - gains[number < 5].mean()) <= reach).tolist()
    assert PROMISED_SHARE == 0.8
    assert 0.75 <= np.mean(hits) <= 0.90


def test_what_held_is_near_what_is_stated_where_partitions_are_alike():
    training_set = planted(lambda _: SAME, noise=3.0)
    found = calibrate(training_set, rule(training_set, "vanilla"), "partition").gain
    assert found.held == pytest.approx(PROMISED_SHARE, abs=0.08)
    assert found.bias == pytest.approx(0, abs=0.1)


def test_the_errors_are_those_of_rules_that_did_not_know_the_pair():
    """One partition gains 20 pp less than the others, which no one could know."""
    training_set = planted(lambda _: SAME)
    training_set.test[(training_set.pairs["partition"] == "uniform").to_numpy(), 1:] -= 20
    found = calibrate(training_set, rule(training_set, "vanilla"), "partition").gain
    assert found.bias == pytest.approx((20 - 4 * 5) / 5)
    assert found.error == pytest.approx((20 + 4 * 5) / 5)
    assert found.held < 1


def test_nothing_is_promised_where_nothing_is_done():
    training_set = planted(noise=1.0)
    found = calibrate(training_set, rule(training_set, "none"), "partition")
    assert found.gain.n == 0 and math.isnan(found.gain.bias) and math.isnan(found.gain.reach)
    tree = rule(training_set, "tree")
    advised = calibrate(training_set, tree, "participant").gain.n
    tried = calibrate(training_set, tree, "participant", tried=True).gain.n
    assert 0 < advised < tried == len(training_set)


def test_net_gains_are_judged_over_training_on():
    actions = (DO_NOTHING, TRAIN_ON, VANILLA)
    training_set = planted(lambda _: SAME, actions=actions)
    training_set.test[(training_set.pairs["partition"] == "uniform").to_numpy(), 1] += 10
    found = calibrate(training_set, rule(training_set, "vanilla"), "partition")
    assert found.gain.error == pytest.approx(0)
    assert found.net.error == pytest.approx((10 + 4 * 2.5) / 5)
    assert calibrate(planted(), rule(planted(), "vanilla"), "partition").net.n == 0


def test_of_too_few_partitions_nothing_is_said():
    training_set = planted(noise=1.0, partitions=PARTITIONS[:2])
    found = calibrate(training_set, rule(training_set, "vanilla"), "partition").gain
    assert math.isnan(found.reach) and math.isnan(found.held)
    one = planted(partitions=PARTITIONS[:1])
    judged = cross_validate(one, rule(one, "vanilla"), [])
    assert np.isnan(judged.promised.gain).all()
    assert calibrate(one, rule(one, "vanilla"), "partition").gain.n == 0
