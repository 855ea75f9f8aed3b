from __future__ import annotations

import dataclasses
import math
import random
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.errors import KdoptError
from kdopt.outcome import Pair
from kdopt.search.full_grids import collect_full_grids
from kdopt.search.prior import PointResult, Prior, list_grid_points
from kdopt.search.replay import (
    REPLAY_COLUMNS,
    build_portfolio,
    replay_posterior,
    replay_searches,
    replay_warm_search,
)
from kdopt.search.surrogate import MIN_PRIOR_PAIRS, Surrogate
from tests.analysis.synthetic import make_campaign, make_rows
from tests.search.test_full_grids import CAMPAIGN, make_kinds, toy_grid

TRIAL_COUNTS = (0, 1, 2, 9)
FOUR = make_campaign(participants=4)
VANILLA = (1.0, 0.5)


@pytest.fixture(scope="module")
def rows():
    return make_rows(CAMPAIGN)


@pytest.fixture(scope="module")
def grids(rows):
    return collect_full_grids(rows, CAMPAIGN)


def corner(grid, count):
    """A search of its own: the first points of the grid, and in a second run the last."""
    points = list(grid.cells)
    return [points[:count], points[-count:]]


@pytest.fixture(scope="module")
def table(grids):
    return replay_searches(grids, {"corner": corner}, TRIAL_COUNTS)


def line(table, unknown, search, trials):
    key = (table["unknown"] == unknown) & (table["search"] == search) & (table["trials"] == trials)
    (found,) = table[key].to_dict("records")
    return found


def test_trying_nothing_is_nought_and_the_full_grid_is_all(table):
    assert line(table, "nothing taught", "none", 0)["fraction"] == 0
    assert 0 < line(table, "nothing taught", "vanilla", 1)["fraction"] < 100
    whole = line(table, "nothing taught", "full grid", 9)
    assert whole["fraction"] == whole["low"] == whole["high"] == 100
    assert (table["gain"] <= whole["gain"] + 1e-9).sum() >= len(table) / 2
    assert (table["pairs"] == 24).all()


def test_whoever_tries_all_points_is_left_with_what_the_grid_is(table):
    all_points = table[table["trials"] == 9]
    assert set(all_points["search"]) == {
        "full grid", "random", "corner", "warm", "warm in rounds", "fixed portfolio",
    }  # fmt: skip
    assert all_points["fraction"].to_numpy() == pytest.approx(100)
    assert all_points["gain"].nunique() == 1 or np.ptp(all_points["gain"]) < 1e-9


def test_there_is_one_line_for_each_search_and_number_of_trials(table):
    assert list(table.columns) == list(REPLAY_COLUMNS)
    assert not table.duplicated(["unknown", "search", "trials"]).any()
    # Only what was taught has an answer without a trial; rounds need more than one unknown pair.
    none = table[table["trials"] == 0]
    assert list(zip(none["unknown"], none["search"], strict=True)) == [
        ("nothing taught", "none"), ("partition", "warm"), ("partition", "warm in rounds"),
        ("participant", "warm"), ("participant", "warm in rounds"),
        ("student", "warm"), ("student", "warm in rounds"), ("pair", "warm"),
    ]  # fmt: skip
    assert set(table[table["unknown"] == "pair"]["search"]) == {"warm", "fixed portfolio"}


def test_fractions_are_of_mean_gains_over_trying_nothing_and_lie_in_their_intervals(table):
    low = line(table, "nothing taught", "none", 0)["gain"]
    high = line(table, "nothing taught", "full grid", 9)["gain"]
    for found in table.to_dict("records"):
        expected = 100 * (found["gain"] - low) / (high - low)
        assert found["fraction"] == pytest.approx(expected)
        assert found["low"] <= found["fraction"] + 1e-9
        assert found["fraction"] <= found["high"] + 1e-9


def test_a_search_of_ones_own_is_averaged_over_its_runs(table, grids):
    runs = [[g.compute_kept_gain(run) for run in corner(g, 2)] for g in grids]
    assert line(table, "nothing taught", "corner", 2)["gain"] == pytest.approx(np.mean(runs))


