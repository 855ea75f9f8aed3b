import math
import random

import pandas as pd
import pytest

from kdopt.analysis.method_summaries import (
    NON_IID,
    compute_box,
    compute_ecdf,
    compute_tuning_ratios,
    correlate_accuracies,
    count_best_teachers,
    find_best_teachers,
    summarise_learning,
    summarise_transfers,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import METHODS
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows, pretrain_rows


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=6)


@pytest.fixture(scope="module")
def gains(campaign):
    return Tables(make_rows(campaign) + compare_rows(campaign), campaign).method_gains


def test_rates_and_magnitudes_make_up_the_sum(campaign, gains):
    summary = summarise_transfers(gains)
    assert len(summary) == 5 * 13
    for line in summary.fillna(0).to_dict("records"):
        positive = line["n"] * line["positive_rate"] / 100
        total = positive * line["mean_positive"] + (line["n"] - positive) * line["mean_negative"]
        assert total == pytest.approx(line["cumulative_gain"], abs=1e-6)
        assert line["mean_gain"] == pytest.approx(line["cumulative_gain"] / line["n"])
        assert line["low"] <= line["mean_gain"] <= line["high"]


def test_lines_stand_in_the_order_of_the_campaign(campaign, gains):
    summary = summarise_transfers(gains)
    assert list(summary["partition"].unique()) == [p.name for p in campaign.partitions]
    first = summary[summary["partition"] == "uniform"]
    assert next(iter(first["transfer_set"])) == "student"
    assert list(first["method"])[:4] == ["vanilla", "dml", "dp_kd", "tuned"]


def test_no_gain_is_no_positive_transfer(campaign):
    rows = pretrain_rows(campaign) + compare_rows(campaign, lambda *_: 0.0, jitter=0.0)
    summary = summarise_transfers(Tables(rows, campaign).method_gains)
    assert set(summary["positive_rate"]) == {0.0}
    assert summary[["mean_positive", "mean_negative"]].isna().all(axis=None)


def test_learning_and_forgetting_per_kind_add_up_to_all_pairs(campaign, gains):
    table = summarise_learning(gains)
    own = gains[gains["transfer_set"] == "student"]
    for groups in (("weak", "stronger"), ("much weaker", "similar", "strong")):
        assert table[table["teacher_kind"].isin(groups)]["n"].sum() == len(own)
    for kind in ("much weaker", "strong"):
        here = own[(own["teacher_kind"] == kind) & (own["method"] == "dml")]
        here = here[here["partition"] == "specialized"]
        line = table[(table["teacher_kind"] == kind) & (table["method"] == "dml")]
        line = line[line["partition"] == "specialized"].iloc[0]
        assert line["learning"] == pytest.approx(here["learning"].mean())
        assert line["learning"] - line["forgetting"] == pytest.approx(here["test_gain"].mean())


@pytest.fixture(scope="module")
def small_campaign():
    return compare_campaign(participants=5)


def gains_by(small_campaign, gain, jitter=0.0):
    rows = pretrain_rows(small_campaign) + compare_rows(small_campaign, gain, jitter)
    return Tables(rows, small_campaign).method_gains


def test_counts_sum_to_the_number_of_students_also_with_ties(small_campaign):
    for jitter in (0.0, 0.5):
        for gain in (lambda *_: 1.0, lambda part, s, m, gap: round(gap / 6)):
            counts = count_best_teachers(gains_by(small_campaign, gain, jitter))
            sums = counts.groupby(["partition", "method"])["times_best"].sum()
            assert sums.tolist() == pytest.approx([small_campaign.participants] * len(sums))


def test_a_tie_of_all_is_split_evenly_and_has_no_correlation(small_campaign):
    counts = count_best_teachers(gains_by(small_campaign, lambda *_: 1.0))
    assert counts["times_best"].tolist() == pytest.approx([1.0] * len(counts))
    assert correlate_accuracies(counts)["correlation"].isna().all()
    assert set(find_best_teachers(gains_by(small_campaign, lambda *_: 1.0))["share"]) == {0.25}


def test_where_accuracy_decides_the_most_accurate_is_best_for_all_others(small_campaign):
    gains = gains_by(small_campaign, lambda part, s, method, gap: gap)
    counts = count_best_teachers(gains)
    one = counts[(counts["partition"] == "uniform") & (counts["method"] == "dml")]
    assert one["times_best"].tolist() == [0, 0, 0, 1, 4]
    choices = find_best_teachers(gains)
    assert set(choices["place"]) == {1.0} and set(choices["top"]) == {1.0}
    assert (correlate_accuracies(counts)["correlation"] > 0.7).all()


