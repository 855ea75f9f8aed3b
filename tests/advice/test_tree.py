import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.advice.training_set import DO_NOTHING, Action
from kdopt.advice.tree import (
    MIN_LEAF_PAIRS,
    NEIGHBOUR_WEIGHT,
    Band,
    Leaf,
    Question,
    compute_standard_error,
    find_band,
    find_short_threshold,
    grow_tree,
    smooth_gains,
)
from tests.advice.planted import DML, HIGH, LOW, VANILLA, by_gap, planted

GAP = ["accuracy_gap"]


def constant(gains):
    return lambda _features: gains


def test_a_planted_rule_is_found_with_its_thresholds():
    tree = grow_tree(planted(), planted().usable_features)
    for gap, action in ((-30, DO_NOTHING), (0, LOW), (30, HIGH)):
        features = dict.fromkeys(tree.names, 0.5) | {"accuracy_gap": gap}
        leaf, path = tree.find_leaf(features)
        assert leaf.action == action
        assert leaf.gain == max(0, *by_gap(features).values())
        assert {step.feature for step in path} == {"accuracy_gap"}
    # Gaps are multiples of 8 pp, so the planted 10 and -10 lie between 8 and 16.
    thresholds = sorted({s.threshold for _, path in tree.list_leaves() for s in path})
    assert len(thresholds) == 2
    assert -16 <= thresholds[0] < -8 and 8 <= thresholds[1] < 16


def test_noise_does_not_hide_the_rule():
    training_set = planted(noise=3.0)
    tree = grow_tree(training_set, training_set.usable_features)
    chosen = [training_set.actions[i] for i in tree.choose_advised(training_set)]
    right = [{-1: DO_NOTHING, 0: LOW, 1: HIGH}[int(np.sign(g) * (abs(g) > 10))] for g in
             training_set.pairs["accuracy_gap"]]  # fmt: skip
    assert np.mean([a == b for a, b in zip(chosen, right, strict=True)]) > 0.8


def test_where_one_action_is_best_for_all_nothing_is_asked():
    training_set = planted(constant({VANILLA: 2.0, LOW: 1.0, HIGH: 0.0, DML: -1.0}), noise=0.0)
    tree = grow_tree(training_set, training_set.usable_features)
    assert isinstance(tree.root, Leaf)
    assert tree.root.action == VANILLA


def test_of_equal_actions_the_simplest_is_advised():
    training_set = planted(constant({VANILLA: 0.0, LOW: 0.0, HIGH: 0.0, DML: 0.0}))
    assert grow_tree(training_set, training_set.usable_features).root.action == DO_NOTHING
    training_set = planted(constant({VANILLA: 1.0, LOW: 1.0, HIGH: 1.0, DML: 1.0}))
    assert grow_tree(training_set, training_set.usable_features).root.action == VANILLA


def test_every_pair_ends_in_one_leaf_that_says_what_its_pairs_gained():
    training_set = planted(noise=2.0)
    tree = grow_tree(training_set, training_set.usable_features)
    leaves = [leaf for leaf, _ in tree.list_leaves()]
    assert sorted(i for leaf in leaves for i in leaf.members) == list(range(len(training_set)))
    chosen, tried_first = tree.choose_advised(training_set), tree.choose_tried(training_set)
    for leaf in leaves:
        members = list(leaf.members)
        assert len(members) >= MIN_LEAF_PAIRS
        best = training_set.actions.index(leaf.action)
        assert (tried_first[members] == training_set.actions.index(leaf.distil)).all()
        assert leaf.action in (DO_NOTHING, leaf.distil)
        assert (chosen[members] == best).all()
        assert leaf.gain == pytest.approx(training_set.test[members, best].mean())
        tried = training_set.actions.index(leaf.distil)
        kept = np.where(
            training_set.validation[members, tried] > 0, training_set.test[members, tried], 0
        )
        assert leaf.guarded == pytest.approx(kept.mean())
        own = training_set.validation[members].argmax(axis=1)
        assert leaf.searched == pytest.approx(training_set.test[members, own].mean())
        assert sum(leaf.partitions.values()) == len(members)
        assert leaf.gains[leaf.action.method] == pytest.approx(leaf.gain)


