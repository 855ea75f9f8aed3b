import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdopt.analysis.stats import (
    LEAST_UNITS,
    average,
    average_column,
    compute_mean,
    compute_sd,
    correlate_ranks,
    estimate,
    estimate_correlation,
    estimate_independent,
    estimate_mean,
    estimate_share,
    sum_squared_deviations,
)
from scripts.coverage_of_intervals import (
    SETTINGS,
    cover_share,
    draw_gains,
    list_pairs,
    measure_coverage,
)


@pytest.mark.parametrize(("partitions", "participants", "shares"), SETTINGS)
def test_intervals_hold_the_truth_as_often_as_they_say(partitions, participants, shares):
    """Whatever part of a gain goes with its student and its teacher; 4,000 seeded draws each."""
    found = measure_coverage(partitions, participants, shares, 4000)
    assert set(found) == {"mean", "ratio", "ranks"}
    for kind, held in found.items():
        assert 0.92 <= held <= 0.99, (kind, held)


def test_intervals_of_shares_hold_the_truth_at_least_as_often():
    for shares in ((0.0, 0.0), (0.9, 0.0)):
        assert cover_share(1, 6, shares, 200) >= 0.92


def test_independent_students_have_the_interval_of_the_textbook():
    table = pd.DataFrame({"partition": "uniform", "student": range(8)})
    values = pd.Series(np.random.default_rng(0).normal(size=8))
    low, high = stats.t.interval(0.95, 7, values.mean(), values.std() / np.sqrt(8))
    for found in (estimate_mean(table, values), estimate_independent(values)):
        assert found[:4] == pytest.approx((values.mean(), low, high, 8))


def test_effects_of_participants_alone_have_their_error_and_nothing_taken_off():
    """Gains that are sums of one number per participant: the mean is 2 of the mean of these."""
    table = list_pairs(1, 6)
    effects = np.random.default_rng(0).normal(size=6)
    gains = pd.Series(effects[table["teacher"]] + effects[table["student"]])
    found = estimate_mean(table, gains)
    error = 2 * np.std(effects, ddof=1) / np.sqrt(6)
    assert found.mean == pytest.approx(2 * effects.mean())
    assert (found.error, found.freedom) == pytest.approx((error, 5))


def test_partitions_are_strata_whose_differences_are_no_error():
    table = list_pairs(3, 4)
    gains = pd.Series(draw_gains(np.random.default_rng(1), table, (0.35, 0.2), 1)[:, 0])
    found = estimate_mean(table, gains)
    moved = estimate_mean(table, gains + 100 * table["partition"])
    assert moved.error == pytest.approx(found.error)


def test_fewer_than_five_independent_units_have_no_interval():
    assert LEAST_UNITS == 5
    for participants, known in ((4, False), (5, True)):
        table = list_pairs(1, participants)
        gains = pd.Series(draw_gains(np.random.default_rng(0), table, (0, 0), 1)[:, 0])
        for found in (estimate_mean(table, gains), estimate_share(table, gains > 0)):
            assert math.isnan(found.low) is not known
    assert math.isnan(estimate_independent([1.0, 2.0, 3.0, 4.0]).low)
    # Nine pairs of one student hang on that student.
    star = pd.DataFrame({"partition": "a", "teacher": range(1, 10), "student": 0})
    assert math.isnan(estimate_mean(star, pd.Series(np.arange(9.0))).low)


def test_a_partition_that_hangs_on_one_participant_is_joined_with_others():
    table = pd.concat(
        [list_pairs(1, 6), pd.DataFrame({"partition": 1, "teacher": [1, 2], "student": 0})],
        ignore_index=True,
    )
    found = estimate_mean(table, pd.Series(np.random.default_rng(0).normal(size=len(table))))
    assert found.low < found.mean < found.high


def test_unknown_values_are_left_out_of_an_estimate():
    table = list_pairs(1, 6)
    gains = pd.Series(draw_gains(np.random.default_rng(0), table, (0.3, 0.2), 1)[:, 0])
    gains[::4] = math.nan
    known = gains.notna()
    assert estimate_mean(table, gains) == estimate_mean(table[known], gains[known])
    assert estimate_mean(table, gains).n == known.sum()
    assert estimate_mean(table, gains * math.nan).n == 0


def test_a_share_is_never_known_from_nought_of_many():
    table = list_pairs(1, 10)
    none = estimate_share(table, pd.Series(np.zeros(90, dtype=bool)))
    # Ten participants, not ninety pairs.
    expected = 100 * (1 - 0.025 ** (1 / 10))
    assert (none.mean, none.low) == (0, 0) and none.high == pytest.approx(expected)
    every = estimate_share(table, pd.Series(np.ones(90, dtype=bool)))
    assert (every.high, every.low) == (100, pytest.approx(100 - expected))


