"""What a search could stop by, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from kdopt.search.posterior import Posterior
from scripts import unseen, wide_bench, wide_grids, wide_prior, wide_stops
from scripts.line_grids import LineGrid


@pytest.fixture(scope="module")
def bench():
    return wide_bench.make_bench(wide_grids.read_wide_pairs(), ())


@pytest.fixture(scope="module")
def pairs(bench):
    return wide_stops.follow_searches(bench, wide_bench.DATA)


def test_a_search_is_followed_as_the_replay_does_it(bench, pairs):
    gains = bench.replay("both", wide_bench.DATA)
    # Pairs of the first round have learnt from no other search, whatever its budget.
    first = [i for i, pair in enumerate(pairs) if pair.grid.round == 0]
    assert len(first) > 20
    for count in (2, 4, 8):
        mine = np.array([pair.compute_gain(count) for pair in pairs])
        assert (mine[first] == gains[count][first]).all()
    assert (np.array([pair.compute_gain(8) for pair in pairs]) == gains[8]).all()


def test_steps_know_nothing_that_comes_later(pairs):
    for pair in pairs[:20]:
        results = pair.grid.known.results
        assert len(pair.tried) == len(pair.steps) == wide_stops.BUDGET
        for count, step in enumerate(pair.steps, start=1):
            tried = [results[point].gain for point in pair.tried[:count]]
            assert step.best == max(0.0, step.control, *tried)
            assert step.rate_improvement(-1e9) == 1 and step.rate_improvement(1e9) == 0


def test_draws_of_the_best_are_of_the_posterior():
    mean = np.zeros(12)
    mean[1] = 3.0
    posterior = Posterior(((1.0, 0.1), (1.0, 0.5), (1.0, 0.9)), mean, 0.01 * np.eye(12))
    drawn = wide_stops.draw_best(posterior, [0, 1, 2])
    assert drawn.mean() == pytest.approx(3, abs=0.05) and drawn.std() == pytest.approx(
        0.1, abs=0.02
    )
    assert wide_stops.draw_best(posterior, [0]).mean() == pytest.approx(0, abs=0.05)


def test_a_rule_stops_where_it_holds_first_and_not_before_the_least(pairs):
    for pair in pairs[:20]:
        assert wide_stops.count_trials(pair, lambda step: True) == wide_stops.FIRST
        assert wide_stops.count_trials(pair, lambda step: False) == wide_stops.BUDGET
        third = pair.steps[2]
        assert wide_stops.count_trials(pair, lambda step, at=third: step is at) == 3


def test_a_rule_that_never_stops_is_the_budget_for_all(bench, pairs, monkeypatch):
    monkeypatch.setattr(wide_stops, "RULES", {"never": lambda step: False})
    (row,) = wide_stops.rate_rules(pairs, bench)
    assert row[1:3] == ["0 %", "8.0"] and row[3] == row[4]
    assert row[5].startswith("+0.00")


def test_the_page_says_what_is_left_and_what_the_rules_cost():
    """The rows of one of the three things that are not known."""
    page = wide_prior.PAGE.read_text("utf-8")
    assert wide_stops.OF_REST in page and wide_stops.OF_RULES in page
    unseen_pairs = [LineGrid(*pair[:2]) for pair in unseen.read_unseen_pairs()]
    bench = wide_bench.make_bench(wide_grids.read_wide_pairs(), unseen_pairs)
    pairs = wide_stops.follow_searches(bench, wide_bench.DATA)
    rows = [[str(count), *wide_stops.describe_rest(pairs, count)] for count in wide_stops.AFTER]
    for row in [*rows, *wide_stops.rate_rules(pairs, bench)]:
        assert wide_prior.format_rows([[wide_bench.DATA, *row]]) in page
