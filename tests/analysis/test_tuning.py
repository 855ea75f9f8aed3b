from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest

from kdopt.analysis.method_gains import select_teachers
from kdopt.analysis.results import PointMean
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import (
    FULL_GRID,
    GRID_MINUS_SEQUENTIAL,
    OVERALL,
    SEQUENTIAL,
    list_contrasts,
    list_headline_measures,
    measure_contrast_error,
    replay_sequential_search,
    summarise_gains,
    tabulate_payoff,
)
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stages import plan_points, plan_tune
from kdopt.outcome import Scores, TrialRow
from kdopt.search.samplers import choose_params
from tests.analysis.synthetic import (
    IMAGES,
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    pretrain_rows,
)


def table_of(campaign, rows=None):
    return Tables(make_rows(campaign) if rows is None else rows, campaign).best_settings


def value(table, measure, scope=OVERALL, column="value"):
    chosen = table[(table["partition"] == scope) & (table["measure"] == measure)]
    return chosen.iloc[0][column]


def test_means_are_those_of_the_table():
    campaign = make_campaign(
        partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )
    best = table_of(campaign)
    found = summarise_gains(best, campaign)
    for measure in ("vanilla_gain", "test_gain", "advised_gain", "oracle_gain"):
        assert value(found, measure) == pytest.approx(best[measure].mean())
        parts = best[best["partition"] == "specialized"]
        assert value(found, measure, "specialized") == pytest.approx(parts[measure].mean())
    assert value(found, "test_gain", column="n") == 12
    assert value(found, "trials_used") == 12 * 9
    share = 100 * (best["advice"] != "distil").mean()
    assert value(found, "advised_against") == pytest.approx(share)


def test_known_orders_hold():
    campaign = make_campaign()
    found = summarise_gains(table_of(campaign), campaign)
    assert value(found, "oracle_gain") >= value(found, "test_gain")
    effect = value(found, "test_gain") - value(found, "vanilla_gain")
    assert value(found, "tuning_effect") == pytest.approx(effect)
    # Three participants are too few for an interval, five are enough.
    assert math.isnan(value(found, "tuning_effect", column="low"))
    more = make_campaign(participants=5)
    found = summarise_gains(table_of(more), more)
    low, mean, high = (
        value(found, "tuning_effect", column=key) for key in ("low", "value", "high")
    )
    assert low < mean < high


def test_one_number_has_one_interval_wherever_it_stands():
    campaign = compare_campaign(participants=5)
    tables = Tables(make_rows(campaign) + compare_rows(campaign), campaign)
    headline, payoff = (
        table[table["partition"] == "specialized"] for table in (tables.gain_summary, tables.payoff)
    )
    effect = headline[headline["measure"] == "tuning_effect"].iloc[0]
    line = payoff[payoff["teacher_kind"] == "all"].iloc[0]
    assert tuple(effect[["low", "high"]]) == tuple(line[["effect_low", "effect_high"]])
    gain = headline[headline["measure"] == "test_gain"].iloc[0]
    transfers = tables.transfers.set_index(["partition", "transfer_set", "method"])
    own = transfers.loc["specialized", "student", "tuned"]
    # Gains of transfers are rounded first, so that float noise around 0 is no transfer.
    ours, theirs = gain[["value", "low", "high"]], own[["mean_gain", "low", "high"]]
    assert list(ours) == pytest.approx(list(theirs), abs=1e-8)


def test_no_pair_of_twelve_is_not_nought_to_nought_per_cent():
    campaign = make_campaign(participants=5)
    rows = make_rows(campaign, validation=lambda *_: -1.0)
    found = summarise_gains(table_of(campaign, rows), campaign)
    assert value(found, "advised_against") == 100
    # Of 5 independent units: 1 - 0.025 ** (1 / 5).
    low = value(found, "advised_against", column="low")
    assert low == pytest.approx(100 * 0.025 ** (1 / 5))


def test_all_measures_hold_for_the_same_pairs():
    campaign = make_campaign()
    vanilla = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [r for r in make_rows(campaign) if (r.teacher, dict(r.params)) != (0, vanilla)]
    found = summarise_gains(table_of(campaign, rows), campaign)
    without_control = ("trials_used", "control_gain", "net_gain", "beats_control")
    counts = found[~found["measure"].isin([*without_control, "advised_net_gain"])]["n"]
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