def test_neighbours_never_advise_the_same():
    """A question whose answer changes nothing is not asked."""

    def check(node):
        if isinstance(node, Question):
            if isinstance(node.below, Leaf) and isinstance(node.above, Leaf):
                assert node.below.action != node.above.action
            check(node.below)
            check(node.above)

    for seed in range(10):
        training_set = planted(noise=6.0, seed=seed)
        check(grow_tree(training_set, training_set.usable_features).root)


def test_validation_alone_chooses_among_the_ways_to_distil():
    gains = {VANILLA: 2.0, LOW: 1.0, HIGH: 3.0, DML: -1.0}
    training_set = planted(lambda f: gains if f["accuracy_gap"] > 0 else by_gap(f), noise=1.0)
    before = grow_tree(training_set, training_set.usable_features)
    # Any other gains, as long as distilling helps at all.
    training_set.test[:] = 1 + np.abs(np.random.default_rng(9).normal(size=training_set.test.shape))
    after = grow_tree(training_set, training_set.usable_features)
    assert (before.choose_tried(training_set) == after.choose_tried(training_set)).all()


def test_what_gained_nothing_on_test_is_not_advised():
    training_set = planted(constant({VANILLA: 2.0, LOW: 1.0, HIGH: 0.0, DML: -1.0}))
    training_set.test[:] = -np.abs(training_set.test)
    (leaf, _), *others = grow_tree(training_set, training_set.usable_features).list_leaves()
    assert not others
    assert leaf.action == DO_NOTHING and leaf.distil == VANILLA and leaf.guarded == -2


def test_the_order_of_pairs_does_not_matter():
    training_set = planted(noise=1.0)
    order = np.random.default_rng(3).permutation(len(training_set))
    mixed = training_set.select_pairs(order)
    one, other = grow_tree(training_set, GAP), grow_tree(mixed, GAP)
    assert [p for _, p in one.list_leaves()] == [p for _, p in other.list_leaves()]
    assert (one.choose_advised(training_set)[order] == other.choose_advised(mixed)).all()


def test_without_questions_one_action_serves_all():
    training_set = planted()
    for tree in (grow_tree(training_set, []), grow_tree(training_set, GAP, depth=0)):
        assert isinstance(tree.root, Leaf)
        assert len(tree.root.members) == len(training_set)


def test_a_single_pair_can_be_learnt_from():
    training_set = planted().select_pairs(np.arange(1))
    assert grow_tree(training_set, GAP).root.members == (0,)


def test_where_nothing_is_to_be_done_the_best_way_to_distil_is_known_all_the_same():
    leaf, _ = grow_tree(planted(), GAP).find_leaf({"accuracy_gap": -30.0})
    assert leaf.action == DO_NOTHING and leaf.distil == LOW
    assert leaf.gain == leaf.guarded == 0  # tried once, it is never kept
    assert leaf.band is None


def test_the_band_of_a_leaf_is_that_of_its_cell():
    leaf, _ = grow_tree(planted(noise=0.1), GAP).find_leaf({"accuracy_gap": 30.0})
    assert leaf.action == HIGH
    assert leaf.band == Band((4.0, 4.0), (0.9, 0.9))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_shortest_number_between_two_parts_them(low, width):
    high = low + width
    if low < high:
        assert low <= find_short_threshold(low, high) < high


def test_thresholds_are_short():
    assert find_short_threshold(7.4, 16.2) == 10
    assert find_short_threshold(0.4312, 0.4488) == 0.44
    assert find_short_threshold(-33.0, 260.0) == 100


