import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.advice.grid import NEIGHBOUR, Band, band_of, smoothed, standard_error
from kdopt.advice.training_set import NONE, Action

CELLS = [Action("tuned", t, a) for t in (1.0, 2.0, 4.0) for a in (0.1, 0.5, 0.9)]
ACTIONS = [NONE, *CELLS, Action("dml")]


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
    assert smoothed(ACTIONS, gains) == pytest.approx(gains)


def test_a_cell_is_drawn_towards_its_neighbours_only():
    gains = np.zeros((1, len(ACTIONS)))
    gains[0, ACTIONS.index(Action("tuned", 1.0, 0.1))] = 3.0  # a corner
    out = dict(zip(ACTIONS, smoothed(ACTIONS, gains)[0], strict=True))
    assert out[Action("tuned", 1.0, 0.1)] == pytest.approx(3 / (1 + 2 * NEIGHBOUR))
    assert out[Action("tuned", 2.0, 0.1)] == pytest.approx(3 * NEIGHBOUR / (1 + 3 * NEIGHBOUR))
    assert out[Action("tuned", 2.0, 0.5)] == 0  # diagonal
    assert gains[0].sum() == 3  # what was given is left alone


def test_what_is_no_cell_is_left_alone():
    gains = np.random.default_rng(0).normal(size=(4, len(ACTIONS)))
    out = smoothed(ACTIONS, gains)
    assert (out[:, [0, -1]] == gains[:, [0, -1]]).all()


def test_smoothing_does_not_depend_on_the_order_of_actions():
    gains = np.random.default_rng(0).normal(size=(4, len(ACTIONS)))
    order = np.random.default_rng(1).permutation(len(ACTIONS))
    mixed = smoothed([ACTIONS[i] for i in order], gains[:, order])
    assert mixed == pytest.approx(smoothed(ACTIONS, gains)[:, order])


def test_a_band_reaches_as_far_as_nothing_is_lost():
    gains = np.stack([row(T1_a5=1, T2_a5=1, T4_a5=1, T2_a9=1)] * 5)
    best = ACTIONS.index(Action("tuned", 2.0, 0.5))
    assert band_of(ACTIONS, gains, best) == Band((1.0, 4.0), (0.5, 0.9))


def test_a_band_does_not_jump_over_a_gap():
    gains = np.stack([row(T1_a1=1, T1_a9=1)] * 5)
    best = ACTIONS.index(Action("tuned", 1.0, 0.1))
    assert band_of(ACTIONS, gains, best) == Band((1.0, 1.0), (0.1, 0.1))


def test_a_lead_within_its_standard_error_is_no_lead():
    lead = np.array([2.0, -1.0, 1.5, -1.0, 0.0])
    gains = np.stack([row(T2_a5=5, T4_a5=5 - one) for one in lead])
    best = ACTIONS.index(Action("tuned", 2.0, 0.5))
    assert 0 < lead.mean() < standard_error(lead)
    assert band_of(ACTIONS, gains, best).temperature == (2.0, 4.0)
    sure = np.stack([row(T2_a5=5, T4_a5=5 - one - 3) for one in lead])
    assert band_of(ACTIONS, sure, best).temperature == (2.0, 2.0)


def test_the_standard_error_of_one_value_is_0():
    assert standard_error(np.array([3.0])) == 0
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1)