@pytest.fixture(scope="module")
def campaign():
    return make_campaign(
        participants=6, partitions=(PartitionSettings("uniform"), PartitionSettings("specialized"))
    )


@pytest.fixture(scope="module")
def best(campaign):
    return Tables(make_rows(campaign), campaign).best_settings


@pytest.fixture(scope="module")
def found(best, campaign):
    return tabulate_payoff(best)


def line_of(found, partition, kind):
    return found[(found["partition"] == partition) & (found["teacher_kind"] == kind)].iloc[0]


def test_kinds_and_partitions_add_up_to_all_pairs(found, best):
    for key in ("n", "against", "compared", "beats_vanilla"):
        for name in found["partition"].unique():
            here = found[found["partition"] == name]
            for groups in (("weak", "stronger"), ("much weaker", "similar", "strong")):
                parts = here[here["teacher_kind"].isin(groups)]
                assert parts[key].sum() == line_of(found, name, "all")[key]
        every = found[(found["teacher_kind"] == "all") & (found["partition"] != OVERALL)]
        assert every[key].sum() == line_of(found, OVERALL, "all")[key]
    assert line_of(found, OVERALL, "all")["n"] == len(best)


def test_numbers_are_those_of_the_pairs(found, best):
    pairs = select_teachers(best[best["partition"] == "specialized"], "weak")
    line = line_of(found, "specialized", "weak")
    assert line["against"] == (pairs["advice"] == "leave as it is").sum() > 0
    assert line["advised_gain"] == pytest.approx(pairs["advised_gain"].mean())
    assert line["advised_low"] <= line["advised_gain"] <= line["advised_high"]
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
    assert tabulate_payoff(Tables([], campaign).best_settings).empty
    rows = [r for r in make_rows(campaign) if r.stage == "pretrain" or r.study.endswith("t00-s01")]
    line = tabulate_payoff(Tables(rows, campaign).best_settings).iloc[0]
    assert line["n"] == 1 and math.isnan(line["advised_low"])


TUNE = make_campaign().tune


def grid(gain):
    return [
        PointMean(t, a, gain(t, a), -gain(t, a), 1) for t in TUNE.temperatures for a in TUNE.alphas
    ]


def test_the_sequential_search_climbs_alpha_then_temperature():
    found = replay_sequential_search(grid(lambda t, a: t + a), "validation_gain", TUNE)
    assert found.points == 3 + 2
    assert (found.chosen.temperature, found.chosen.alpha) == (2.0, 0.9)
    trap = replay_sequential_search(
        grid(lambda t, a: 9 if (t, a) == (2.0, 0.1) else a), "validation_gain", TUNE
    )
    assert trap.chosen.alpha == 0.9


def test_ties_in_alpha_go_to_the_one_nearest_vanilla():
    found = replay_sequential_search(grid(lambda t, a: t), "validation_gain", TUNE)
    assert (found.chosen.temperature, found.chosen.alpha) == (2.0, 0.5)


def test_a_missing_cell_is_not_guessed():
    cells = grid(lambda t, a: t + a)
    assert replay_sequential_search(cells[:-1], "validation_gain", TUNE) is None
    assert replay_sequential_search([], "validation_gain", TUNE) is None


def test_it_chooses_what_the_sampler_itself_would_have_tried():
    gridded = make_campaign()
    campaign = make_campaign(tune_sampler="sequential")
    points, n_open = plan_points(campaign)
    plans = {(plan.partition, plan.teacher, plan.student): plan for plan in plan_tune(campaign)}
    for row in make_rows(gridded):
        if row.stage != "tune" or row.number:
            continue
        mine = {
            (r.params["temperature"], r.params["alpha"]): r
            for r in make_rows(gridded)
            if r.study == row.study
        }
        history: list[TrialRow] = [replace(mine[p], number=i) for i, p in enumerate(points)]
        for number in range(len(points), len(points) + n_open):
            cell = choose_params(campaign, plans[row.pair], number, history)
            history.append(replace(mine[cell["temperature"], cell["alpha"]], number=number))
        best = max(history, key=lambda r: r.outcome.value)
        cells = [
            PointMean(*p, r.outcome.validation_gain, r.outcome.test_gain, 1)
            for p, r in mine.items()
        ]
        found = replay_sequential_search(cells, "validation_gain", campaign.tune)
        assert found.points == len(history)
        assert found.chosen.validation_gain == best.outcome.value


