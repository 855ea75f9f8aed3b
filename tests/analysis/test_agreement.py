import math
from dataclasses import replace

import pytest

from kdopt.analysis.agreement import (
    HEADLINES,
    ComparedCampaign,
    ComparisonTables,
    list_setting_differences,
)
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import OVERALL
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.errors import ComparisonError
from tests.analysis.synthetic import make_campaign, make_rows, pretrain_rows, validation_surface

BOTH = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
SPLITS = {"uniform": "a", "label_dirichlet": "b"}


def turned_surface(gap, temperature, alpha):
    """Strong teachers gain where weak ones do otherwise, and the reverse."""
    return validation_surface(-gap, temperature, alpha)


def compared(label, rows=None, splits=SPLITS, **changes):
    campaign = make_campaign(name=label, **{"participants": 4, "partitions": BOTH} | changes)
    rows = make_rows(campaign) if rows is None else rows(campaign)
    return ComparedCampaign(label, Tables(rows, campaign), "images", splits)


def turned(campaign):
    return make_rows(campaign, turned_surface, turned_surface)


def test_a_campaign_and_its_copy_agree_in_everything():
    table = ComparisonTables([compared("a"), compared("b")]).agreement
    assert list(table["partition"]) == [OVERALL, "uniform", "label_dirichlet"]
    assert list(table["n"]) == [24, 12, 12]
    assert table["same_images"].all()
    for key in ("same_temperature", "same_alpha", "same_point"):
        assert list(table[key]) == [100, 100, 100]
        assert (table[f"{key}_by_chance"] < 100).all()
    for key in ("temperature", "alpha", "effective_kd_weight", "test_gain"):
        assert list(table[f"{key}_correlation"]) == pytest.approx([1, 1, 1])
    assert list(table["verdicts"]) == list(table["same_verdict"])


def test_a_campaign_turned_round_is_ranked_the_other_way():
    table = ComparisonTables([compared("a"), compared("b", turned)]).agreement
    assert (table["temperature_correlation"] < -0.5).all()
    assert (table["test_gain_correlation"] < -0.5).all()


def test_chance_is_every_pair_of_one_campaign_beside_every_pair_of_the_other():
    first, second = compared("a"), compared("b", turned)
    line = ComparisonTables([first, second]).agreement.set_index("partition").loc["uniform"]
    sides = [
        best[best["partition"] == "uniform"]
        for best in (first.tables.best_settings, second.tables.best_settings)
    ]
    for key in ("temperature", "alpha"):
        same = [a == b for a in sides[0][key] for b in sides[1][key]]
        assert line[f"same_{key}_by_chance"] == pytest.approx(100 * sum(same) / len(same))


def test_agreement_does_not_depend_on_who_comes_first():
    first, second = compared("a"), compared("b", turned)
    one, other = (ComparisonTables(pair).agreement for pair in ((first, second), (second, first)))
    ends = ["first", "second"]
    assert one.drop(columns=ends).equals(other.drop(columns=ends))


def test_a_setting_that_all_pairs_have_is_the_same_by_chance_too():
    def same_everywhere(campaign):
        return make_rows(campaign, lambda gap, t, a: 1.0 * (t == 2 and a == 0.9))

    line = ComparisonTables(
        [compared("a", same_everywhere), compared("b", same_everywhere)]
    ).agreement
    assert list(line["same_point"]) == list(line["same_point_by_chance"]) == [100, 100, 100]
    assert line["temperature_correlation"].isna().all()


def test_only_pairs_of_the_same_partition_and_numbers_are_shared():
    small = compared("small", participants=3, partitions=BOTH[:1])
    table = ComparisonTables([compared("a"), small]).agreement
    assert list(table["partition"]) == ["uniform"]  # alone, it is the whole
    assert list(table["n"]) == [6]


def test_images_are_the_same_where_data_and_shares_are():
    first = compared("a")
    other_shares = compared("b", splits={"uniform": "a", "label_dirichlet": "other"})
    table = ComparisonTables([first, other_shares]).agreement
    assert list(table["same_images"]) == [False, True, False]
    other_data = first._replace(label="b", images="others")
    assert not ComparisonTables([first, other_data]).agreement["same_images"].any()
    unknown = compared("b", splits={})
    assert not ComparisonTables([unknown, unknown]).agreement["same_images"].any()


