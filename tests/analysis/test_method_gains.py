import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.method_gains import (
    ALL_METHODS,
    TUNED,
    average_class_scores,
    pivot_methods,
    select_teachers,
)
from kdopt.analysis.results import CampaignResults
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.outcome import Pair, Scores
from tests.analysis.synthetic import (
    accuracy_of,
    compare_campaign,
    compare_row,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    tune_row,
)


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=3, replicates=2)


@pytest.fixture(scope="module")
def rows(campaign):
    return make_rows(campaign) + compare_rows(campaign)


def test_one_line_per_pair_set_and_method_tuned_on_student_data_only(campaign, rows):
    gains = Tables(rows, campaign).method_gains
    assert len(gains) == 5 * 6 * (len(TRANSFER_SETS) * len(METHODS) + 1)
    assert not gains.duplicated(["partition", "teacher", "student", "transfer_set", "method"]).any()
    assert set(gains.loc[gains["method"] == TUNED, "transfer_set"]) == {"student"}
    assert gains["complete"].all()
    assert list(gains["partition"].unique()) == [p.name for p in campaign.partitions]


def test_replicates_are_averaged_and_gaps_are_those_of_the_participants(campaign, rows):
    gains = Tables(rows, campaign).method_gains
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
        Tables(rows, campaign).method_gains,
        Tables(rows, campaign).best_settings,
    )
    tuned = gains[gains["method"] == TUNED].reset_index(drop=True)
    assert tuned["test_gain"].tolist() == pytest.approx(best["test_gain"].tolist())
    assert tuned["validation_gain"].tolist() == pytest.approx(best["validation_gain"].tolist())
    difference = tuned["learning"] - tuned["forgetting"]
    assert difference.tolist() == pytest.approx(tuned["test_gain"].tolist())


def test_learning_minus_forgetting_is_the_gain_for_every_method(campaign, rows):
    gains = Tables(rows, campaign).method_gains
    difference = gains["learning"] - gains["forgetting"]
    assert difference.tolist() == pytest.approx(gains["test_gain"].tolist())


def test_without_the_comparison_vanilla_is_the_tuned_studys_own_cell(campaign):
    tune_only = make_rows(campaign)
    gains = Tables(tune_only, campaign).method_gains
    assert set(gains["method"]) == {"vanilla", TUNED}
    assert set(gains["source"]) == {"tune"}
    best = Tables(tune_only, campaign).best_settings
    vanilla = gains[gains["method"] == "vanilla"]
    assert vanilla["test_gain"].tolist() == pytest.approx(best["vanilla_gain"].tolist())


def test_the_comparisons_own_vanilla_comes_first(campaign, rows):
    gains = Tables(rows, campaign).method_gains
    assert set(gains.loc[gains["method"] == "vanilla", "source"]) == {"compare"}


def by_gap(campaign, margin):
    compare = replace(campaign.compare, strong_margin=margin)
    table = Tables(pretrain_rows(campaign), replace(campaign, compare=compare))
    return table.best_settings.drop_duplicates("accuracy_gap").set_index("accuracy_gap").round(9)


def test_strong_is_above_the_margin_and_the_margin_is_a_setting(campaign):
    # Participants are 3 pp apart.
    for gap, kind in by_gap(campaign, 4.0)["teacher_kind"].items():
        assert kind == ("strong" if gap > 4 else "much weaker" if gap < -4 else "similar")
    assert set(by_gap(campaign, 0.0)["teacher_kind"]) == {"much weaker", "strong"}
    assert set(by_gap(campaign, 50.0)["teacher_kind"]) == {"similar"}


def test_weak_is_every_teacher_below_its_student_as_in_the_paper(campaign, rows):
    gains = Tables(rows, campaign).method_gains
    weak, stronger = (select_teachers(gains, group) for group in ("weak", "stronger"))
    assert (weak["accuracy_gap"] < 0).all() and (stronger["accuracy_gap"] > 0).all()
    assert len(weak) + len(stronger) == len(gains)
    assert len(select_teachers(gains, "similar")) > 0


def test_teachers_are_classified_on_validation_and_not_on_test():
    campaign = compare_campaign(participants=2)
    flipped = [
        replace(
            row,
            outcome=replace(
                row.outcome,
                validation=replace(
                    row.outcome.validation, accuracy=1 - row.outcome.validation.accuracy
                ),
            ),
        )
        for row in pretrain_rows(campaign)
    ]
    best = Tables(flipped, campaign).best_settings
    assert best["validation_gap"].to_numpy() == pytest.approx(-best["accuracy_gap"].to_numpy())
    own = replace(campaign, data=replace(campaign.data, validation="local"))
    best = Tables(flipped, own).best_settings
    assert best["validation_gap"].to_numpy() == pytest.approx(best["accuracy_gap"].to_numpy())


