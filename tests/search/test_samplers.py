from __future__ import annotations

import dataclasses

import optuna
import pytest

from kdopt.campaign.method_spaces import BudgetSpace
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import plan_points, plan_tune
from kdopt.campaign.studies import get_setting
from kdopt.outcome import TrialRow
from kdopt.search.prior import PairResults, average_outcomes
from kdopt.search.samplers import choose_params, get_search_corners
from kdopt.search.surrogate import Surrogate
from tests.conftest import make_campaign, make_outcome
from tests.search.planted import POINTS, features, planted_prior


def campaign_with(sampler, replicates=1, budget=8):
    base = make_campaign(replicates=replicates)
    tune = dataclasses.replace(
        base.tune,
        temperatures=(0.5, 1.0, 2.0, 4.0),
        alphas=(0.1, 0.5, 0.9),
        sampler=sampler,
        budget=budget,
    )
    return dataclasses.replace(base, tune=tune)


def surface(params):
    """Best at temperature 2 and alpha 0.9."""
    return 5 - abs(params["temperature"] - 2) - 3 * abs(params["alpha"] - 0.9)


def run_study(campaign, gain=surface, get_posterior=None):
    """Run a tune study to its end without a store."""
    plan = plan_tune(campaign)[0]
    cells = list(plan.cells) + [None] * plan.open_trials
    history = []
    for number, planned in enumerate(cells):
        params = planned
        if params is None:
            params = choose_params(campaign, plan, number, history, get_posterior)
        assert set(params) == set(plan.space)
        for name, param in plan.space.items():
            assert param.low <= params[name] <= param.high
        value = gain(params)
        history.append(
            TrialRow(
                plan.name,
                "uniform",
                "tune",
                0,
                1,
                number,
                "FAIL" if value is None else "COMPLETE",
                dict(params),
                None if value is None else make_outcome(value),
            )
        )
    return [row.params for row in history]


def test_sequential_tries_alpha_at_temperature_one_then_temperature_at_the_best_alpha():
    cells = run_study(campaign_with("sequential"))
    assert [(c["temperature"], c["alpha"]) for c in cells] == [
        (1.0, 0.1), (1.0, 0.5), (1.0, 0.9), (0.5, 0.9), (2.0, 0.9), (4.0, 0.9),
    ]  # fmt: skip


def test_sequential_of_the_paper_is_15_points():
    paper = make_campaign()
    tune = dataclasses.replace(
        paper.tune,
        temperatures=(0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7),
        alphas=(0.1, 0.25, 0.5, 0.75, 0.9),
    )
    for sampler, expected in (("sequential", 15), ("grid", 55)):
        campaign = dataclasses.replace(paper, tune=dataclasses.replace(tune, sampler=sampler))
        assert plan_tune(campaign)[0].n_trials == expected


def test_sequential_goes_on_from_vanilla_when_every_alpha_failed_and_breaks_ties_towards_it():
    failed = run_study(campaign_with("sequential"), lambda c: None)
    tied = run_study(campaign_with("sequential"), lambda c: 1.0)
    assert {c["alpha"] for c in failed[3:]} == {c["alpha"] for c in tied[3:]} == {0.5}


