from __future__ import annotations

import dataclasses

import pytest

from kdopt.outcome import TrialRow
from kdopt.stages.registry import all_studies
from kdopt.store.samplers import next_cell
from tests.conftest import make_campaign, make_outcome


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


def surface(cell):
    """Best at temperature 2 and alpha 0.9."""
    return 5 - abs(cell["temperature"] - 2) - 3 * abs(cell["alpha"] - 0.9)


def run_study(campaign, gain=surface):
    """Run a tune study to its end without a store."""
    plan = all_studies(campaign)[1]
    cells = list(plan.cells) + [None] * plan.open_trials
    history = []
    for number, planned in enumerate(cells):
        cell = planned if planned is not None else next_cell(campaign, plan, number, history)
        assert set(cell) == set(plan.params)
        for name, param in plan.params.items():
            assert param.low <= cell[name] <= param.high
        value = gain(cell)
        history.append(
            TrialRow(
                plan.name,
                "uniform",
                "tune",
                0,
                1,
                number,
                "FAIL" if value is None else "COMPLETE",
                dict(cell),
                None if value is None else make_outcome(value),
            )
        )
    return [row.cell for row in history]


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
        assert all_studies(campaign)[1].n_trials == expected


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
