"""Tuned compared with tuned: settings of methods with parameters of their own."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.analysis.results import CampaignResults
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuned_methods import describe_values, list_settings_of_pair
from kdopt.campaign.method_spaces import BudgetSpace, DkdSpace, LogitStdSpace
from kdopt.campaign.names import study_name
from kdopt.outcome import Pair, TrialRow
from kdopt.report.verdict_text import describe_verdict
from tests.analysis.synthetic import accuracy_of, make_campaign, make_rows, outcome, pretrain_rows

CAMPAIGN = make_campaign(
    tune_methods=("kd", "dkd", "logit_std"),
    tune_dkd=DkdSpace(beta=(1.0, 8.0), temperature=(4.0,)),
    tune_logit_std=LogitStdSpace(temperature=(2.0,), alpha=(0.0, 0.9)),
)
PAIR = Pair("uniform", 0, 1)


def method_row(method, params, gain, test=None, number=0, replicate=0, campaign=CAMPAIGN):
    result = None
    if gain is not None:
        result = outcome(gain, gain if test is None else test, accuracy_of(PAIR.student))
    return TrialRow(
        study_name(campaign.name, *PAIR[:1], "tune", *PAIR[1:], method),
        PAIR.partition,
        "tune",
        *PAIR[1:],
        number,
        "WAITING" if result is None else "COMPLETE",
        {**params, "replicate": replicate},
        result,
        method=method,
    )


def dkd(beta, gain, test=None, **changes):
    params = {"alpha": 1.0, "beta": beta, "label_weight": 1.0, "temperature": 4.0}
    return method_row("dkd", params, gain, test, **changes)


def standardised(alpha, gain):
    return method_row("logit_std", {"temperature": 2.0, "alpha": alpha}, gain)


def tables(*rows, campaign=CAMPAIGN):
    return Tables([*make_rows(campaign), *rows], campaign)


def line_of(table, **wanted):
    for key, value in {**PAIR._asdict(), **wanted}.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_map_of_a_pair_and_its_best_point_know_nothing_of_other_methods():
    alone, with_methods = tables(), tables(dkd(8.0, 30.0), standardised(0.9, 25.0))
    assert with_methods.surfaces == alone.surfaces
    keys = ["temperature", "alpha", "test_gain", "cells_done", "trials_done"]
    assert with_methods.best_settings[keys].equals(alone.best_settings[keys])
    assert with_methods.results.tuned == alone.results.tuned


def test_the_setting_is_selected_on_validation_and_reported_on_test():
    found = tables(dkd(8.0, 20.0, 5.0), dkd(1.0, 10.0, 30.0)).tuned_methods
    line = line_of(found, method="tuned_dkd")
    assert line["setting"] == "T=4, alpha=1, beta=8, label_weight=1"
    assert (line["validation_gain"], line["test_gain"]) == (20.0, 5.0)
    assert line["published_gain"] == 5.0
    assert line["best"] and not line_of(found, method="tuned")["best"]
    assert (line["trials_done"], line["trials_planned"]) == (2, 2)


def test_among_equal_gains_the_published_setting_wins():
    line = line_of(tables(dkd(1.0, 9.0), dkd(8.0, 9.0)).tuned_methods, method="tuned_dkd")
    assert "beta=8" in line["setting"]


def test_what_was_repeated_most_competes_alone():
    rows = [dkd(8.0, 5.0), dkd(8.0, 7.0, replicate=1), dkd(1.0, 50.0)]
    line = line_of(tables(*rows).tuned_methods, method="tuned_dkd")
    assert (line["validation_gain"], line["replicates"]) == (6.0, 2)


def test_a_tuned_method_can_win_a_pairs_verdict_and_is_named_with_its_setting():
    verdict = line_of(tables(dkd(8.0, 30.0), dkd(1.0, 29.0)).verdicts)
    assert (verdict["action"], verdict["method"]) == ("distil", "tuned_dkd")
    assert describe_verdict(verdict) == "distil: Tuned DKD, T=4, alpha=1, beta=8, label_weight=1"
    plain = line_of(tables().verdicts)
    assert verdict["tried"] == plain["tried"] + 2


def test_a_setting_in_which_no_teacher_has_a_part_is_training_on():
    verdict = line_of(tables(standardised(0.0, 30.0)).verdicts)
    assert verdict["action"] == "train on"
    assert verdict["setting"] == "T=2, alpha=0"


def test_methods_join_the_comparison_under_names_that_say_that_they_were_tuned():
    gains = tables(dkd(8.0, 20.0, 5.0)).method_gains
    line = line_of(gains, method="tuned_dkd")
    assert (line["source"], line["test_gain"], line["complete"]) == ("tune", 5.0, False)
    assert set(gains["method"]) == {"vanilla", "tuned", "tuned_dkd"}
    scores = tables(dkd(8.0, 20.0, 5.0)).class_scores[PAIR]
    assert list(scores.after) == ["tuned", "vanilla", "tuned_dkd"]


def test_the_summary_compares_tuned_with_tuned():
    table = tables(dkd(8.0, 20.0, 5.0)).tuned_summary.set_index("method")
    plain = line_of(tables().tuned_methods, method="tuned")
    assert table.loc["tuned_dkd", "n"] == 1
    assert table.loc["tuned_dkd", "difference"] == pytest.approx(5.0 - plain["test_gain"])
    assert table.loc["tuned_dkd", "times_best"] == 1
    pairs = CAMPAIGN.participants * (CAMPAIGN.participants - 1)
    assert table.loc["tuned", "times_best"] == pairs - 1


def test_where_the_budget_is_searched_plain_kd_is_one_of_the_methods():
    campaign = make_campaign(
        tune_methods=("kd", "dkd"), tune_search=BudgetSpace(learning_rate=(1e-3, 1e-2))
    )
    vanilla = {"temperature": 1.0, "alpha": 0.5}
    rate = {"learning_rate": 1e-2}
    rows = [
        dataclasses.replace(row, params={**vanilla, "replicate": 0}, number=0)
        for row in make_rows(campaign)[campaign.participants :: 9]
    ]
    rows += [
        method_row("kd", {**vanilla, **rate}, 6.0, campaign=campaign),
        method_row(
            "dkd",
            {"alpha": 1.0, "beta": 8.0, "label_weight": 1.0, "temperature": 4.0, **rate},
            8.0,
            campaign=campaign,
        ),
    ]
    found = Tables([*pretrain_rows(campaign), *rows], campaign)
    assert set(found.tuned_methods["method"]) == {"tuned_kd", "tuned_dkd"}
    summary = found.tuned_summary.set_index("method")
    assert summary.loc["tuned_dkd", "difference"] == pytest.approx(2.0)
    assert "tuned" not in set(found.method_gains["method"])


def test_trials_of_methods_count_as_planned_work():
    tune = next(stage for stage in tables(dkd(8.0, 1.0)).progress if stage.stage == "tune")
    # Of each of the 6 pairs: 9 points, and 2 or 3 settings with the published ones.
    assert tune.planned == 6 * (9 + 2 + 3)
    assert tune.complete == 6 * 9 + 1


def test_a_campaign_without_methods_has_no_such_table():
    campaign = make_campaign()
    found = Tables(make_rows(campaign), campaign)
    assert found.tuned_methods.empty and found.tuned_summary.empty
    assert list_settings_of_pair(PAIR, CampaignResults([], campaign)) == []


def test_a_setting_is_put_in_words_without_its_images():
    setting = (("temperature", 4.0), ("transfer_set", "public_unlabeled_small"), ("epochs", 3))
    assert describe_values(setting) == "T=4, epochs=3"


def control_row(number, gain, test, **budget):
    params = {"student": PAIR.student, "transfer_set": "student", **budget, "replicate": 0}
    result = outcome(gain, test, accuracy_of(PAIR.student))
    name = study_name(CAMPAIGN.name, PAIR.partition, "control")
    return TrialRow(name, PAIR.partition, "control", None, None, number, "COMPLETE", params, result)


def test_the_net_gain_counts_from_the_best_budget_without_a_teacher():
    controls = [
        control_row(0, 1.0, 1.0, epochs=5),
        control_row(1, 6.0, 4.0, epochs=9),  # the best on validation
        control_row(2, 5.0, 8.0, epochs=7),
    ]
    found = tables(dkd(8.0, 30.0, 20.0), *controls)
    verdict = line_of(found.verdicts)
    assert (verdict["action"], verdict["control_gain"]) == ("distil", 4.0)
    assert verdict["net_gain"] == pytest.approx(16.0)
    assert line_of(found.tuned_methods, method="tuned_dkd")["net_gain"] == pytest.approx(16.0)
    # All of them were tried.
    assert verdict["tried"] == line_of(tables(dkd(8.0, 30.0, 20.0)).verdicts)["tried"] + 3


def test_training_on_with_another_budget_can_win_and_is_named_with_it():
    verdict = line_of(
        tables(control_row(0, 1.0, 1.0, epochs=5), control_row(1, 30.0, 28.0, epochs=9)).verdicts
    )
    assert describe_verdict(verdict) == "train on: epochs=9"
    assert verdict["test_gain"] == 28.0
