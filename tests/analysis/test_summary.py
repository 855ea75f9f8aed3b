import math

import numpy as np
import pytest

from kdopt.analysis.stats import estimate_mean
from kdopt.analysis.tables import compute_tables
from kdopt.analysis.tuning import OVERALL, list_headline_measures, summarise_gains
from kdopt.campaign.settings import PartitionSettings
from tests.analysis.synthetic import make_campaign, make_rows, pretrain_rows


def table_of(campaign, rows=None):
    return compute_tables(make_rows(campaign) if rows is None else rows, campaign).best_settings


def value(table, measure, scope=OVERALL, column="value"):
    chosen = table[(table["partition"] == scope) & (table["measure"] == measure)]
    return chosen.iloc[0][column]


def test_means_are_those_of_the_table():
    campaign = make_campaign(
        partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )
    best = table_of(campaign)
    found = summarise_gains(best, campaign)
    for measure in ("vanilla_gain", "test_gain", "guarded_gain", "oracle_gain"):
        assert value(found, measure) == pytest.approx(best[measure].mean())
        parts = best[best["partition"] == "specialized"]
        assert value(found, measure, "specialized") == pytest.approx(parts[measure].mean())
    assert value(found, "test_gain", column="n") == 12
    assert value(found, "trials_used") == 12 * 9
    share = 100 * (best["advice"] == "do not distil").mean()
    assert value(found, "advised_against") == pytest.approx(share)


def test_known_orders_hold():
    campaign = make_campaign()
    found = summarise_gains(table_of(campaign), campaign)
    assert value(found, "oracle_gain") >= value(found, "test_gain")
    effect = value(found, "test_gain") - value(found, "vanilla_gain")
    assert value(found, "tuning_effect") == pytest.approx(effect)
    assert value(found, "tuning_effect", column="low") <= effect
    assert effect <= value(found, "tuning_effect", column="high")


def test_the_bootstrap_is_the_same_every_time_and_follows_the_seed():
    campaign = make_campaign()
    best = table_of(campaign)
    assert summarise_gains(best, campaign).equals(summarise_gains(best, campaign))
    other = summarise_gains(best, make_campaign(seed=8))
    assert value(other, "test_gain") == value(summarise_gains(best, campaign), "test_gain")
    assert value(other, "test_gain", column="low") != value(
        summarise_gains(best, campaign), "test_gain", column="low"
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


def test_all_measures_hold_for_the_same_pairs():
    campaign = make_campaign()
    vanilla = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [r for r in make_rows(campaign) if (r.teacher, dict(r.params)) != (0, vanilla)]
    found = summarise_gains(table_of(campaign, rows), campaign)
    counts = found[found["measure"] != "trials_used"]["n"]
    assert set(counts) == {4}


def test_selection_on_test_says_so():
    labels = {m.name: m.label for m in list_headline_measures(make_campaign(select_on="test"))}
    assert "selected on test (optimistic)" in labels["test_gain"]
    assert "validation" not in "".join(labels.values())


def test_nothing_done_is_not_zero():
    campaign = make_campaign()
    found = summarise_gains(table_of(campaign, pretrain_rows(campaign)), campaign)
    assert math.isnan(value(found, "test_gain"))
    assert value(found, "test_gain", column="n") == 0