def test_the_place_is_that_among_the_other_participants(small_campaign):
    choices = find_best_teachers(gains_by(small_campaign, lambda part, s, method, gap: -abs(gap)))
    student = choices[(choices["partition"] == "uniform") & (choices["method"] == "dml")]
    found = {int(s): set(t["place"].round(6)) for s, t in student.groupby("student")}
    assert found[0] == {0.0}
    assert found[2] == {round(1 / 3, 6), round(2 / 3, 6)}
    assert found[4] == {1.0}


def test_order_of_rows_changes_nothing(small_campaign):
    rows = make_rows(small_campaign) + compare_rows(small_campaign)
    shuffled = random.Random(2).sample(rows, len(rows))
    first, second = (
        count_best_teachers(Tables(r, small_campaign).method_gains) for r in (rows, shuffled)
    )
    assert first.equals(second)


def test_nothing_to_count(small_campaign):
    empty = Tables([], small_campaign).method_gains
    assert count_best_teachers(empty).empty
    assert correlate_accuracies(count_best_teachers(empty)).empty


def gains_of(campaign, untuned, tuned=3.0):
    rows = make_rows(campaign, validation=lambda *_: tuned, test=lambda *_: tuned)
    rows += compare_rows(campaign, lambda part, s, method, gap: untuned[method], jitter=0.0)
    return Tables(rows, campaign).method_gains


def test_the_ratio_is_against_the_best_untuned_mean():
    campaign = compare_campaign(participants=5)
    table = compute_tuning_ratios(gains_of(campaign, {"vanilla": 1, "dml": 2, "dp_kd": -1}))
    uniform = table.set_index("partition").loc["uniform"]
    assert uniform["best_method"] == "dml"
    assert uniform["difference"] == pytest.approx(1.0)
    assert uniform["ratio"] == pytest.approx(50.0)
    assert uniform["low"] == pytest.approx(1.0) and uniform["high"] == pytest.approx(1.0)


def test_the_net_ratio_takes_off_both_what_training_on_alone_gains():
    campaign = compare_campaign(participants=5)
    gains = gains_of(campaign, {"vanilla": 1, "dml": 2, "dp_kd": -1})
    assert compute_tuning_ratios(gains)["net_ratio"].isna().all()
    table = compute_tuning_ratios(gains.assign(control_gain=1.5))
    uniform = table.set_index("partition").loc["uniform"]
    # 3 and 2 less 1.5 are 1.5 and 0.5.
    assert uniform["net_ratio"] == pytest.approx(200.0)
    assert (uniform["ratio"], uniform["control_gain"]) == (pytest.approx(50.0), 1.5)


def test_a_negative_denominator_keeps_the_sign_of_the_difference():
    campaign = compare_campaign()
    table = compute_tuning_ratios(gains_of(campaign, dict.fromkeys(METHODS, -2)))
    assert table["ratio"].iloc[0] == pytest.approx(250.0)


def test_a_denominator_of_zero_has_no_ratio_but_pp():
    campaign = compare_campaign()
    table = compute_tuning_ratios(gains_of(campaign, dict.fromkeys(METHODS, 0)))
    assert math.isnan(table["ratio"].iloc[0])
    assert table["difference"].iloc[0] == pytest.approx(3.0)


def test_the_last_line_is_the_mean_of_the_non_iid_partitions():
    campaign = compare_campaign()
    gains = gains_of(campaign, {"vanilla": 1, "dml": 2, "dp_kd": -1})
    table = compute_tuning_ratios(gains)
    assert table["partition"].iloc[-1] == NON_IID
    skewed = table[~table["partition"].isin(["uniform", NON_IID])]
    assert table["ratio"].iloc[-1] == pytest.approx(skewed["ratio"].mean())
    assert table["n"].iloc[-1] == skewed["n"].sum()


def test_without_tuning_there_is_nothing_to_compare():
    campaign = compare_campaign()
    gains = Tables(compare_rows(campaign), campaign).method_gains
    assert compute_tuning_ratios(gains).empty


def test_the_ecdf_rises_from_one_pair_to_all():
    data = compute_ecdf(pd.Series([3.0, 1.0, math.nan, 2.0, 1.0]))
    assert data.values == [1.0, 1.0, 2.0, 3.0]
    assert data.shares == [0.25, 0.5, 0.75, 1.0]
    assert compute_ecdf(pd.Series([], dtype=float)) == ([], [])


def test_a_box_of_known_numbers():
    found = compute_box(pd.Series(range(101), dtype=float))
    assert found == (5.0, 25.0, 50.0, 75.0, 95.0)
