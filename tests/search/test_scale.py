from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.search.prior import Result
from kdopt.search.scale import outputs, squash, unsquash

GAINS = st.floats(-100, 100)
BENDS = st.floats(0.1, 50)


@given(GAINS, BENDS)
def test_a_squashed_gain_comes_back(gain, bend):
    assert unsquash(squash(gain, bend), bend) == pytest.approx(gain, rel=1e-9, abs=1e-9)


@given(st.floats(-10, 100), BENDS)
def test_what_is_believed_comes_back_too(value, bend):
    assert squash(unsquash(value, bend), bend) == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(GAINS, GAINS, BENDS)
def test_every_order_is_kept(one, other, bend):
    low, high = sorted((one, other))
    assert squash(low, bend) <= squash(high, bend)
    if high - low > 1e-6:
        assert squash(low, bend) < squash(high, bend)


def test_gains_stay_and_losses_count_for_less_the_greater_they_are():
    gains = np.linspace(0, 50, 11)
    assert np.array_equal(squash(gains), gains)
    losses = squash(-gains)
    steps = -np.diff(losses)
    assert (losses >= -gains).all()
    assert (np.diff(steps) < 0).all()
    # There is no kink where the two meet.
    assert squash(-1e-6) == pytest.approx(-1e-6, rel=1e-3)


def test_the_gain_is_the_first_of_four_outputs_and_each_rises_with_its_own_number():
    base = (-3.0, 2.0, 5.0, -0.4)
    low = outputs([Result(*base)])
    assert low.shape == (1, 4)
    assert low[0, 0] == squash(-3.0)
    for i in range(4):
        more = list(base)
        more[i] += 1
        moved = outputs([Result(*more)]) - low
        assert moved[0, i] > 0
        assert np.count_nonzero(moved) == 1


def test_what_changes_nothing_is_nought_and_the_loss_is_odd():
    assert not outputs([Result(0, 0, 0, 0)]).any()
    for loss in (0.01, 0.5, 7.0):
        up, down = outputs([Result(0, 0, 0, loss), Result(0, 0, 0, -loss)])[:, 3]
        assert up == -down > 0


def test_no_results_are_no_rows_and_all_are_finite():
    assert outputs([]).shape == (0, 4)
    worst = outputs([Result(-100, 0, 100, 50), Result(100, 100, 0, -50)])
    assert np.isfinite(worst).all()