def test_side_by_side_over_the_same_pairs():
    campaign = make_campaign(replicates=2)
    table = Tables(make_rows(campaign), campaign).protocols
    scope = table[table["partition"] == OVERALL].set_index("protocol")
    assert list(scope.index) == [FULL_GRID, SEQUENTIAL, GRID_MINUS_SEQUENTIAL]
    assert scope.loc[FULL_GRID, "trials"] == 9 * 2 and scope.loc[SEQUENTIAL, "trials"] == 5 * 2
    difference = scope.loc[FULL_GRID, "test_gain"] - scope.loc[SEQUENTIAL, "test_gain"]
    assert scope.loc[GRID_MINUS_SEQUENTIAL, "test_gain"] == pytest.approx(difference)
    assert set(scope["n"]) == {6}
    assert Tables(make_rows(campaign)[:-1], campaign).protocols["n"].iloc[0] == 5


def test_of_a_sequential_campaign_only_what_was_used_is_said():
    campaign = make_campaign(tune_sampler="sequential")
    wanted = {(1.0, 0.1), (1.0, 0.5), (1.0, 0.9), (0.5, 0.5), (2.0, 0.5)}
    rows = [
        r
        for r in make_rows(campaign)
        if r.stage != "tune" or (r.params["temperature"], r.params["alpha"]) in wanted
    ]
    table = Tables(rows, campaign).protocols
    assert set(table["protocol"]) == {"sequential"}
    assert set(table["trials"]) == {5}
    assert Tables([], campaign).protocols.empty


def test_draws_of_a_partition_are_summed_up_together():
    draws = (PartitionSettings("uniform"), PartitionSettings("uniform-2", family="uniform"))
    campaign = make_campaign(participants=4, partitions=draws)
    best = table_of(campaign)
    assert set(best["partition"]) == {"uniform", "uniform-2"}
    found = summarise_gains(best, campaign)
    assert list(found["partition"].unique()) == [OVERALL, "uniform"]
    assert value(found, "test_gain", "uniform") == pytest.approx(best["test_gain"].mean())
    assert value(found, "test_gain", "uniform", "n") == len(best) == 24
    # Eight participants of two draws have an interval, four of one have none.
    assert not math.isnan(value(found, "test_gain", "uniform", "low"))
    alone = best[best["partition"] == "uniform"]
    assert math.isnan(value(summarise_gains(alone, campaign), "test_gain", "uniform", "low"))


CAMPAIGN = make_campaign()


def summary_of(rows):
    return Tables(rows, CAMPAIGN).gain_summary.set_index(["partition", "measure"])


def test_it_is_that_of_a_difference_of_shares_over_the_same_images():
    rows = make_rows(CAMPAIGN, test=lambda gap, t, a: 10.0)
    found = summary_of(rows).loc[("uniform", "test_gain"), "image_error"]
    # Each student wins a tenth of the images, three students each another tenth of them.
    results, contrast = contrast_of(rows)
    one = measure_contrast_error(contrast, results.pairs[:1])
    share = 0.1
    assert one == pytest.approx(196 * math.sqrt(share * (1 - share) / (IMAGES - 1)), rel=1e-3)
    assert 0 < found <= one


def contrast_of(rows):
    tables = Tables(rows, CAMPAIGN)
    return tables.results, list_contrasts(tables.results, tables.best_settings)["test_gain"]


def test_more_pairs_on_the_same_images_do_not_average_it_away():
    rows = make_rows(CAMPAIGN, test=lambda gap, t, a: 10.0)
    results, contrast = contrast_of(rows)
    pair = results.pairs[0]
    assert measure_contrast_error(contrast, [pair] * 9) == pytest.approx(
        measure_contrast_error(contrast, [pair])
    )


def test_it_is_unknown_without_a_record_and_for_what_is_no_mean_of_accuracies():
    rows = [
        dataclasses.replace(
            row, outcome=dataclasses.replace(row.outcome, test=Scores(0.5, (), 1.0))
        )
        for row in make_rows(CAMPAIGN)
    ]
    found = summary_of(rows)
    assert found["image_error"].isna().all()
    known = summary_of(make_rows(CAMPAIGN)).loc["uniform", "image_error"]
    assert math.isnan(known["beats_vanilla"]) and not math.isnan(known["tuning_effect"])
