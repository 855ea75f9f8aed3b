import math

import numpy as np
import pandas as pd
import pytest

from kdopt.analysis.stats import (
    average_column,
    compute_box,
    compute_ecdf,
    compute_interval,
    compute_mean,
    compute_sd,
    correlate_ranks,
    estimate_mean,
    make_generator,
    sum_squared_deviations,
)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        found = estimate_mean(rng.normal(2.0, 1.0, 60), rng, 400)
        hits += found.low <= 2.0 <= found.high
    assert 0.89 <= hits / 300 <= 0.99


def test_one_value_has_no_interval():
    found = estimate_mean([1.0], np.random.default_rng(0), 100)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert (found.mean, found.n) == (1.0, 1)


def test_spearman_agrees_with_scipy_ties_included():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 40, 15)).astype(float)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert correlate_ranks(x, y) == pytest.approx(expected)
    assert np.isnan(correlate_ranks(np.ones((1, 4)), np.arange(4.0)[None])).all()


def test_the_ecdf_rises_from_one_pair_to_all():
    data = compute_ecdf(pd.Series([3.0, 1.0, math.nan, 2.0, 1.0]))
    assert data.values == [1.0, 1.0, 2.0, 3.0]
    assert data.shares == [0.25, 0.5, 0.75, 1.0]
    assert compute_ecdf(pd.Series([], dtype=float)) == ([], [])


def test_a_box_of_known_numbers():
    found = compute_box(pd.Series(range(101), dtype=float))
    assert found == (5.0, 25.0, 50.0, 75.0, 95.0)


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


def test_a_generator_depends_on_every_name_and_on_nothing_else():
    drawn = make_generator(7, "summary", "uniform").integers(0, 2**62)
    assert drawn == make_generator(7, "summary", "uniform").integers(0, 2**62)
    others = [make_generator(8, "summary", "uniform"), make_generator(7, "summary", "all")]
    assert drawn not in [other.integers(0, 2**62) for other in others]


def test_an_interval_leaves_out_unknown_samples_and_needs_two():
    low, high = compute_interval(np.array([*np.linspace(0, 100, 1001), math.nan]))
    assert (low, high) == (pytest.approx(2.5), pytest.approx(97.5))
    assert math.isnan(compute_interval(np.array([1.0, math.nan]))[0])


def test_an_estimate_names_its_columns():
    found = estimate_mean([1.0, 2.0, 3.0], make_generator(0, "x"))
    line = found.name_columns("gain", "gain_low", "gain_high")
    assert line["gain"] == 2.0 and line["gain_low"] < 2.0 < line["gain_high"]
    assert found.n == 3
