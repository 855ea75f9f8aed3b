import math

import pytest

from kdopt.analysis.method_gains import classify_teacher
from kdopt.analysis.progress import tabulate_costs
from kdopt.analysis.tables import compute_tables
from kdopt.analysis.tuning import OVERALL, summarise_gains, tabulate_payoff
from kdopt.campaign.settings import PartitionSettings
from tests.analysis.synthetic import compare_campaign, compare_rows, make_campaign, make_rows


@pytest.fixture(scope="module")
def campaign():
    return make_campaign(
        participants=6, partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )


@pytest.fixture(scope="module")
def best(campaign):
    return compute_tables(make_rows(campaign), campaign).best_settings


@pytest.fixture(scope="module")
def found(best, campaign):
    return tabulate_payoff(best, campaign)


def line_of(found, partition, kind):
    return found[(found["partition"] == partition) & (found["teacher_kind"] == kind)].iloc[0]


def test_kinds_and_partitions_add_up_to_all_pairs(found, best):
    for key in ("n", "against", "compared", "beats_vanilla"):
        for name in found["partition"].unique():
            here = found[found["partition"] == name]
            parts = here[here["teacher_kind"] != "all"]
            assert parts[key].sum() == line_of(found, name, "all")[key]
        every = found[(found["teacher_kind"] == "all") & (found["partition"] != OVERALL)]
        assert every[key].sum() == line_of(found, OVERALL, "all")[key]
    assert line_of(found, OVERALL, "all")["n"] == len(best)


def test_numbers_are_those_of_the_pairs(found, best):
    kinds = best["accuracy_gap"].map(classify_teacher)
    pairs = best[(best["partition"] == "specialized") & (kinds == "weak")]
    line = line_of(found, "specialized", "weak")
    assert line["against"] == (pairs["advice"] == "do not distil").sum() > 0
    assert line["guarded_gain"] == pytest.approx(pairs["guarded_gain"].mean())
    assert line["guarded_low"] <= line["guarded_gain"] <= line["guarded_high"]
    effect = pairs["test_gain"] - pairs["vanilla_gain"]
    assert line["tuning_effect"] == pytest.approx(effect.mean())
    assert line["beats_vanilla"] == (effect.round(9) > 0).sum()


def test_the_whole_agrees_with_the_headline_numbers(found, best, campaign):
    numbers = summarise_gains(best, campaign)
    overall = numbers[numbers["partition"] == OVERALL].set_index("measure")["value"]
    line = line_of(found, OVERALL, "all")
    assert line["tuning_effect"] == pytest.approx(overall["tuning_effect"])
    assert line["against_share"] == pytest.approx(overall["advised_against"])
    assert 100 * line["beats_vanilla"] / line["compared"] == pytest.approx(overall["beats_vanilla"])


def test_nothing_is_said_of_pairs_without_a_result_or_of_one_pair_intervals():
    campaign = make_campaign()
    assert tabulate_payoff(compute_tables([], campaign).best_settings, campaign).empty
    rows = [r for r in make_rows(campaign) if r.stage == "pretrain" or r.study.endswith("t00-s01")]
    line = tabulate_payoff(compute_tables(rows, campaign).best_settings, campaign).iloc[0]
    assert line["n"] == 1 and math.isnan(line["guarded_low"])


def test_costs_are_the_seconds_of_complete_trials_by_stage():
    campaign = compare_campaign(participants=3)
    rows = make_rows(campaign) + compare_rows(campaign)
    found = tabulate_costs(rows).set_index("stage")
    assert found["trials"].sum() == len(rows)
    assert found["hours"].sum() * 3600 == pytest.approx(1.5 * len(rows))
    assert set(found["median_seconds"]) == set(found["p95_seconds"]) == {1.5}
    assert tabulate_costs([]).empty