def test_a_campaign_without_results_has_lines_without_numbers():
    table = ComparisonTables([compared("a"), compared("b", pretrain_rows)]).agreement
    assert list(table["n"]) == list(table["verdicts"]) == [0, 0, 0]
    assert table[["same_temperature", "test_gain_correlation"]].isna().all(axis=None)
    assert ComparisonTables([compared("a"), compared("b", pretrain_rows)]).verdict_pairs.empty


def test_net_gains_are_not_ranked_where_no_control_ran():
    table = ComparisonTables([compared("a"), compared("b")]).agreement
    assert table["net_gain_correlation"].isna().all()


def test_every_two_of_three_campaigns_are_compared():
    table = ComparisonTables([compared("a"), compared("b"), compared("c")]).agreement
    couples = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    assert couples == [("a", "b"), ("a", "c"), ("b", "c")]


def test_verdict_pairs_count_every_decided_pair_once():
    first, second = compared("a"), compared("b", turned)
    pairs, agreement = (
        ComparisonTables([first, second]).verdict_pairs,
        ComparisonTables([first, second]).agreement,
    )
    assert pairs["n"].sum() == agreement["verdicts"][0]
    same = pairs[pairs["first_verdict"] == pairs["second_verdict"]]
    assert same["n"].sum() == agreement["same_verdict"][0]


def test_headlines_are_those_of_each_campaigns_own_table():
    campaigns = [compared("a"), compared("b", turned)]
    table = ComparisonTables(campaigns).headlines
    for campaign in campaigns:
        own = campaign.tables.gain_summary
        own = own[own["measure"].isin(HEADLINES)].reset_index(drop=True)
        shown = table[table["campaign"] == campaign.label].drop(columns="campaign")
        assert shown.reset_index(drop=True).equals(own)


def test_only_settings_that_differ_are_listed():
    first = compared("a")._replace(settings={"seed": "0", "model": "mlp", "tune.t2_scale": "true"})
    second = compared("b")._replace(settings={"seed": "1", "model": "mlp", "new": "2"})
    table = list_setting_differences([first, second])
    assert table.to_numpy().tolist() == [
        ["seed", "0", "1"],
        ["tune.t2_scale", "true", ""],
        ["new", "", "2"],
    ]
    assert list(table.columns) == ["key", "a", "b"]
    assert list_setting_differences([first, first]).empty


def test_without_t2_scale_the_same_settings_weigh_the_teacher_otherwise():
    tables = ComparisonTables([compared("a"), compared("b", tune_t2_scale=False)])
    one, other = (
        tables.best_settings[tables.best_settings["campaign"] == label] for label in ("a", "b")
    )
    ratio = one["effective_kd_weight"].to_numpy() / other["effective_kd_weight"].to_numpy()
    assert list(ratio) == pytest.approx(list(one["temperature"] ** 2))


def test_campaigns_that_share_no_pair_are_refused():
    lonely = compared("c", partitions=(PartitionSettings("specialized"),))
    with pytest.raises(ComparisonError, match=r"'c' \(4 participants in specialized\) shares no"):
        ComparisonTables([compared("a"), compared("b"), lonely])


def test_a_campaign_without_pairs_is_refused():
    campaign = make_campaign(name="b", stages=("combine",))
    other = ComparedCampaign("b", Tables([], campaign))
    with pytest.raises(ComparisonError, match=r"'b' distils no pairs .*pretrain, combine"):
        ComparisonTables([compared("a"), other])


def test_a_campaign_that_only_compares_methods_has_no_best_settings_to_agree():
    campaign = make_campaign(name="b", participants=4, partitions=BOTH, stages=("compare",))
    other = ComparedCampaign("b", Tables(pretrain_rows(campaign), campaign))
    assert list(ComparisonTables([compared("a"), other]).agreement["n"]) == [0, 0, 0]


def test_a_correlation_of_two_pairs_is_not_told():
    two = {"participants": 2, "partitions": BOTH[:1]}
    line = ComparisonTables([compared("a", **two), compared("b", **two)]).agreement.iloc[0]
    assert line["n"] == 2
    assert math.isnan(line["test_gain_correlation"])


def test_the_order_of_rows_changes_nothing():
    first, second = compared("a"), compared("b", turned)
    rows = list(reversed(second.tables.rows))
    again = replace(second.tables.campaign)
    shuffled = second._replace(tables=Tables(rows, again))
    assert ComparisonTables([first, second]).agreement.equals(
        ComparisonTables([first, shuffled]).agreement
    )
