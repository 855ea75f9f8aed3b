import math

import pytest

from kdopt.analysis.method_summaries import NON_IID, compute_tuning_ratios
from kdopt.analysis.tables import compute_tables
from kdopt.campaign.stage_settings import METHODS
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows


def gains_of(campaign, untuned, tuned=3.0):
    rows = make_rows(campaign, validation=lambda *_: tuned, test=lambda *_: tuned)
    rows += compare_rows(campaign, lambda part, s, method, gap: untuned[method], jitter=0.0)
    return compute_tables(rows, campaign).method_gains


def test_the_ratio_is_against_the_best_untuned_mean():
    campaign = compare_campaign()
    table = compute_tuning_ratios(
        gains_of(campaign, {"vanilla": 1, "dml": 2, "dp_kd": -1}), campaign
    )
    uniform = table.set_index("partition").loc["uniform"]
    assert uniform["best_method"] == "dml"
    assert uniform["difference"] == pytest.approx(1.0)
    assert uniform["ratio"] == pytest.approx(50.0)
    assert uniform["low"] == uniform["high"] == pytest.approx(1.0)


def test_a_negative_denominator_keeps_the_sign_of_the_difference():
    campaign = compare_campaign()
    table = compute_tuning_ratios(gains_of(campaign, dict.fromkeys(METHODS, -2)), campaign)
    assert table["ratio"].iloc[0] == pytest.approx(250.0)


def test_a_denominator_of_zero_has_no_ratio_but_pp():
    campaign = compare_campaign()
    table = compute_tuning_ratios(gains_of(campaign, dict.fromkeys(METHODS, 0)), campaign)
    assert math.isnan(table["ratio"].iloc[0])
    assert table["difference"].iloc[0] == pytest.approx(3.0)


def test_the_last_line_is_the_mean_of_the_non_iid_partitions():
    campaign = compare_campaign()
    gains = gains_of(campaign, {"vanilla": 1, "dml": 2, "dp_kd": -1})
    table = compute_tuning_ratios(gains, campaign)
    assert table["partition"].iloc[-1] == NON_IID
    skewed = table[~table["partition"].isin(["uniform", NON_IID])]
    assert table["ratio"].iloc[-1] == pytest.approx(skewed["ratio"].mean())
    assert table["n"].iloc[-1] == skewed["n"].sum()


def test_without_tuning_there_is_nothing_to_compare():
    campaign = compare_campaign()
    gains = compute_tables(compare_rows(campaign), campaign).method_gains
    assert compute_tuning_ratios(gains, campaign).empty
