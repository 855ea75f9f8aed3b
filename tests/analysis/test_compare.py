import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.best_settings import tabulate_best_settings
from kdopt.analysis.method_gains import (
    ALL_METHODS,
    TUNED,
    classify_teacher,
    pivot_methods,
    tabulate_method_gains,
)
from kdopt.analysis.results import CampaignResults
from kdopt.analysis.tables import compute_tables
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from tests.analysis.synthetic import (
    accuracy_of,
    compare_campaign,
    compare_row,
    compare_rows,
    make_rows,
    outcome,
    pretrain_rows,
)


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=3, replicates=2)


@pytest.fixture(scope="module")
def rows(campaign):
    return make_rows(campaign) + compare_rows(campaign)


def test_one_line_per_pair_set_and_method_tuned_on_student_data_only(campaign, rows):
    gains = compute_tables(rows, campaign).method_gains
    assert len(gains) == 5 * 6 * (len(TRANSFER_SETS) * len(METHODS) + 1)
    assert not gains.duplicated(["partition", "teacher", "student", "transfer_set", "method"]).any()
    assert set(gains.loc[gains["method"] == TUNED, "transfer_set"]) == {"student"}
    assert gains["complete"].all()
    assert list(gains["partition"].unique()) == [p.name for p in campaign.partitions]


def test_replicates_are_averaged_and_gaps_are_those_of_the_participants(campaign, rows):
    gains = compute_tables(rows, campaign).method_gains
    for line in gains[gains["method"] == "dml"].to_dict("records")[:20]:
        mine = [
            r.outcome.test_gain
            for r in rows
            if r.stage == "compare"
            and (r.partition, r.teacher, r.student)
            == (line["partition"], line["teacher"], line["student"])
            and (r.params["method"], r.params["transfer_set"]) == ("dml", line["transfer_set"])
        ]
        assert len(mine) == line["replicates"] == 2
        assert line["test_gain"] == pytest.approx(sum(mine) / 2)
        gap = 100 * (accuracy_of(line["teacher"]) - accuracy_of(line["student"]))
        assert line["accuracy_gap"] == pytest.approx(gap)


def test_tuned_is_the_selected_cell_with_its_own_learning_and_forgetting(campaign, rows):
    gains, best = (
        compute_tables(rows, campaign).method_gains,
        compute_tables(rows, campaign).best_settings,
    )
    tuned = gains[gains["method"] == TUNED].reset_index(drop=True)
    assert tuned["test_gain"].tolist() == pytest.approx(best["test_gain"].tolist())
    assert tuned["validation_gain"].tolist() == pytest.approx(best["validation_gain"].tolist())
    difference = tuned["learning"] - tuned["forgetting"]
    assert difference.tolist() == pytest.approx(tuned["test_gain"].tolist())


def test_learning_minus_forgetting_is_the_gain_for_every_method(campaign, rows):
    gains = compute_tables(rows, campaign).method_gains
    difference = gains["learning"] - gains["forgetting"]
    assert difference.tolist() == pytest.approx(gains["test_gain"].tolist())


def test_without_the_comparison_vanilla_is_the_tuned_studys_own_cell(campaign):
    tune_only = make_rows(campaign)
    gains = compute_tables(tune_only, campaign).method_gains
    assert set(gains["method"]) == {"vanilla", TUNED}
    assert set(gains["source"]) == {"tune"}
    best = compute_tables(tune_only, campaign).best_settings
    vanilla = gains[gains["method"] == "vanilla"]
    assert vanilla["test_gain"].tolist() == pytest.approx(best["vanilla_gain"].tolist())


def test_the_comparisons_own_vanilla_comes_first(campaign, rows):
    gains = compute_tables(rows, campaign).method_gains
    assert set(gains.loc[gains["method"] == "vanilla", "source"]) == {"compare"}


@pytest.mark.parametrize(
    ("gap", "kind"),
    [
        (5.1, "strong"),
        (5.0, "similar"),
        (-5.0, "similar"),
        (-5.1, "weak"),
        (math.nan, "unknown"),
    ],
)
def test_kinds_of_teachers(gap, kind):
    assert classify_teacher(gap) == kind


def test_the_band_can_be_set(campaign, rows):
    results = CampaignResults(rows, campaign)
    best = tabulate_best_settings(results)
    assert set(tabulate_method_gains(results, best, 0)["teacher_kind"]) == {"weak", "strong"}
    assert set(tabulate_method_gains(results, best, 50)["teacher_kind"]) == {"similar"}


def test_order_of_rows_changes_nothing(campaign, rows):
    expected = compute_tables(rows, campaign).method_gains
    assert compute_tables(random.Random(1).sample(rows, len(rows)), campaign).method_gains.equals(
        expected
    )


def test_what_is_missing_has_no_line(campaign):
    assert compute_tables([], campaign).method_gains.empty
    assert compute_tables(pretrain_rows(campaign), campaign).method_gains.empty
    waiting = compare_row(campaign, (0, 1), ("dml", "student", 0), 0, None)
    damaged = replace(outcome(1, 1), test_gain=None)
    rows = [waiting, compare_row(campaign, (0, 1), ("dml", "student", 1), 1, damaged)]
    assert compute_tables(rows, campaign).method_gains.empty
    half = compare_row(campaign, (0, 1), ("dml", "student", 0), 0, outcome(1, 1))
    (line,) = compute_tables([half], campaign).method_gains.to_dict("records")
    assert (line["complete"], line["replicates"], line["teacher_kind"]) == (False, 1, "unknown")
    assert math.isnan(line["accuracy_gap"])


def test_wide_has_a_column_for_every_method_whatever_was_run(campaign, rows):
    for some in (rows, make_rows(campaign), []):
        table = pivot_methods(compute_tables(some, campaign).method_gains)
        assert set(ALL_METHODS) <= set(table.columns)
        assert not table.duplicated(["partition", "teacher", "student", "transfer_set"]).any()


def test_a_method_that_needs_labels_is_marked_where_there_are_none():
    campaign = compare_campaign()
    gains = compute_tables(compare_rows(campaign), campaign).method_gains
    marked = {
        (line["method"], line["transfer_set"])
        for line in gains.to_dict("records")
        if line["lacks_labels"]
    }
    assert marked == {("dml", "public_unlabeled_small"), ("dml", "public_unlabeled_large")}