@pytest.mark.parametrize("sampler", ["sequential", "tpe", "random", "gp"])
def test_every_point_gets_its_replicates(sampler):
    cells = run_study(campaign_with(sampler, replicates=2))
    points = [(c["temperature"], c["alpha"]) for c in cells]
    counts = {
        p: sorted(c["replicate"] for c in cells if (c["temperature"], c["alpha"]) == p)
        for p in points
    }
    assert set(map(tuple, counts.values())) == {(0, 1)}
    assert len(cells) == 2 * (6 if sampler == "sequential" else 8)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_adaptive_samplers_start_from_vanilla_and_repeat_themselves_exactly(sampler):
    campaign = campaign_with(sampler)
    first, again = run_study(campaign), run_study(campaign)
    assert first == again
    assert first[0] == {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    assert len({c["temperature"] for c in first}) == 8
    other = run_study(dataclasses.replace(campaign, seed=1))
    assert other[1:] != first[1:]


def test_tpe_uses_what_it_saw():
    campaign = campaign_with("tpe", budget=30)
    good, bad = run_study(campaign), run_study(campaign, lambda c: -surface(c))
    assert good[0] == bad[0]
    assert good[15:] != bad[15:]
    mean = [sum(map(surface, cells[15:])) / 15 for cells in (good, bad)]
    assert mean[0] > mean[1] + 1


@pytest.fixture(scope="module")
def posterior():
    """What a planted prior says of a pair that gains."""
    return Surrogate(planted_prior()).compute_posterior(
        PairResults("", "", features(72.0, 60.0), {})
    )


def warm_campaign(budget=8, warm_trials=4, then="tpe", replicates=1, **changes):
    base = campaign_with("warm", replicates, budget)
    tune = dataclasses.replace(base.tune, warm_trials=warm_trials, warm_then=then)
    return dataclasses.replace(base, tune=tune, **changes)


def points_of(cells):
    return [(c["temperature"], c["alpha"]) for c in cells]


def run_warm(campaign, posterior, gain=surface):
    """The points of a warm search, and how often it asked for the posterior."""
    asked = []

    def get_posterior():
        asked.append(None)
        return posterior

    return run_study(campaign, gain, get_posterior), len(asked)


@pytest.mark.parametrize("then", ["tpe", "gp"])
def test_warm_tries_what_was_learnt_and_then_hands_over(posterior, then):
    cells, asked = run_warm(warm_campaign(then=then), posterior)
    points = points_of(cells)
    assert points[0] == (1.0, 0.5)  # vanilla, which was planned
    assert len(set(points)) == len(points) == 8
    assert set(points[1:5]) <= set(POINTS)
    # The others search between the points as well; and nothing more is asked of what was learnt.
    assert not set(points[5:]) & set(POINTS)
    assert asked == 4


def test_warm_follows_the_posterior_and_the_results_of_its_own_trials(posterior):
    good, _ = run_warm(warm_campaign(), posterior)
    seen, best = {}, 0.0
    for i, point in enumerate(points_of(good)[:5]):
        if i:
            assert point == posterior.condition_on(seen).choose_next_point(seen, best)
        gain = surface(good[i])
        seen[point] = average_outcomes([make_outcome(gain)])
        best = max(best, gain)
    bad, _ = run_warm(warm_campaign(), posterior, lambda c: -surface(c))
    assert bad[0] == good[0] and bad[1:5] != good[1:5]


def test_warm_repeats_itself_exactly(posterior):
    campaign = warm_campaign()
    first, again = (run_warm(campaign, posterior)[0] for _ in range(2))
    assert first == again
    # What was learnt needs no chance: another seed changes what comes after it only.
    other, _ = run_warm(dataclasses.replace(campaign, seed=1), posterior)
    assert other[:5] == first[:5]
    assert other[5:] != first[5:]


def test_warm_completes_replicates_first_and_asks_for_no_posterior_meanwhile(posterior):
    cells, asked = run_warm(warm_campaign(budget=5, warm_trials=3, replicates=2), posterior)
    points = points_of(cells)
    assert len(cells) == 10
    assert points[::2] == points[1::2]
    assert [c["replicate"] for c in cells] == [0, 1] * 5
    assert len(set(points)) == 5
    assert asked == 3


def test_warm_never_repeats_a_point_that_failed(posterior):
    cells, _ = run_warm(warm_campaign(), posterior, lambda c: None)
    assert len(set(points_of(cells))) == 8


@pytest.mark.parametrize("sampler", ["sequential", "tpe", "random", "gp", "warm"])
def test_what_waits_to_be_retried_is_not_chosen_again(posterior, sampler):
    """`kdopt retry-failed` queues the cell in a row of its own; the failed one is gone."""
    campaign = campaign_with(sampler, replicates=2)
    plan = plan_tune(campaign)[0]

    def choose(history, number):
        return choose_params(campaign, plan, number, history, lambda: posterior)

    def row(number, params, state):
        done = make_outcome(surface(params)) if state == "COMPLETE" else None
        return TrialRow(plan.name, "uniform", "tune", 0, 1, number, state, dict(params), done)

    history = [row(i, params, "COMPLETE") for i, params in enumerate(plan.cells)]
    for number in range(len(history), len(history) + 3):
        params = choose(history, number)
        # It fails and is queued again, before anything else is claimed.
        queued = row(99, params, "WAITING")
        after = choose([*history, queued], number + 1)
        assert after != params
        history.append(row(number, params, "COMPLETE"))
    cells = [tuple(r.params.items()) for r in history]
    assert len(set(cells)) == len(cells)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_choice_that_was_taken_makes_room_for_a_random_one(monkeypatch):
    """A sampler may want a corner of the space again and again."""
    corner = {"temperature": 4.0, "alpha": 1.0}
    monkeypatch.setattr(
        "kdopt.search.samplers._make_sampler",
        lambda campaign, seed: optuna.samplers.PartialFixedSampler(
            corner, optuna.samplers.RandomSampler(seed=seed)
        ),
    )
    campaign = campaign_with("gp")
    cells = run_study(campaign)
    assert points_of(cells).count((4.0, 1.0)) == 1
    assert len(set(points_of(cells))) == 8
    assert cells == run_study(campaign)


def test_a_retried_trial_says_nothing_before_it_is_done(posterior):
    campaign = warm_campaign()
    plan = plan_tune(campaign)[0]
    vanilla = TrialRow(
        plan.name, "uniform", "tune", 0, 1, 0, "COMPLETE", dict(plan.cells[0]), make_outcome(1.0)
    )
    first = choose_params(campaign, plan, 1, [vanilla], lambda: posterior)
    waiting = dataclasses.replace(
        vanilla, number=9, state="WAITING", params={**first, "replicate": 0}, outcome=None
    )
    second = choose_params(campaign, plan, 2, [vanilla, waiting], lambda: posterior)
    tried = set(points_of([plan.cells[0], first]))
    given = posterior.condition_on({(1.0, 0.5): average_outcomes([make_outcome(1.0)])})
    assert points_of([second]) == [given.choose_next_point(tried, 1.0)]


def test_warm_spends_nothing_on_vanilla_whoever_runs_it(posterior):
    """Even where vanilla has the best posterior mean."""
    gains = dict.fromkeys(posterior.points, -9.0)
    n = len(posterior.points)
    mean = posterior.mean.copy()
    mean[:n] = [9.0 if p == (1.0, 0.5) else g for p, g in gains.items()]
    sure = dataclasses.replace(posterior, mean=mean, covariance=1e-6 * posterior.covariance)
    compared = warm_campaign(
        warm_trials=8,
        stages=("tune", "compare"),
        compare=CompareSettings(("vanilla",), ("student",)),
    )
    assert sure.choose_next_point([], 0.0) == (1.0, 0.5)
    assert (1.0, 0.5) not in points_of(run_warm(compared, sure)[0])


def test_warm_goes_on_without_points_when_all_were_tried(posterior):
    inside = posterior.restrict_to((1.0, 0.1), (2.0, 0.5))
    assert len(inside.points) == 4
    points = points_of(run_warm(warm_campaign(warm_trials=8), inside)[0])
    assert set(points[:4]) == set(inside.points)
    assert len(set(points)) == 8 and not set(points[4:]) & set(POINTS)


def test_warm_with_a_budget_of_learnt_points_hands_nothing_over(posterior):
    points = points_of(run_warm(warm_campaign(warm_trials=8), posterior)[0])
    assert len(set(points)) == 8 and set(points) <= set(POINTS)


def test_warm_starts_with_what_was_learnt_where_compare_has_vanilla(posterior):
    compared = warm_campaign(
        warm_trials=3,
        stages=("tune", "compare"),
        compare=CompareSettings(("vanilla",), ("student",)),
    )
    assert plan_points(compared) == ([], 8)
    cells, asked = run_warm(compared, posterior)
    assert points_of(cells)[0] == posterior.choose_next_point([(1.0, 0.5)], 0.0)
    assert len(cells) == 8 and asked == 3


def test_the_corners_hold_the_temperatures_one_and_vanilla():
    base = warm_campaign()
    hot = dataclasses.replace(base.tune, temperatures=(3.0, 9.0), vanilla_temperature=2.0)
    assert get_search_corners(base) == ((0.5, 0.0), (4.0, 1.0))
    assert get_search_corners(dataclasses.replace(base, tune=hot)) == ((1.0, 0.0), (9.0, 1.0))


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_methods_own_parameters_are_chosen_within_its_space(sampler):
    base = campaign_with(sampler, replicates=2, budget=4)
    search = BudgetSpace(epochs=(1, 9), learning_rate=(1e-4, 1e-1))
    campaign = dataclasses.replace(
        base,
        tune=dataclasses.replace(base.tune, methods=("public_kd",), search=search),
        transfer=TransferSettings(50, 0, 0),
        stages=("tune",),
    )
    plan = next(p for p in plan_tune(campaign) if p.method)
    history = []
    for number in range(plan.n_trials):
        cell = plan.cells[number] if number < len(plan.cells) else None
        params = cell or choose_params(campaign, plan, number, history)
        assert set(params) == set(plan.space)
        assert isinstance(params["epochs"], int) and 1 <= params["epochs"] <= 9
        assert 1e-4 <= params["learning_rate"] <= 1e-1
        # The other public set has no images.
        assert params["transfer_set"] == "public_unlabeled_small"
        history.append(
            TrialRow(
                plan.name, "uniform", "tune", 0, 1, number, "COMPLETE", params, make_outcome(1.0)
            )
        )
    settings = [get_setting(row.params) for row in history]
    assert settings[::2] == settings[1::2] and len(set(settings)) == 4