@pytest.mark.parametrize("count", [1, 2, 8, 20])
@pytest.mark.parametrize(
    ("coarse", "select_on"), [(False, "validation"), (True, "validation"), (True, "test")]
)
def test_random_points_by_formula_are_the_mean_of_all_subsets(count, coarse, select_on):
    """Also where many points are equally good on validation, as on a few hundred images."""

    def validation(gap, t, a):
        value = 2 + gap / 5 - (math.log(t) - gap / 18) ** 2 - 6 * (a - 0.4) ** 2
        return float(round(value)) if coarse else value

    chance = random.Random(0)
    campaign = make_campaign(participants=5, select_on=select_on)
    found = make_rows(campaign, validation, lambda gap, t, a: chance.uniform(-5, 9))
    by_formula = line(
        replay_searches(collect_full_grids(found, campaign), counts=(count,)),
        "nothing taught", "random", count,
    )  # fmt: skip
    means = [
        np.mean([grid.compute_kept_gain(some) for some in combinations(grid.cells, size)])
        for grid in collect_full_grids(found, campaign)
        for size in [min(count, len(grid.cells))]
    ]
    assert by_formula["gain"] == pytest.approx(np.mean(means))


def test_what_is_taught_helps_with_a_trial_or_two(table):
    """Surrogate follow from the features here, and one partition is the other less half a pp."""
    for unknown in ("pair", "student", "partition"):
        for count in (1, 2):
            taught = line(table, unknown, "warm", count)["fraction"]
            assert taught > line(table, "nothing taught", "random", count)["fraction"] + 10
        # Even without a trial it knows more than chance does after one.
        guess = line(table, unknown, "warm", 0)["fraction"]
        assert guess > line(table, "nothing taught", "random", 1)["fraction"]


def test_nothing_depends_on_the_order_of_rows(rows, table):
    mixed = random.Random(1).sample(rows, len(rows))
    again = replay_searches(collect_full_grids(mixed, CAMPAIGN), {"corner": corner}, TRIAL_COUNTS)
    pd.testing.assert_frame_equal(again, table)


def test_what_is_unknown_is_not_looked_at_before_it_is_tried(rows):
    """Other test gains of one partition change what is left of it, never what is tried there."""
    grids = collect_full_grids(rows, CAMPAIGN)
    mine = [g for g in grids if g.pair.partition == "uniform"]
    rest = tuple(g.known for g in grids if g.pair.partition != "uniform")
    surrogate = Surrogate(Prior("x", True, list_grid_points(CAMPAIGN), rest))
    lies = [
        g._replace(
            known=dataclasses.replace(
                g.known, results=dict.fromkeys(g.cells, PointResult(9, 9, 0, 0))
            )
        )
        for g in mine
    ]
    for one, other in zip(mine, lies, strict=True):
        first, same = (
            list(replay_posterior(surrogate.compute_posterior(g.known), g, 1)) for g in (one, other)
        )
        assert first == same


def test_pairs_of_one_round_do_not_see_each_other(grids):
    mine = [g for g in grids if g.pair.partition == "uniform"]
    rest = tuple(g.known for g in grids if g.pair.partition != "uniform")
    surrogate = Surrogate(Prior("x", True, list_grid_points(CAMPAIGN), rest))
    (alone,) = replay_warm_search(surrogate, mine, [2]).values()
    (together,) = replay_warm_search(surrogate, mine, [2], in_rounds=True).values()
    assert len(alone) == len(together) == len(mine)
    # In the first round there is nobody to learn from.
    first = [grid.round == 0 for grid in mine]
    assert any(first) and not all(first)
    assert np.array_equal(np.array(alone)[first], np.array(together)[first])
    assert replay_warm_search(surrogate, mine[::-1], [2])[2] == alone[::-1]
    # Fewer trials are the beginning of more.
    assert replay_warm_search(surrogate, mine, [0, 1, 2, 5])[2] == alone


def test_rounds_learn_from_earlier_rounds_of_their_own_partition_only(grids):
    """Pairs of other partitions do not count, though they are tuned in the same replay."""
    surrogate = Surrogate(
        Prior("x", True, list_grid_points(CAMPAIGN), tuple(g.known for g in grids))
    )
    named = [
        g._replace(known=dataclasses.replace(g.known, teacher=str(i))) for i, g in enumerate(grids)
    ]
    learnt_from = {}

    class Recorder:
        def compute_posterior(self, pair, others=()):
            learnt_from[pair.teacher] = [other.teacher for other in others]
            return surrogate.compute_posterior(pair, others)

    replay_warm_search(Recorder(), named, [1], in_rounds=True)
    for grid in named:
        earlier = [g for g in named if g.place == grid.place and g.round < grid.round]
        assert sorted(learnt_from[grid.known.teacher]) == sorted(g.known.teacher for g in earlier)