def test_a_share_of_independent_students_has_the_exact_binomial_interval():
    table = pd.DataFrame({"partition": "uniform", "student": range(20)})
    found = estimate_share(table, pd.Series([True] * 7 + [False] * 13))
    exact = stats.binomtest(7, 20).proportion_ci(method="exact")
    # The jackknife's spread has 19 degrees of freedom where the binomial's has 20.
    assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1)


def test_a_correlation_is_that_within_partitions():
    """Simpson's paradox: it falls in each partition and rises over all."""
    table = list_pairs(2, 6)
    rng = np.random.default_rng(0)
    x = pd.Series(rng.normal(size=len(table)))
    y = -x + 0.3 * rng.normal(size=len(table))
    apart = 50 * table["partition"]
    assert correlate_ranks(x + apart, y + apart) > 0.4
    found = estimate_correlation(table, x + apart, y + apart)
    assert found.mean < -0.8 and found.high < 0
    for part in (0, 1):
        own = table["partition"] == part
        within = estimate_correlation(table[own], x[own], y[own])
        assert within.mean == pytest.approx(correlate_ranks(x[own], y[own]))


def test_a_constant_has_no_correlation():
    table = list_pairs(1, 6)
    found = estimate_correlation(table, pd.Series(np.ones(30)), pd.Series(np.arange(30.0)))
    assert math.isnan(found.mean) and found.n == 0


def test_the_best_rival_is_chosen_again_without_each_participant():
    table = list_pairs(1, 6)
    gains = draw_gains(np.random.default_rng(3), table, (0.6, 0.1), 4)
    least = estimate(lambda w: (average(w, gains)[:, :1] - average(w, gains)).min(axis=1), table)
    means = gains.mean(axis=0)
    assert least.mean == pytest.approx(means[0] - means.max())


def test_p_values_agree_with_the_ends_of_the_interval():
    table = list_pairs(2, 6)
    gains = pd.Series(draw_gains(np.random.default_rng(0), table, (0.35, 0.2), 1)[:, 0])
    others = pd.Series(draw_gains(np.random.default_rng(1), table, (0.35, 0.2), 1)[:, 0])
    for found in (
        estimate_mean(table, gains),
        estimate_correlation(table, gains, gains + others),
        estimate_share(table, gains > -0.5),
        estimate_share(table, pd.Series(np.zeros(len(table), dtype=bool))),
    ):
        # Tests may be a little more careful than the interval, never less.
        if found.low > 0 or found.scale != "share":
            assert found.test_above(found.low) == pytest.approx(0.025, abs=0.01)
        assert found.test_below(found.high) == pytest.approx(0.025, abs=0.01)
        assert found.test_above(-math.inf) == pytest.approx(0, abs=1e-12)
    few = estimate_independent([1.0, 2.0])
    assert math.isnan(few.test_above(0)) and math.isnan(few.test_below(0))
    sure = estimate_mean(table, gains * 0)
    assert (sure.low, sure.high) == (0, 0)
    assert (sure.test_above(-1), sure.test_above(0), sure.test_below(1)) == (0, 1, 0)


def test_spearman_agrees_with_scipy_ties_included():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = (pd.Series(rng.integers(0, 6, 15).astype(float)) for _ in range(2))
        assert correlate_ranks(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(correlate_ranks(pd.Series(np.ones(4)), pd.Series(np.arange(4.0))))


def test_unknown_values_are_left_out_of_a_mean_and_order_does_not_matter():
    values = [0.1, math.nan, 0.2, 0.3, 1e16, -1e16]
    assert compute_mean(values) == compute_mean(values[::-1]) == pytest.approx(0.12)
    assert math.isnan(compute_mean([math.nan])) and math.isnan(compute_mean([]))
    table = pd.DataFrame({"gain": [1.0, math.nan, 2.0]})
    assert average_column(table, "gain") == 1.5


def test_the_spread_is_the_sample_deviation_and_unknown_for_one_value():
    assert compute_sd([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert sum_squared_deviations([1.0, 3.0]) == 2.0
    assert math.isnan(compute_sd([1.0]))


def test_an_estimate_names_its_columns():
    found = estimate_independent([1.0, 2.0, 3.0, 4.0, 5.0])
    line = found.name_columns("gain", "gain_low", "gain_high")
    assert line["gain"] == 3.0 and line["gain_low"] < 3.0 < line["gain_high"]
    assert found.n == 5