CELLS = [Action("tuned", t, a) for t in (1.0, 2.0, 4.0) for a in (0.1, 0.5, 0.9)]
ACTIONS = [DO_NOTHING, *CELLS, Action("dml")]


def row(**gains):
    """Gains of one pair by cell, such as T2_a5=3; -10 elsewhere, 0 for what is no cell."""
    out = np.full(len(ACTIONS), -10.0)
    out[[0, -1]] = 0
    for name, value in gains.items():
        t, a = (int(part[1:]) for part in name.split("_"))
        out[ACTIONS.index(Action("tuned", float(t), a / 10))] = value
    return out


@given(st.floats(-50, 50))
def test_a_flat_surface_stays_flat(level):
    gains = np.full((2, len(ACTIONS)), level)
    assert smooth_gains(ACTIONS, gains) == pytest.approx(gains)


def test_a_cell_is_drawn_towards_its_neighbours_only():
    gains = np.zeros((1, len(ACTIONS)))
    gains[0, ACTIONS.index(Action("tuned", 1.0, 0.1))] = 3.0  # a corner
    out = dict(zip(ACTIONS, smooth_gains(ACTIONS, gains)[0], strict=True))
    assert out[Action("tuned", 1.0, 0.1)] == pytest.approx(3 / (1 + 2 * NEIGHBOUR_WEIGHT))
    assert out[Action("tuned", 2.0, 0.1)] == pytest.approx(
        3 * NEIGHBOUR_WEIGHT / (1 + 3 * NEIGHBOUR_WEIGHT)
    )
    assert out[Action("tuned", 2.0, 0.5)] == 0  # diagonal
    assert gains[0].sum() == 3  # what was given is left alone


def test_what_is_no_cell_is_left_alone():
    gains = np.random.default_rng(0).normal(size=(4, len(ACTIONS)))
    out = smooth_gains(ACTIONS, gains)
    assert (out[:, [0, -1]] == gains[:, [0, -1]]).all()


def test_smoothing_does_not_depend_on_the_order_of_actions():
    gains = np.random.default_rng(0).normal(size=(4, len(ACTIONS)))
    order = np.random.default_rng(1).permutation(len(ACTIONS))
    mixed = smooth_gains([ACTIONS[i] for i in order], gains[:, order])
    assert mixed == pytest.approx(smooth_gains(ACTIONS, gains)[:, order])


def test_a_band_reaches_as_far_as_nothing_is_lost():
    gains = np.stack([row(T1_a5=1, T2_a5=1, T4_a5=1, T2_a9=1)] * 5)
    best = ACTIONS.index(Action("tuned", 2.0, 0.5))
    assert find_band(ACTIONS, gains, best) == Band((1.0, 4.0), (0.5, 0.9))


def test_a_band_does_not_jump_over_a_gap():
    gains = np.stack([row(T1_a1=1, T1_a9=1)] * 5)
    best = ACTIONS.index(Action("tuned", 1.0, 0.1))
    assert find_band(ACTIONS, gains, best) == Band((1.0, 1.0), (0.1, 0.1))


def test_a_lead_within_its_standard_error_is_no_lead():
    lead = np.array([2.0, -1.0, 1.5, -1.0, 0.0])
    gains = np.stack([row(T2_a5=5, T4_a5=5 - one) for one in lead])
    best = ACTIONS.index(Action("tuned", 2.0, 0.5))
    assert 0 < lead.mean() < compute_standard_error(lead)
    assert find_band(ACTIONS, gains, best).temperature == (2.0, 4.0)
    sure = np.stack([row(T2_a5=5, T4_a5=5 - one - 3) for one in lead])
    assert find_band(ACTIONS, sure, best).temperature == (2.0, 2.0)


def test_the_standard_error_of_one_value_is_0():
    assert compute_standard_error(np.array([3.0])) == 0
    assert compute_standard_error(np.array([1.0, 3.0])) == pytest.approx(1)
