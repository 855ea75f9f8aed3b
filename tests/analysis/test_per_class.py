from dataclasses import replace

import pytest

from kdopt.analysis.method_gains import average_class_scores
from kdopt.analysis.results import CampaignResults, Pair
from kdopt.analysis.tables import compute_tables
from kdopt.outcome import Scores
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
    tune_row,
)


def test_the_mean_change_of_classes_is_the_gain():
    campaign = compare_campaign(participants=3)
    rows = make_rows(campaign) + compare_rows(campaign)
    tables = compute_tables(rows, campaign)
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
    scores = compute_tables(rows, campaign).class_scores[Pair("uniform", 0, 1)]
    assert scores.after["tuned"][:2] == pytest.approx([30, 70])
    assert scores.after["tuned"][2] is None
    assert scores.after["vanilla"] == scores.after["tuned"]


def test_the_comparison_counts_before_the_tuned_studys_vanilla_cell():
    campaign = compare_campaign(participants=2)
    tuned = make_rows(campaign)
    both = tuned + compare_rows(campaign, lambda *_: 9.0, jitter=0.0)
    best = compute_tables(both, campaign).best_settings
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
    empty = compute_tables([], campaign).best_settings.iloc[:0]
    found = average_class_scores(CampaignResults(rows, campaign), empty)
    assert {tuple(s.after) for s in found.values()} == {("vanilla", "dml", "dp_kd")}
    assert average_class_scores(CampaignResults([], campaign), empty) == {}
