import math

import pandas as pd
import pytest

from kdopt.analysis.method_summaries import summarise_learning, summarise_transfers
from kdopt.analysis.stats import compute_box, compute_ecdf
from kdopt.analysis.tables import compute_tables
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows, pretrain_rows


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=6)


@pytest.fixture(scope="module")
def gains(campaign):
    return compute_tables(make_rows(campaign) + compare_rows(campaign), campaign).method_gains


def test_rates_and_magnitudes_make_up_the_sum(campaign, gains):
    summary = summarise_transfers(gains, campaign)
    assert len(summary) == 5 * 13
    for line in summary.fillna(0).to_dict("records"):
        positive = line["n"] * line["positive_rate"] / 100
        total = positive * line["mean_positive"] + (line["n"] - positive) * line["mean_negative"]
        assert total == pytest.approx(line["cumulative_gain"], abs=1e-6)
        assert line["mean_gain"] == pytest.approx(line["cumulative_gain"] / line["n"])
        assert line["low"] <= line["mean_gain"] <= line["high"]


def test_lines_stand_in_the_order_of_the_campaign(campaign, gains):
    summary = summarise_transfers(gains, campaign)
    assert list(summary["partition"].unique()) == [p.name for p in campaign.partitions]
    first = summary[summary["partition"] == "uniform"]
    assert next(iter(first["transfer_set"])) == "student"
    assert list(first["method"])[:4] == ["vanilla", "dml", "dp_kd", "tuned"]


def test_no_gain_is_no_positive_transfer(campaign):
    rows = pretrain_rows(campaign) + compare_rows(campaign, lambda *_: 0.0, jitter=0.0)
    summary = summarise_transfers(compute_tables(rows, campaign).method_gains, campaign)
    assert set(summary["positive_rate"]) == {0.0}
    assert summary[["mean_positive", "mean_negative"]].isna().all(axis=None)


def test_the_ecdf_rises_from_one_pair_to_all():
    data = compute_ecdf(pd.Series([3.0, 1.0, math.nan, 2.0, 1.0]))
    assert data.values == [1.0, 1.0, 2.0, 3.0]
    assert data.shares == [0.25, 0.5, 0.75, 1.0]
    assert compute_ecdf(pd.Series([], dtype=float)) == ([], [])


def test_a_box_of_known_numbers():
    found = compute_box(pd.Series(range(101), dtype=float))
    assert found == (5.0, 25.0, 50.0, 75.0, 95.0)


def test_learning_and_forgetting_per_kind_add_up_to_all_pairs(campaign, gains):
    table = summarise_learning(gains, campaign)
    own = gains[gains["transfer_set"] == "student"]
    assert table["n"].sum() == len(own)
    for kind in ("weak", "strong"):
        here = own[(own["teacher_kind"] == kind) & (own["method"] == "dml")]
        here = here[here["partition"] == "specialized"]
        line = table[(table["teacher_kind"] == kind) & (table["method"] == "dml")]
        line = line[line["partition"] == "specialized"].iloc[0]
        assert line["learning"] == pytest.approx(here["learning"].mean())
        assert line["learning"] - line["forgetting"] == pytest.approx(here["test_gain"].mean())
