import random

import numpy as np
import pytest

from kdopt.analysis.method_summaries import (
    correlate_accuracies,
    count_best_teachers,
    find_best_teachers,
)
from kdopt.analysis.stats import correlate_ranks
from kdopt.analysis.tables import compute_tables
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows, pretrain_rows


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=5)


def gains_of(campaign, gain, jitter=0.0):
    rows = pretrain_rows(campaign) + compare_rows(campaign, gain, jitter)
    return compute_tables(rows, campaign).method_gains


def test_counts_sum_to_the_number_of_students_also_with_ties(campaign):
    for jitter in (0.0, 0.5):
        for gain in (lambda *_: 1.0, lambda part, s, m, gap: round(gap / 6)):
            counts = count_best_teachers(gains_of(campaign, gain, jitter))
            sums = counts.groupby(["partition", "method"])["times_best"].sum()
            assert sums.tolist() == pytest.approx([campaign.participants] * len(sums))


def test_a_tie_of_all_is_split_evenly_and_has_no_correlation(campaign):
    counts = count_best_teachers(gains_of(campaign, lambda *_: 1.0))
    assert counts["times_best"].tolist() == pytest.approx([1.0] * len(counts))
    assert correlate_accuracies(counts)["correlation"].isna().all()
    assert set(find_best_teachers(gains_of(campaign, lambda *_: 1.0))["share"]) == {0.25}


def test_where_accuracy_decides_the_most_accurate_is_best_for_all_others(campaign):
    gains = gains_of(campaign, lambda part, s, method, gap: gap)
    counts = count_best_teachers(gains)
    one = counts[(counts["partition"] == "uniform") & (counts["method"] == "dml")]
    assert one["times_best"].tolist() == [0, 0, 0, 1, 4]
    choices = find_best_teachers(gains)
    assert set(choices["place"]) == {1.0} and set(choices["top"]) == {1.0}
    assert (correlate_accuracies(counts)["correlation"] > 0.7).all()


def test_the_place_is_that_among_the_other_participants(campaign):
    choices = find_best_teachers(gains_of(campaign, lambda part, s, method, gap: -abs(gap)))
    student = choices[(choices["partition"] == "uniform") & (choices["method"] == "dml")]
    found = {int(s): set(t["place"].round(6)) for s, t in student.groupby("student")}
    assert found[0] == {0.0}
    assert found[2] == {round(1 / 3, 6), round(2 / 3, 6)}
    assert found[4] == {1.0}


def test_order_of_rows_changes_nothing(campaign):
    rows = make_rows(campaign) + compare_rows(campaign)
    shuffled = random.Random(2).sample(rows, len(rows))
    first, second = (
        count_best_teachers(compute_tables(r, campaign).method_gains) for r in (rows, shuffled)
    )
    assert first.equals(second)


def test_nothing_to_count(campaign):
    empty = compute_tables([], campaign).method_gains
    assert count_best_teachers(empty).empty
    assert correlate_accuracies(count_best_teachers(empty)).empty


def test_spearman_agrees_with_scipy_ties_included():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 40, 15)).astype(float)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert correlate_ranks(x, y) == pytest.approx(expected)
    assert np.isnan(correlate_ranks(np.ones((1, 4)), np.arange(4.0)[None])).all()