def test_order_of_rows_changes_nothing(campaign, rows):
    expected = Tables(rows, campaign).method_gains
    assert Tables(random.Random(1).sample(rows, len(rows)), campaign).method_gains.equals(expected)


def test_what_is_missing_has_no_line(campaign):
    assert Tables([], campaign).method_gains.empty
    assert Tables(pretrain_rows(campaign), campaign).method_gains.empty
    waiting = compare_row(campaign, (0, 1), ("dml", "student", 0), 0, None)
    damaged = replace(outcome(1, 1), test_gain=None)
    rows = [waiting, compare_row(campaign, (0, 1), ("dml", "student", 1), 1, damaged)]
    assert Tables(rows, campaign).method_gains.empty
    half = compare_row(campaign, (0, 1), ("dml", "student", 0), 0, outcome(1, 1))
    (line,) = Tables([half], campaign).method_gains.to_dict("records")
    assert (line["complete"], line["replicates"], line["teacher_kind"]) == (False, 1, "unknown")
    assert math.isnan(line["accuracy_gap"])


def test_wide_has_a_column_for_every_method_whatever_was_run(campaign, rows):
    for some in (rows, make_rows(campaign), []):
        table = pivot_methods(Tables(some, campaign).method_gains)
        assert set(ALL_METHODS) <= set(table.columns)
        assert not table.duplicated(["partition", "teacher", "student", "transfer_set"]).any()


def test_a_method_that_needs_labels_is_marked_where_there_are_none():
    campaign = compare_campaign()
    gains = Tables(compare_rows(campaign), campaign).method_gains
    marked = {
        (line["method"], line["transfer_set"])
        for line in gains.to_dict("records")
        if line["lacks_labels"]
    }
    assert marked == {("dml", "public_unlabeled_small"), ("dml", "public_unlabeled_large")}


def test_the_mean_change_of_classes_is_the_gain():
    campaign = compare_campaign(participants=3)
    rows = make_rows(campaign) + compare_rows(campaign)
    tables = Tables(rows, campaign)
    best, found = tables.best_settings, tables.class_scores
    assert len(found) == len(best)
    for line in best.to_dict("records"):
        scores = found[Pair(line["partition"], line["teacher"], line["student"])]
        assert list(scores.after) == ["tuned", "vanilla", "dml", "dp_kd"]
        # The synthetic outcomes have two classes, the second without images.
        assert scores.before[1] is None and scores.after["tuned"][1] is None
        change = scores.after["tuned"][0] - scores.before[0]
        assert change == pytest.approx(line["test_gain"])


def test_replicates_are_averaged_class_by_class_and_failed_ones_left_out():
    campaign = make_campaign(replicates=3)
    cell = {"temperature": 1.0, "alpha": 0.5}
    base = outcome(1.0, 1.0)
    rows = [
        tune_row(
            campaign, (0, 1), {**cell, "replicate": n}, n,
            replace(base, test=Scores(0.5, classes, 1.0)),
        )
        for n, classes in enumerate([(0.2, 0.6, None), (0.4, 0.8, None)])
    ]  # fmt: skip
    rows.append(tune_row(campaign, (0, 1), {**cell, "replicate": 2}, 2, error="NaN loss"))
    scores = Tables(rows, campaign).class_scores[Pair("uniform", 0, 1)]
    assert scores.after["tuned"][:2] == pytest.approx([30, 70])
    assert scores.after["tuned"][2] is None
    assert scores.after["vanilla"] == scores.after["tuned"]


def test_the_comparison_counts_before_the_tuned_studys_vanilla_cell():
    campaign = compare_campaign(participants=2)
    tuned = make_rows(campaign)
    both = tuned + compare_rows(campaign, lambda *_: 9.0, jitter=0.0)
    best = Tables(both, campaign).best_settings
    alone, compared = (
        average_class_scores(CampaignResults(rows, campaign), best) for rows in (tuned, both)
    )
    pair = Pair("uniform", 0, 1)
    gain = compared[pair].after["vanilla"][0] - compared[pair].before[0]
    assert gain == pytest.approx(9.0)
    assert alone[pair].after["vanilla"] != compared[pair].after["vanilla"]


def test_without_tuning_there_is_no_tuned_method_and_without_rows_no_pair():
    campaign = compare_campaign(participants=2, stages=("compare",))
    rows = compare_rows(campaign)
    empty = Tables([], campaign).best_settings.iloc[:0]
    found = average_class_scores(CampaignResults(rows, campaign), empty)
    assert {tuple(s.after) for s in found.values()} == {("vanilla", "dml", "dp_kd")}
    assert average_class_scores(CampaignResults([], campaign), empty) == {}
