import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.advice.grid import Band
from kdopt.advice.training_set import NONE
from kdopt.advice.tree import LEAF_PAIRS, Leaf, Split, grow, shortest_between
from tests.advice.planted import DML, HIGH, LOW, VANILLA, by_gap, planted

GAP = ["accuracy_gap"]


def constant(gains):
    return lambda _features: gains


def test_a_planted_rule_is_found_with_its_thresholds():
    tree = grow(planted(), planted().known)
    for gap, action in ((-30, NONE), (0, LOW), (30, HIGH)):
        features = dict.fromkeys(tree.names, 0.5) | {"accuracy_gap": gap}
        leaf, path = tree.leaf(features)
        assert leaf.action == action
        assert leaf.gain == max(0, *by_gap(features).values())
        assert {step.feature for step in path} == {"accuracy_gap"}
    # Gaps are multiples of 8 pp, so the planted 10 and -10 lie between 8 and 16.
    thresholds = sorted({s.threshold for _, path in tree.leaves() for s in path})
    assert len(thresholds) == 2
    assert -16 <= thresholds[0] < -8 and 8 <= thresholds[1] < 16


def test_noise_does_not_hide_the_rule():
    lessons = planted(noise=3.0)
    tree = grow(lessons, lessons.known)
    chosen = [lessons.actions[i] for i in tree.choose(lessons)]
    right = [{-1: NONE, 0: LOW, 1: HIGH}[int(np.sign(g) * (abs(g) > 10))] for g in
             lessons.pairs["accuracy_gap"]]  # fmt: skip
    assert np.mean([a == b for a, b in zip(chosen, right, strict=True)]) > 0.8


def test_where_one_action_is_best_for_all_nothing_is_asked():
    lessons = planted(constant({VANILLA: 2.0, LOW: 1.0, HIGH: 0.0, DML: -1.0}), noise=0.0)
    tree = grow(lessons, lessons.known)
    assert isinstance(tree.root, Leaf)
    assert tree.root.action == VANILLA


def test_of_equal_actions_the_simplest_is_advised():
    lessons = planted(constant({VANILLA: 0.0, LOW: 0.0, HIGH: 0.0, DML: 0.0}))
    assert grow(lessons, lessons.known).root.action == NONE
    lessons = planted(constant({VANILLA: 1.0, LOW: 1.0, HIGH: 1.0, DML: 1.0}))
    assert grow(lessons, lessons.known).root.action == VANILLA


def test_every_pair_ends_in_one_leaf_that_says_what_its_pairs_gained():
    lessons = planted(noise=2.0)
    tree = grow(lessons, lessons.known)
    leaves = [leaf for leaf, _ in tree.leaves()]
    assert sorted(i for leaf in leaves for i in leaf.members) == list(range(len(lessons)))
    chosen, to_try = tree.choose(lessons), tree.to_try(lessons)
    for leaf in leaves:
        members = list(leaf.members)
        assert len(members) >= LEAF_PAIRS
        best = lessons.actions.index(leaf.action)
        assert (to_try[members] == lessons.actions.index(leaf.distil)).all()
        assert leaf.action in (NONE, leaf.distil)
        assert (chosen[members] == best).all()
        assert leaf.gain == pytest.approx(lessons.test[members, best].mean())
        tried = lessons.actions.index(leaf.distil)
        kept = np.where(lessons.validation[members, tried] > 0, lessons.test[members, tried], 0)
        assert leaf.guarded == pytest.approx(kept.mean())
        own = lessons.validation[members].argmax(axis=1)
        assert leaf.searched == pytest.approx(lessons.test[members, own].mean())
        assert sum(leaf.partitions.values()) == len(members)
        assert leaf.gains[leaf.action.method] == pytest.approx(leaf.gain)


def test_neighbours_never_advise_the_same():
    """A question whose answer changes nothing is not asked."""

    def check(node):
        if isinstance(node, Split):
            if isinstance(node.below, Leaf) and isinstance(node.above, Leaf):
                assert node.below.action != node.above.action
            check(node.below)
            check(node.above)

    for seed in range(10):
        lessons = planted(noise=6.0, seed=seed)
        check(grow(lessons, lessons.known).root)


def test_validation_alone_chooses_among_the_ways_to_distil():
    gains = {VANILLA: 2.0, LOW: 1.0, HIGH: 3.0, DML: -1.0}
    lessons = planted(lambda f: gains if f["accuracy_gap"] > 0 else by_gap(f), noise=1.0)
    before = grow(lessons, lessons.known)
    # Any other gains, as long as distilling helps at all.
    lessons.test[:] = 1 + np.abs(np.random.default_rng(9).normal(size=lessons.test.shape))
    after = grow(lessons, lessons.known)
    assert (before.to_try(lessons) == after.to_try(lessons)).all()


def test_what_gained_nothing_on_test_is_not_advised():
    lessons = planted(constant({VANILLA: 2.0, LOW: 1.0, HIGH: 0.0, DML: -1.0}))
    lessons.test[:] = -np.abs(lessons.test)
    (leaf, _), *others = grow(lessons, lessons.known).leaves()
    assert not others
    assert leaf.action == NONE and leaf.distil == VANILLA and leaf.guarded == -2


def test_the_order_of_pairs_does_not_matter():
    lessons = planted(noise=1.0)
    order = np.random.default_rng(3).permutation(len(lessons))
    mixed = lessons.take(order)
    one, other = grow(lessons, GAP), grow(mixed, GAP)
    assert [p for _, p in one.leaves()] == [p for _, p in other.leaves()]
    assert (one.choose(lessons)[order] == other.choose(mixed)).all()


def test_without_questions_one_action_serves_all():
    lessons = planted()
    for tree in (grow(lessons, []), grow(lessons, GAP, depth=0)):
        assert isinstance(tree.root, Leaf)
        assert len(tree.root.members) == len(lessons)


def test_a_single_pair_can_be_learnt_from():
    lessons = planted().take(np.arange(1))
    assert grow(lessons, GAP).root.members == (0,)


def test_where_nothing_is_to_be_done_the_best_way_to_distil_is_known_all_the_same():
    leaf, _ = grow(planted(), GAP).leaf({"accuracy_gap": -30.0})
    assert leaf.action == NONE and leaf.distil == LOW
    assert leaf.gain == leaf.guarded == 0  # tried once, it is never kept
    assert leaf.band is None


def test_the_band_of_a_leaf_is_that_of_its_cell():
    leaf, _ = grow(planted(noise=0.1), GAP).leaf({"accuracy_gap": 30.0})
    assert leaf.action == HIGH
    assert leaf.band == Band((4.0, 4.0), (0.9, 0.9))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_shortest_number_between_two_parts_them(low, width):
    high = low + width
    if low < high:
        assert low <= shortest_between(low, high) < high


def test_thresholds_are_short():
    assert shortest_between(7.4, 16.2) == 10
    assert shortest_between(0.4312, 0.4488) == 0.44
    assert shortest_between(-33.0, 260.0) == 100