def test_warm_points_are_tried_once_each_with_what_came_of_them(grids):
    surrogate = Surrogate(
        Prior("x", True, list_grid_points(CAMPAIGN), tuple(g.known for g in grids))
    )
    grid = grids[3]
    posterior = surrogate.compute_posterior(grid.known)
    seen = replay_posterior(posterior, grid, 4)
    assert len(seen) == 4
    assert all(grid.known.results[point] == result for point, result in seen.items())
    # More trials go on from fewer, and end with the grid.
    assert list(replay_posterior(posterior, grid, 7))[:4] == list(seen)
    assert set(replay_posterior(posterior, grid, 99)) == set(grid.cells)


def test_the_portfolio_begins_with_the_greatest_mean_guarded_gain():
    # A loss counts as nothing done: 3 and 0 beats 2 and 0 although it loses 9 elsewhere.
    grids = [toy_grid(0, [2.0, 3.0, 0.0]), toy_grid(1, [0.0, -9.0, 1.4])]
    assert build_portfolio(grids, 1) == [(2.0, 0.5)]
    # What comes next adds most to what is there, not most by itself.
    assert build_portfolio(grids, 3) == [(2.0, 0.5), (3.0, 0.5), (1.0, 0.5)]


def test_a_portfolio_grows_by_new_points_only_and_ends_with_the_grid(grids):
    whole = build_portfolio(grids, 99)
    assert sorted(whole) == sorted(list_grid_points(CAMPAIGN))
    gains = np.array([[g.known.results[p].gain for p in whole] for g in grids])
    first = np.maximum(0, gains).mean(axis=0)
    assert first[0] == first.max()
    for count in (1, 2, 5):
        assert build_portfolio(grids, count) == whole[:count]
    rises = np.diff(np.maximum.accumulate(np.maximum(gains, 0), axis=1).mean(axis=0))
    assert (rises >= 0).all()


def test_each_data_set_has_its_rows_and_trials_their_price():
    grids = make_kinds()
    table = replay_searches(grids, counts=(2,), unknown=["data set"])
    assert set(table["data"]) == {"all", "digits", "fashion_mnist"}
    assert dict(zip(table["data"], table["pairs"], strict=True)) == {
        "all": 36, "digits": 18, "fashion_mnist": 18
    }  # fmt: skip
    warm = table[(table["unknown"] == "data set") & (table["search"] == "warm")]
    mean = warm.set_index("data")["gain"]
    assert mean["all"] == pytest.approx((mean["digits"] + mean["fashion_mnist"]) / 2)
    each = grids[0].campaign.distill.epochs * grids[0].campaign.replicates
    assert set(warm["epochs"]) == {2.0 * each}


def test_campaigns_whose_points_differ_are_not_mixed():
    grids = make_kinds()
    tune = dataclasses.replace(grids[0].campaign.tune, t2_scale=False)
    campaign = dataclasses.replace(grids[0].campaign, tune=tune, name="without")
    with pytest.raises(KdoptError, match=r"without and other differ in .*t2_scale"):
        replay_searches([g._replace(campaign=campaign) for g in grids[:18]] + grids[18:])


def test_only_full_grids_count(rows):
    lost = [
        r for r in rows if (r.partition, r.teacher, r.student, r.number) != ("uniform", 2, 1, 5)
    ]
    pairs = [g.pair for g in collect_full_grids(lost, CAMPAIGN)]
    assert len(pairs) == 23 and Pair("uniform", 2, 1) not in pairs
    found = replay_searches(collect_full_grids(lost, CAMPAIGN), counts=(1,))
    assert (found["pairs"] == 23).all()
    # Eleven pairs of one partition are too few to teach those of the other.
    assert set(found["unknown"]) == {"nothing taught", "participant", "student", "pair"}


def test_a_partition_of_which_one_pair_is_done_counts_too():
    """As in a campaign that is not finished."""
    names = ("uniform", "label_dirichlet", "specialized")
    campaign = make_campaign(
        participants=4, partitions=tuple(PartitionSettings(name) for name in names)
    )
    pair = campaign.pairs[0]
    some = [
        r
        for r in make_rows(campaign)
        if r.stage != "tune" or r.partition != names[-1] or (r.teacher, r.student) == pair
    ]
    found = replay_searches(collect_full_grids(some, campaign), None, (2,))
    assert set(found["pairs"]) == {2 * len(campaign.pairs) + 1}
    assert "warm in rounds" in set(found["search"])


def test_too_few_pairs_or_no_vanilla_give_an_empty_table():
    assert len(collect_full_grids(make_rows(FOUR), FOUR)) == MIN_PRIOR_PAIRS
    off = make_campaign(participants=5, tune_vanilla_alpha=0.3)
    for campaign in (FOUR, off):
        found = replay_searches(collect_full_grids(make_rows(campaign), campaign))
        assert found.empty and list(found.columns) == list(REPLAY_COLUMNS)
